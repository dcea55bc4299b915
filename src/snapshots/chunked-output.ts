import { closeFd } from "../kernel/fs.ts";
import { duplicateFd } from "../kernel/pipe.ts";

const CHUNK = 1 << 18;
/** Files in a chunk at most, each a descriptor that is open. */
const MOST_FILES = 64;

/** Bytes of an open file. */
export interface FileRange {
  fd: number;
  offset: number;
  length: number;
}

/** Bytes of a file that come after so many bytes of a chunk. They are as many as `length` says: zeros where the file is shorter. */
export interface InsertedFile extends FileRange {
  after: number;
}

export type Emit = (chunk: Uint8Array, files: readonly InsertedFile[]) => void | Promise<void>;

/** Gathers small writes into chunks of 256 KiB. Each is good until `emit` has resolved, or for good where its buffer was transferred. */
export class ChunkedOutput implements Disposable {
  readonly #emit: Emit;
  #buffer = Buffer.allocUnsafeSlow(CHUNK);
  #length = 0;
  #files: InsertedFile[] = [];
  /** Bytes of `#files`. */
  #inserted = 0;

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const take = Math.min(bytes.length - at, CHUNK - this.#length);
      this.#buffer.set(bytes.subarray(at, at + take), this.#length);
      at += take;
      const flushed = this.filled(take);
      if (flushed !== undefined) await flushed;
    }
  }

  /** Where the next bytes go, `most` at the most: to be written into, and `filled` after it. */
  room(most: number): Buffer {
    return this.#buffer.subarray(this.#length, Math.min(CHUNK, this.#length + most));
  }

  filled(length: number): Promise<void> | undefined {
    this.#length += length;
    return this.#length === CHUNK ? this.flush() : undefined;
  }

  /** The next bytes are those of a file, which `emit` takes from there. The descriptor stays the caller's. @throws SysError */
  insert({ fd, offset, length }: FileRange): Promise<void> | undefined {
    this.#files.push({ fd: duplicateFd(fd), offset, length, after: this.#length });
    this.#inserted += length;
    return this.#length + this.#inserted >= CHUNK || this.#files.length === MOST_FILES ? this.flush() : undefined;
  }

  async flush(): Promise<void> {
    if (this.#length === 0 && this.#files.length === 0) return;
    await this.#emit(this.#buffer.subarray(0, this.#length), this.#files);
    this[Symbol.dispose]();
    if (this.#buffer.buffer.detached) this.#buffer = Buffer.allocUnsafeSlow(CHUNK);
    this.#length = 0;
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#files) closeFd(fd);
    this.#files = [];
    this.#inserted = 0;
  }
}
