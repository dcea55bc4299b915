import type { AttachSession } from "../../containers/types.ts";
import { kindOf } from "../../lib/errors.ts";
import type { StdStream } from "../../logs/types.ts";
import type { Exchange, Hijacked } from "../http/connection.ts";
import { DetachScanner } from "./detach-keys.ts";
import { frame, mediaTypes } from "./frames.ts";

/**
 * What a client that reads slowly may have waiting for it. Beyond `pauseAt` the container's output isn't read any more, so that the container
 * itself waits, as with Docker: `docker run … | less` loses nothing. `cutAt` bounds what comes while nothing can be held (a replayed log).
 */
const pauseAt = 4 << 20;
const resumeAt = 1 << 20;
const cutAt = 64 << 20;
/** How long the answer to a client's last input is waited for, where the end of that input ends the session. Docker leaves it to chance. */
const lastWordsMs = 100;

export interface AttachedOptions {
  /** The hijacked connection, its head sent. */
  connection: Hijacked;
  /** Aborted when the client has gone. */
  signal: AbortSignal;
  /** Resolves when it says so itself, where the connection has a word for that. */
  left?: Promise<void>;
  /** Streams are told apart by frames. */
  framed: boolean;
  /** Input is looked through for the detach keys. */
  tty: boolean;
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  detachKeys: Uint8Array;
}

/** Sends the head of a hijacked answer. The 101 goes out alone: clients lose what comes in one read with it. */
export function hijack(exchange: Exchange, contentType: string): Hijacked {
  const upgrade = exchange.head.upgrade !== undefined;
  return exchange.hijack(
    upgrade
      ? `HTTP/1.1 101 UPGRADED\r\nContent-Type: ${contentType}\r\nConnection: Upgrade\r\nUpgrade: tcp`
      : `HTTP/1.1 200 OK\r\nContent-Type: ${mediaTypes.raw}`,
  );
}

/** Ties a hijacked connection to a container's or an exec's streams until one side ends. */
export class AttachedClient {
  readonly #options: AttachedOptions;
  readonly #hijacked: Hijacked;
  readonly #done = Promise.withResolvers<void>();
  /** A piece that has gone out. */
  #memory: Buffer | undefined;
  #held: Disposable | undefined;
  #hold: (() => Disposable) | undefined;

  constructor(options: AttachedOptions) {
    this.#options = options;
    this.#hijacked = options.connection;
    options.left?.then(this.#done.resolve, this.#done.resolve);
  }

  /** Runs until the container has ended, the client has gone, or it typed the detach keys. The session stays the caller's to dispose. */
  async run(session: AttachSession): Promise<void> {
    const { signal } = this.#options;
    this.#hold = () => session.io.hold();
    signal.addEventListener("abort", () => this.#done.resolve(), { once: true });
    if (signal.aborted) this.#done.resolve();
    this.#readInput(session).catch((error: unknown) => this.#inputFailed(error));
    session.ended.then(this.#done.resolve, this.#done.resolve);
    await this.#done.promise;
    this.#held?.[Symbol.dispose]();
    this.#hijacked.end();
  }

  /** Ends the stream with a sentence for the user: too late for a status code. */
  fail(sentence: string): void {
    this.output("stdout", Buffer.from(`${sentence}\r\n`));
    this.#hijacked.end();
  }

  end(): void {
    this.#hijacked.end();
  }

  /** Waits until the client has taken nearly all. */
  async drained(): Promise<void> {
    while (this.#hijacked.buffered > resumeAt && !this.#options.signal.aborted) await Bun.sleep(5);
  }

  output(stream: StdStream, chunk: Uint8Array): void {
    const { framed, stdout, stderr, signal } = this.#options;
    if (signal.aborted || chunk.length === 0 || !(stream === "stdout" ? stdout : stderr)) return;
    try {
      const bytes = framed ? frame(stream, chunk, this.#memory) : Buffer.from(chunk);
      this.#memory = undefined;
      const full = this.#hijacked.write(bytes);
      // The kernel has it all: the next piece may lie in the same place.
      if (this.#hijacked.buffered === 0) this.#memory = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      if (full !== undefined && this.#held === undefined && this.#hijacked.buffered > pauseAt) this.#pause(full);
    } catch (error) {
      if (kindOf(error) !== "cancelled") throw error;
      this.#done.resolve();
    }
  }

  #pause(drained: Promise<void>): void {
    if (this.#hold === undefined) {
      if (this.#hijacked.buffered > cutAt) this.#hijacked.destroy();
      return;
    }
    this.#held = this.#hold();
    void drained.then(() => this.#release());
  }

  async #release(): Promise<void> {
    await this.drained();
    this.#held?.[Symbol.dispose]();
    this.#held = undefined;
  }

  /** Reads to the end also where stdin isn't attached, since that is how the client's leaving is seen. */
  async #readInput(session: AttachSession): Promise<void> {
    const { tty, stdin, detachKeys } = this.#options;
    const scanner = tty && stdin ? new DetachScanner(detachKeys) : undefined;
    for (let chunk = await this.#hijacked.read(); chunk !== undefined; chunk = await this.#hijacked.read()) {
      if (!stdin) continue;
      const { pass, detached } = scanner === undefined ? { pass: chunk, detached: false } : scanner.push(chunk);
      if (pass.length > 0) await session.io.writeStdin(pass);
      if (detached) {
        session.detached();
        this.#done.resolve();
        return;
      }
    }
    if (!stdin) return;
    if (session.closesStdin) {
      session.io.closeStdin();
      return;
    }
    await Bun.sleep(lastWordsMs);
    this.#done.resolve();
  }

  /** Input that the container doesn't take any more (it has closed stdin, or ended) is the client's loss; output goes on. */
  #inputFailed(error: unknown): void {
    if (kindOf(error) === "internal" && !this.#options.signal.aborted) this.#done.reject(error);
  }
}
