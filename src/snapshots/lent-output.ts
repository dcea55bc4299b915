import { SysError } from "../kernel/ffi.ts";
import { sendSome } from "../kernel/socket.ts";
import { cancelled } from "../lib/errors.ts";
import { Patience } from "./patience.ts";

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

  /** @throws EngineError cancelled once the client is gone */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#isChunked) await this.#send(Buffer.from(`${this.#due}${bytes.length.toString(16)}\r\n`, "latin1"));
    this.#due = "\r\n";
    await this.#send(bytes);
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

  #take(bytes: Uint8Array): number {
    try {
      return sendSome(this.#fd, bytes);
    } catch (error) {
      if (error instanceof SysError) throw cancelled("the client has gone");
      throw error;
    }
  }
}
