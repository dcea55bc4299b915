import { AT_FDCWD, closeFd, O, openAt, openAt2, readFd, RESOLVE, writeFd } from "../kernel/fs.ts";
import { SysError } from "../kernel/ffi.ts";
import { cancelled, EngineError, internal } from "../lib/errors.ts";
import { cleanParts, textOf, type TarHeader } from "../lib/tar.ts";
import type { TarHandler } from "../lib/tar-reader.ts";
import { ChunkedOutput } from "./chunked-output.ts";
import type { Unpacker } from "./unpacker.ts";

/**
 * A layer's tar without the files' bytes, which are in the tree that it was unpacked to: with both the tar can be made again, bit by bit, whoever wrote it.
 *
 * The file is a run of zstd frames, each after its length (u32, as all numbers little-endian). What they hold is a run of parts: bytes of the tar (u32 length,
 * bytes), then a file's path (u16 length, bytes; none at the end of the tar) and size (u64).
 */

/** Bytes of one frame, before they are packed. */
const FRAME = 256 << 10;
/** Bytes of the tar in one part; longer ones are several, without a file between them. */
const MOST_BYTES = 128 << 10;

/** Stands between a parser and its unpacker, and writes the recipe of what goes through. */
export class Recorder implements TarHandler, Disposable {
  readonly #unpacker: Unpacker;
  readonly #fd: number;
  readonly #frame = Buffer.allocUnsafeSlow(FRAME);
  #length = 0;
  #chunk: Uint8Array = new Uint8Array(0);
  /** How much of the chunk is recorded. */
  #at = 0;
  /** The file whose body comes, until its first byte. */
  #file: TarHeader | undefined;
  #inBody = false;

  /** `path`: a file that is made. */
  constructor(unpacker: Unpacker, path: string) {
    this.#unpacker = unpacker;
    this.#fd = openAt(AT_FDCWD, Buffer.from(path).toString("latin1"), O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600);
  }

