import { cancelled, EngineError, internal } from "../lib/errors.ts";
import { createPause, type Pause, WORKER_PIECE } from "../lib/turns.ts";
import type { InsertedFile } from "./chunked-output.ts";
import { LentAnswer } from "./lent-output.ts";
import { CREDITS, type Request, type Response } from "./protocol.ts";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;
export type Start = Request & { type: "start" };

/** A job that goes on in the Worker: what it tells the main thread, and what it is told. */
export class RunningJob {
  readonly #id: number;
  readonly #post: (message: Response, transfer?: ArrayBuffer[]) => void;
  #isCancelled = false;
  /** `chunk`s that may be sent before one has been consumed. */
  #credits: number;
  /** Called when a credit, a chunk or the cancellation came. */
  #wake: () => void = () => {};
  #input: (Request & { type: "chunk" })[] = [];
  /** Bytes of a growing source that are there. */
  #grown = 0;
  /** Where chunks go instead of to the main thread. */
  #sink: LentAnswer | undefined;

  constructor({ id, credits = CREDITS }: Start, post: (message: Response, transfer?: ArrayBuffer[]) => void) {
    this.#id = id;
    this.#credits = credits;
    this.#post = post;
  }

  get isCancelled(): boolean {
    return this.#isCancelled;
  }

  receive(message: Request): void {
    if (message.type === "cancel") this.#isCancelled = true;
    if (message.type === "credit") this.#credits++;
    if (message.type === "chunk") this.#input.push(message);
    if (message.type === "grown") this.#grown = message.bytes;
    if (message.type === "pour") this.#sink = new LentAnswer(message.to, this.rest);
    this.#wake();
  }

  post(message: WithoutId<Response>, transfer?: ArrayBuffer[]): void {
    this.#post({ ...message, id: this.#id }, transfer);
  }

  /** Lets messages in, now and then: cancellations, other jobs. */
  breather(): Pause {
    return createPause({ piece: WORKER_PIECE, check: () => this.#check("cancelled") });
  }

  /** Runs a generator for some milliseconds at a time, so that a long removal doesn't hold up another job. */
  async inSlices<T>(steps: Generator<void, T, undefined>, breathe: Pause = this.breather()): Promise<T> {
    for (;;) {
      await breathe();
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  }

  /** Lets other jobs go on for so many milliseconds. */
  readonly rest = async (milliseconds: number): Promise<void> => {
    await Bun.sleep(milliseconds);
    this.#check("cancelled");
  };

  /** Whether files may be sent with a chunk. */
  get sendsFiles(): boolean {
    return this.#sink !== undefined;
  }

  /** Sends a chunk once the receiver has room for it. */
  async send(chunk: Uint8Array, files: readonly InsertedFile[] = []): Promise<void> {
    while (this.#credits === 0 && this.#sink === undefined) await this.#waiting("making an archive was cancelled");
    if (this.#sink !== undefined) return await this.#sink.write(chunk, files);
    this.#credits--;
    // each chunk is made anew, in a buffer of its own, and let go of here: it changes hands without a copy
    this.post({ type: "chunk", bytes: chunk }, [chunk.buffer as ArrayBuffer]);
  }

  /** All has been sent. */
  async end(): Promise<void> {
    await this.#sink?.end();
  }

  /** The bytes that come as `chunk` messages. `count` sees all of them. */
  input(count: (bytes: Uint8Array) => void = () => {}): ReadableStream<Uint8Array> {
    let asked = 0;
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          // More than is needed now: they are gathered while this one is worked on, and a busy host wakes each side less often.
          for (; asked < CREDITS; asked++) this.post({ type: "want" });
          asked--;
          while (this.#input.length === 0) await this.#waiting("reading an archive was cancelled");
          const { bytes, error } = this.#input.shift()!;
          if (error !== undefined) throw new EngineError("invalidArgument", error);
          if (bytes === undefined) return controller.close();
          count(bytes);
          controller.enqueue(bytes);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** How far a source that still grows is there, once that is more than `beyond`. @throws EngineError internal where it stops growing, cancelled */
  async grownBeyond(beyond: number): Promise<number> {
    if (beyond >= this.#grown) this.post({ type: "more", beyond });
    while (beyond >= this.#grown) {
      const failed = this.#input.shift()?.error;
      if (failed !== undefined) throw internal(failed);
      await this.#waiting("unpacking a layer was cancelled");
    }
    return this.#grown;
  }

  /** Until something comes. */
  #waiting(what: string): Promise<void> {
    this.#check(what);
    return new Promise((resolve) => (this.#wake = resolve));
  }

  #check(what: string): void {
    if (this.#isCancelled) throw cancelled(what);
  }
}

/** Tells how many bytes have passed, ten times a second at the most; the last number for sure. */
export function progressOf(job: RunningJob): (bytes: number, isLast?: boolean) => void {
  let told = 0;
  let toldAt = 0;
  return (bytes, isLast = false) => {
    const now = performance.now();
    if (isLast ? bytes === told : now - toldAt < 100) return;
    [told, toldAt] = [bytes, now];
    job.post({ type: "progress", bytes });
  };
}
