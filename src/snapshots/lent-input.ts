import { SysError } from "../kernel/ffi.ts";
import { receiveMessage } from "../kernel/socket.ts";
import { cancelled, invalidArgument } from "../lib/errors.ts";
import { BadRequest, BodyDecoder, type Framing } from "../lib/http-body.ts";
import { Patience } from "./patience.ts";

/** Bytes that are read at once, at the most: a unix socket holds some 200 KB. */
const READ = 1 << 18;

/** The body of a request, read from the client's own connection. For Workers. */
export class LentBody {
  readonly #fd: number;
  readonly #decoder: BodyDecoder;
  readonly #memory = Buffer.from(new ArrayBuffer(READ));
  /** What has been read and isn't taken yet. */
  #input: Buffer;
  readonly #patience: Patience;

  /** `first`: what had been read already. `rest` waits where nothing comes for a while. */
  constructor({ fd, framing, first }: { fd: number; framing: Framing; first: Uint8Array }, rest: (milliseconds: number) => Promise<void>) {
    this.#fd = fd;
    this.#decoder = new BodyDecoder(framing);
    this.#input = Buffer.from(first);
    this.#patience = new Patience(fd, "read", rest);
  }

  /** Whether it has been read to its end, and what came after it. */
  get end(): { isWhole: boolean; rest: Uint8Array } {
    return { isWhole: this.#decoder.done, rest: Uint8Array.from(this.#input) };
  }

  /** The next bytes: a view that is good until the next call; undefined at the end. @throws EngineError invalidArgument, cancelled */
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const data = this.#take();
      if (data.length > 0) return data;
      if (this.#decoder.done) return undefined;
      const n = this.#receive();
      if (n === 0) throw invalidArgument("the request's body ended before its declared length");
      if (n !== undefined) this.#patience.reward();
      else if (!this.#patience.isReady()) await this.#patience.wait();
    }
  }

  #take(): Buffer {
    try {
      const { data, used } = this.#decoder.take(this.#input);
      this.#input = this.#input.subarray(used);
      return data;
    } catch (error) {
      throw error instanceof BadRequest ? invalidArgument(error.message, error) : error;
    }
  }

  /** Nothing is left of the input when it is called. */
  #receive(): number | undefined {
    try {
      const n = receiveMessage(this.#fd, this.#memory);
      this.#input = this.#memory.subarray(0, n ?? 0);
      return n;
    } catch (error) {
      if (error instanceof SysError) throw cancelled("the client closed the connection before the request's body was complete");
      throw error;
    }
  }
}