  [Symbol.dispose](): void {
    closeFd(this.#fd);
  }

  /** Give each chunk of the tar here, and whatever the parser calls for it meanwhile. */
  record(chunk: Uint8Array, parse: () => void): void {
    this.#chunk = chunk;
    this.#at = 0;
    parse();
    this.#bytesUpTo(chunk.length);
  }

  entry(header: TarHeader): void {
    this.#unpacker.entry(header);
    // What the archive has of a sparse file is kept as it is.
    this.#file = header.type === "file" && header.sparse === undefined && this.#unpacker.storing ? header : undefined;
    this.#inBody = this.#file !== undefined;
  }

  data(view: Uint8Array): void {
    this.#unpacker.data(view);
    if (!this.#inBody) return;
    const start = view.byteOffset - this.#chunk.byteOffset;
    this.#bytesUpTo(start);
    this.#at = start + view.length;
    if (this.#file !== undefined) this.#part(new Uint8Array(0), this.#file);
    this.#file = undefined;
  }

  hole(length: number): void {
    this.#unpacker.hole(length);
  }

  end(): void {
    this.#unpacker.end();
    this.#inBody = false;
  }

  /** After the last chunk. */
  finish(): void {
    this.#flush();
  }

  #bytesUpTo(end: number): void {
    for (; this.#at < end; this.#at = Math.min(end, this.#at + MOST_BYTES)) this.#part(this.#chunk.subarray(this.#at, Math.min(end, this.#at + MOST_BYTES)));
  }

  #part(bytes: Uint8Array, file?: TarHeader): void {
    const path = Buffer.from(file === undefined ? "" : cleanParts(file.name)!.join("/"), "latin1");
    if (this.#length + 14 + bytes.length + path.length > FRAME) this.#flush();
    const frame = this.#frame;
    let at = frame.writeUInt32LE(bytes.length, this.#length);
    frame.set(bytes, at);
    at = frame.writeUInt16LE(path.length, at + bytes.length);
    frame.set(path, at);
    this.#length = frame.writeBigUInt64LE(BigInt(file?.size ?? 0), at + path.length);
  }

  #flush(): void {
    if (this.#length === 0) return;
    const packed = Bun.zstdCompressSync(this.#frame.subarray(0, this.#length), { level: 1 });
    const head = Buffer.alloc(4);
    head.writeUInt32LE(packed.length);
    writeFd(this.#fd, Buffer.concat([head, packed]));
    this.#length = 0;
  }
}

interface Part {
  bytes: Uint8Array;
  path: string;
  size: number;
}

/** @throws EngineError internal for a file that is damaged */
function* partsOf(fd: number): Generator<Part, void, undefined> {
  const damaged = (cause?: unknown): Error => internal("the recipe of a layer's tar is damaged", cause);
  const exactly = (length: number): Buffer | undefined => {
    const buffer = Buffer.allocUnsafe(length);
    let got = 0;
    for (let n = 1; got < length && n > 0; got += n) n = readFd(fd, buffer.subarray(got));
    if (got !== 0 && got < length) throw damaged();
    return got === 0 ? undefined : buffer;
  };
  for (let head = exactly(4); head !== undefined; head = exactly(4)) {
    const length = head.readUInt32LE();
    const packed = length > 0 && length < 2 * FRAME ? exactly(length) : undefined;
    if (packed === undefined) throw damaged();
    try {
      yield* partsOfFrame(Bun.zstdDecompressSync(packed));
    } catch (error) {
      throw error instanceof EngineError ? error : damaged(error);
    }
  }
}

function* partsOfFrame(frame: Buffer): Generator<Part, void, undefined> {
  for (let at = 0; at < frame.length;) {
    const bytes = frame.readUInt32LE(at);
    const path = frame.readUInt16LE(at + 4 + bytes);
    const end = at + 6 + bytes + path;
    yield { bytes: frame.subarray(at + 4, at + 4 + bytes), path: frame.toString("latin1", end - path, end), size: Number(frame.readBigUInt64LE(end)) };
    at = end + 8;
  }
}

/** Makes the tar again from its recipe and the tree at `root`. Returns the sum of the files' bytes. @throws EngineError internal where the tree isn't what it was */
export async function remakeTar(options: {
  recipe: Recipe;
  root: number;
  /** Takes the chunk over; awaited, which is the back-pressure. */
  emit: (chunk: Uint8Array) => void | Promise<void>;
  cancelled: () => boolean;
}): Promise<number> {
  const output = new ChunkedOutput(options.emit);
  let sum = 0;
  for (const { bytes, path, size } of partsOf(options.recipe.fd)) {
    if (options.cancelled()) throw cancelled("packing a layer was cancelled");
    await output.write(bytes);
    if (path !== "") await copyFile(options.root, path, size, output);
    sum += size;
  }
  await output.flush();
  return sum;
}

async function copyFile(root: number, path: string, size: number, output: ChunkedOutput): Promise<void> {
  const changed = (cause?: unknown): Error => internal(`the layer's file ${JSON.stringify(textOf(path))} isn't what it was when it was unpacked`, cause);
  let fd: number;
  try {
    fd = openAt2(root, path, O.RDONLY | O.NOFOLLOW | O.NONBLOCK, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
  } catch (error) {
    throw error instanceof SysError ? changed(error) : error;
  }
  try {
    for (let left = size; left > 0;) {
      const n = readFd(fd, output.room(left));
      if (n === 0) throw changed();
      const flushed = output.filled(n);
      if (flushed !== undefined) await flushed;
      left -= n;
    }
  } finally {
    closeFd(fd);
  }
}

interface Recipe extends Disposable {
  readonly fd: number;
}

/** Undefined where there is none. */
export function openRecipe(path: string): Recipe | undefined {
  try {
    const fd = openAt(AT_FDCWD, Buffer.from(path).toString("latin1"), O.RDONLY | O.NOFOLLOW);
    return { fd, [Symbol.dispose]: () => closeFd(fd) };
  } catch (error) {
    if (error instanceof SysError && error.code === "ENOENT") return undefined;
    throw error;
  }
}
