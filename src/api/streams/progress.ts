import type { ProgressMessage } from "../../images/types.ts";
import { EngineError, messageOf } from "../../lib/errors.ts";
import type { Exchange, ResponseStream } from "../http/connection.ts";

/** A client may leave this much progress unread; counters beyond it are dropped, since newer ones follow. */
const maxUnread = 1 << 20;

/**
 * The JSON lines that pull, push, load, import and build answer with. The head goes out with the first message: a failure before
 * that still gets its status code.
 */
export class ProgressStream {
  readonly #exchange: Exchange;
  #stream: ResponseStream | undefined;
  #unread = 0;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  readonly send = (message: ProgressMessage): Promise<void> | undefined => {
    if (this.#exchange.signal.aborted) return undefined;
    if (this.#unread > maxUnread && message.progressDetail !== undefined) return undefined;
    this.#stream ??= this.#exchange.stream(200, { "Content-Type": "application/json" });
    // CRLF, as dockerd's stream formatter writes it
    const line = JSON.stringify(message) + "\r\n";
    const waiting = this.#stream.write(line);
    if (waiting === undefined) return undefined;
    this.#unread += line.length;
    const settle = (): void => void (this.#unread = 0);
    return waiting.then(settle, settle); // a client that is gone reads no more, and that is told elsewhere
  };

  /**
   * Runs `work`; its failure becomes the status code or, once something has been sent (`told: "stream"`: always), the last message.
   */
  async run(work: () => Promise<void>, told: "status" | "stream" = "status"): Promise<void> {
    try {
      await work();
    } catch (error) {
      if ((this.#stream === undefined && told === "status") || this.#exchange.signal.aborted) throw error;
      const code = error instanceof EngineError ? error.exitCode : undefined;
      this.send({ errorDetail: { ...(code === undefined ? {} : { code }), message: messageOf(error) }, error: messageOf(error) });
    }
    this.#stream ??= this.#exchange.stream(200, { "Content-Type": "application/json" });
    this.#stream.end();
  }
}
