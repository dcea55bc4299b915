const CHUNK = 1 << 18;

/** Gathers small writes into chunks of 256 KiB. Each is good until `emit` has resolved, or for good where its buffer was transferred. */
export class ChunkedOutput {
  readonly #emit: (chunk: Uint8Array) => void | Promise<void>;
  #buffer = Buffer.allocUnsafeSlow(CHUNK);
  #length = 0;

  constructor(emit: (chunk: Uint8Array) => void | Promise<void>) {
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

  async flush(): Promise<void> {
    if (this.#length === 0) return;
    await this.#emit(this.#buffer.subarray(0, this.#length));
    if (this.#buffer.buffer.detached) this.#buffer = Buffer.allocUnsafeSlow(CHUNK);
    this.#length = 0;
  }
}
