import { mkdirSync, renameSync } from "node:fs";
import { SysError } from "../kernel/ffi.ts";
import { AT_FDCWD, closeFd, O, openAt, openDirectory, readFd } from "../kernel/fs.ts";
import { decompressed, decompressionError } from "../lib/compression.ts";
import { cancelled, internal, kindOf } from "../lib/errors.ts";
import { TarParser } from "../lib/tar-reader.ts";
import { bytesOf } from "../lib/tar.ts";
import type { Pause } from "../lib/turns.ts";
import { applyAttributes, plainDirectory } from "./init-layer.ts";
import { MergedView } from "./merged.ts";
import type { Job, Results } from "./protocol.ts";
import { Recorder } from "./recipe.ts";
import { progressOf, type RunningJob } from "./running-job.ts";
import { tooLarge, Unpacker } from "./unpacker.ts";

type UnpackJob = Job & { op: "unpack" };

/** A layer that can't be unpacked, with the digest of all of its source. */
export class BadSource extends Error {
  readonly blob: string;

  constructor(cause: unknown, blob: string) {
    super("bad layer", { cause });
    this.blob = blob;
  }
}

/** Makes a directory of a layer. @throws BadSource, and whatever the job calls for otherwise */
export async function unpack(running: RunningJob, job: UnpackJob): Promise<Results["unpack"]> {
  const { source: path, hash } = job;
  const blobHasher = hash === undefined ? undefined : new Bun.CryptoHasher(hash);
  let read = 0;
  const tell = progressOf(running);
  const count = (bytes: Uint8Array): void => {
    if (running.isCancelled) throw cancelled("unpacking a layer was cancelled");
    blobHasher?.update(bytes);
    read += bytes.length;
    tell(read);
  };
  const file = path === undefined ? undefined : new SourceFile(running, path, job.size, count);
  const source = file === undefined ? running.input(count) : fromFile(file, running.breather());
  try {
    // Only layers are made so: to place a directory ext4 may have to read a block group's bitmaps from the disk (up to 140 ms on a busy one), which the
    // start of a container must not wait for.
    mkdirSync(job.apart);
    renameSync(job.apart, job.target);
    applyAttributes(job.target, plainDirectory);
    using target = openDirectory(job.target);
    const result = await unpackInto(target.fd, source, job, running.breather());
    tell(read, true);
    return blobHasher === undefined ? result : { ...result, blob: `${hash}:${blobHasher.digest("hex")}` };
  } catch (error) {
    if (file === undefined || blobHasher === undefined || kindOf(error) !== "invalidArgument") throw error;
    // Whether the layer is bad, or what came over the network: for that all of it is read.
    while ((await file.read()) !== undefined);
    throw new BadSource(error, `${hash}:${blobHasher.digest("hex")}`);
  } finally {
    file?.close();
  }
}

async function unpackInto(root: number, source: ReadableStream<Uint8Array>, job: Job & { op: "unpack" }, breathe: Pause): Promise<Results["unpack"]> {
  const { limits } = job;
  using parents = job.parents === undefined ? undefined : new MergedView(job.parents);
  using unpacker = new Unpacker(root, parents, limits);
  using recipe = job.recipe === undefined ? undefined : new Recorder(unpacker, job.recipe);
  const parser = new TarParser(recipe ?? unpacker);
  let hasher: Bun.CryptoHasher | undefined;
  let tarSize = 0;
  try {
    const { stream, compression } = await decompressed(source);
    if (compression !== "none" || job.digest === undefined) hasher = new Bun.CryptoHasher("sha256");
    for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) {
      tarSize += chunk.length;
      if (limits !== undefined && tarSize > limits.bytes) throw tooLarge(limits.bytes);
      hasher?.update(chunk);
      if (recipe === undefined) parser.push(chunk);
      else recipe.record(chunk, () => parser.push(chunk));
      // A little of what is compressed may become very much: whoever gives up must not wait for the end of it.
      await breathe();
    }
  } catch (error) {
    throw decompressionError(error);
  }
  parser.finish();
  unpacker.finish();
  recipe?.finish();
  const { size, leans, listsRoot, exact } = unpacker;
  return { diffId: hasher === undefined ? job.digest! : `sha256:${hasher.digest("hex")}`, tarSize, size, leans, listsRoot, exact };
}

/** Bytes of a file that are read at once. */
const READ = 1 << 18;

/** A file, maybe one that still grows. */
class SourceFile {
  readonly #running: RunningJob;
  readonly #path: string;
  readonly #size: number | undefined;
  readonly #count: (bytes: Uint8Array) => void;
  #fd = -1;
  #at = 0;

  /** `size`: bytes that it will have, where it isn't whole yet. `count` sees all bytes in order, whoever reads them. */
  constructor(running: RunningJob, path: string, size: number | undefined, count: (bytes: Uint8Array) => void) {
    this.#running = running;
    this.#path = path;
    this.#size = size;
    this.#count = count;
  }

  /** The next bytes, in a buffer of their own; undefined at the end. Synchronous reads: this Worker has nothing better to do meanwhile. */
  async read(): Promise<Uint8Array | undefined> {
    const most = await this.#readable();
    if (most === 0) return undefined;
    try {
      if (this.#fd < 0) this.#fd = openAt(AT_FDCWD, bytesOf(this.#path), O.RDONLY);
      const buffer = Buffer.allocUnsafeSlow(most);
      const length = readFd(this.#fd, buffer);
      this.#at += length;
      if (length === 0 && this.#size !== undefined) throw internal(`reading ${this.#path}: it is shorter than it should be`);
      if (length === 0) return undefined;
      const chunk = buffer.subarray(0, length);
      this.#count(chunk);
      return chunk;
    } catch (error) {
      throw error instanceof SysError ? internal(`reading ${this.#path}: ${error.message}`, error) : error;
    }
  }

  /** How many bytes may be read now; waits for some. 0 at the end of one that grew. */
  async #readable(): Promise<number> {
    if (this.#size === undefined) return READ;
    if (this.#at === this.#size) return 0;
    return Math.min(READ, (await this.#running.grownBeyond(this.#at)) - this.#at);
  }

  close(): void {
    if (this.#fd >= 0) closeFd(this.#fd);
    this.#fd = -1;
  }
}

function fromFile(file: SourceFile, breathe: Pause): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        await breathe();
        const chunk = await file.read();
        if (chunk === undefined) return controller.close();
        controller.enqueue(chunk);
      },
    },
    { highWaterMark: 0 },
  );
}
