import { readAt } from "../kernel/copy-file.ts";
import { SysError } from "../kernel/ffi.ts";
import { sendFile, sendSome } from "../kernel/socket.ts";
import { cancelled } from "../lib/errors.ts";
import type { FileRange, InsertedFile } from "./chunked-output.ts";
import { Patience } from "./patience.ts";

/** What is read and sent at once where the kernel doesn't send a file by itself. */
const PIECE = 1 << 18;

/** The body of an answer, written to the client's own connection. For Workers. */
export class LentAnswer {
  readonly #fd: number;
  readonly #isChunked: boolean;
  readonly #patience: Patience;
  /** Ends the last chunk. */
  #due = "";

  /** `rest` waits where the client takes nothing for a while. */
  constructor({ fd, isChunked }: { fd: number; isChunked: boolean }, rest: (milliseconds: number) => Promise<void>) {
    this.#fd = fd;
    this.#isChunked = isChunked;
    this.#patience = new Patience(fd, "write", rest);
  }

  /** `files` stand in between the bytes. @throws EngineError cancelled once the client is gone; SysError of the files */
  async write(bytes: Uint8Array, files: readonly InsertedFile[] = []): Promise<void> {
    const length = files.reduce((sum, file) => sum + file.length, bytes.length);
    if (this.#isChunked) await this.#send(Buffer.from(`${this.#due}${length.toString(16)}\r\n`, "latin1"));
    this.#due = "\r\n";
    let sent = 0;
    for (const file of files) {
      await this.#send(bytes.subarray(sent, file.after));
      await this.#sendFile(file);
      sent = file.after;
    }
    await this.#send(bytes.subarray(sent));
  }

  /** After the last `write`. */
  async end(): Promise<void> {
    if (this.#isChunked) await this.#send(Buffer.from(this.#due, "latin1"));
  }

  async #send(bytes: Uint8Array): Promise<void> {
    for (let sent = 0; sent < bytes.length;) {
      const n = this.#take(bytes.subarray(sent));
      sent += n;
      if (n > 0) this.#patience.reward();
      else if (!this.#patience.isReady()) await this.#patience.wait();
    }
  }

  /** Without a copy, where the file system can. */
  async #sendFile({ fd, offset, length }: FileRange): Promise<void> {
    const end = offset + length;
    for (let at = offset; at < end;) {
      const n = this.#takeFile(fd, at, end - at);
      if (n === 0) return await this.#sendCopied({ fd, offset: at, length: end - at });
      if (n !== undefined) {
        at += n;
        this.#patience.reward();
      } else if (!this.#patience.isReady()) await this.#patience.wait();
    }
  }

  /** What the kernel doesn't send by itself: of a file system that can't, or beyond the end of a file that has become shorter. */
  async #sendCopied({ fd, offset, length }: FileRange): Promise<void> {
    const memory = Buffer.alloc(Math.min(PIECE, length));
    const end = offset + length;
    for (let at = offset; at < end;) {
      const room = memory.subarray(0, end - at);
      const n = readAt(fd, room, at);
      // zeros keep the archive whole, as GNU tar does
      if (n === 0) room.fill(0);
      const piece = n === 0 ? room : room.subarray(0, n);
      await this.#send(piece);
      at += piece.length;
    }
  }

  /** 0 where the kernel has nothing to send, or can't; undefined where the client has no room. */
  #takeFile(file: number, offset: number, length: number): number | undefined {
    try {
      return sendFile(this.#fd, file, offset, length);
    } catch (error) {
      const { code } = error as SysError;
      if (code === "EPIPE" || code === "ECONNRESET") throw cancelled("the client has gone");
      if (code === "EINVAL") return 0;
      throw error;
    }
  }

  #take(bytes: Uint8Array): number {
    try {
      return sendSome(this.#fd, bytes);
    } catch (error) {
      if (error instanceof SysError) throw cancelled("the client has gone");
      throw error;
    }
  }
}
