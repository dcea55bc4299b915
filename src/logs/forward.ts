import { randomBytes } from "node:crypto";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { sleep } from "../lib/sleep.ts";
import type { Turns } from "../lib/turns.ts";
import { within } from "../lib/within.ts";
import { CriParser, recordsOf } from "./cri.ts";
import { Cursor } from "./cursor.ts";
import { Progress, progressPath, type Sent } from "./progress.ts";
import { chunkSize, segmentNumbers } from "./segments.ts";
import type { OutgoingRecord, Sink } from "./sink.ts";
import type { LogBatch, StdStream } from "./types.ts";
import { Wake } from "./wake.ts";

/** Messages that go together over a stream. */
const bundleSize = 16 << 10;
/** The event loop's turn comes so often. */
const sliceMs = 2;
/** For a receiver that takes nothing just now. */
const longestWaitMs = 50;
const retryMs = 250;
const longestRetryMs = 30_000;

export interface ForwardOptions {
  logPath: string;
  sink: Sink;
  /** The run's end: then all that is in the log is the last there is. */
  ended: Promise<unknown>;
  /** Holds the container's output up, until it is disposed. Undefined (mode=non-blocking): never. */
  hold: (() => Disposable) | undefined;
  /** Files that may be waiting before the container is held up. */
  holdAt: number;
  turns: Turns;
  log: Logger;
}

export interface Forwarding {
  /** Resolves when everything has been sent, or it was stopped. Never rejects. */
  readonly done: Promise<void>;
  /** Lets go; another one goes on from here. */
  stop(): Promise<void>;
}

/** Sends what conmon writes into a log to where the log driver says, and keeps account of it. */
export function forwardLog(options: ForwardOptions): Forwarding {
  const abort = new AbortController();
  const done = new Forwarder(options, abort.signal).run().catch((error: unknown) => {
    if (!abort.signal.aborted) options.log.error("forwarding a log", { log: options.logPath, to: options.sink.target, error: messageOf(error) });
  });
  return {
    done,
    stop: () => {
      abort.abort();
      return done;
    },
  };
}

interface Bundled {
  /** What is still to be sent of it. */
  bytes: Buffer;
  whole: Buffer;
  /** The account when it has gone. */
  sent: Sent;
}

class Forwarder {
  readonly #options: ForwardOptions;
  readonly #signal: AbortSignal;
  readonly #parser = new CriParser(chunkSize);
  #sent: Sent = { from: { segment: 0, offset: 0 }, records: 0 };
  /** Records that were sent already, after the place where reading began. */
  #skip = 0;
  readonly #partial: Record<StdStream, { id: string; ordinal: number } | undefined> = { stdout: undefined, stderr: undefined };
  #bundle: Bundled[] = [];
  #bundled = 0;
  #isConnected = false;
  /** Messages in a row that a receiver let itself be connected for and didn't take. */
  #failures = 0;
  #held: Disposable | undefined;
  #sliceBegan = performance.now();

  constructor(options: ForwardOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const { logPath, ended, sink } = this.#options;
    await using stack = new AsyncDisposableStack();
    stack.use(sink);
    stack.defer(() => this.#release());
    const progress = stack.use(new Progress(progressPath(logPath)));
    this.#sent = { from: progress.start.from, records: 0 };
    this.#skip = progress.start.records;
    const wake = stack.use(new Wake(logPath, ended, { signal: this.#signal }));
    const cursor = stack.use(new Cursor(logPath, progress.start.from, { memory: this.#parser.space, onNextFile: (isGap) => this.#nextFile(isGap) }));
    for (;;) {
      const isDone = wake.isDone;
      for (let piece = await cursor.read(); piece !== undefined; piece = await cursor.read()) {
        if (this.#parser.isAtLine) {
          const { segment, offset } = cursor.position;
          this.#sent = { from: { segment, offset: offset - piece.length - this.#parser.restLength }, records: 0 };
        }
        await this.#sendAll(this.#parser.push(piece), progress, cursor);
        if (this.#signal.aborted) return;
        await this.#holdUp(cursor);
      }
      if (this.#signal.aborted) return;
      if (isDone) {
        // The last line has no newline, and none will come.
        await this.#sendAll(this.#parser.flush(), progress, cursor);
        if (this.#signal.aborted) return;
        progress.write({ from: cursor.position, records: 0 });
        return;
      }
      await wake.wait(() => cursor.hasMore());
    }
  }

  #nextFile(isGap: boolean): void {
    if (!isGap) return this.#parser.nextFile();
    this.#parser.reset();
    this.#skip = 0;
    const { log, logPath, sink } = this.#options;
    log.warn("a container's output was dropped before it could be forwarded: it came faster, or the receiver was away for longer, than the log has room for", {
      log: logPath,
      to: sink.target,
    });
  }

  async #sendAll(batches: LogBatch[], progress: Progress, cursor: Cursor): Promise<void> {
    const { sink } = this.#options;
    for (const batch of batches) {
      for (const record of recordsOf(batch)) {
        const outgoing = this.#outgoing(record);
        this.#sent.records++;
        if (this.#skip > 0) {
          this.#skip--;
          continue;
        }
        const message = sink.format(outgoing);
        if (message === undefined) continue;
        this.#bundle.push({ bytes: message, whole: message, sent: { ...this.#sent } });
        this.#bundled += message.length;
        if (!sink.isStream || this.#bundled >= bundleSize) await this.#flush(progress, cursor);
        if (this.#signal.aborted) return;
      }
    }
    await this.#flush(progress, cursor);
  }

  /**
   * Sends what is bundled, however often it takes. It is written down as sent right before it is: the sending wakes its receiver, which may well run
   * next, and an engine that was killed then would send it all again. What the kernel didn't take is written down as not sent.
   */
  async #flush(progress: Progress, cursor: Cursor): Promise<void> {
    let left = this.#bundle;
    this.#bundle = [];
    this.#bundled = 0;
    for (let wait = 1; left.length > 0;) {
      if (!this.#isConnected && !(await this.#connect())) return;
      const message = Buffer.concat(left.map(({ bytes }) => bytes));
      try {
        const whole = left.at(-1) as Bundled;
        if (this.#options.sink.isDirect) progress.write(whole.sent);
        const taken = this.#options.sink.send(message);
        // Meanwhile the container may write what there is no room for.
        if (typeof taken !== "number") while (!(await within(taken, longestWaitMs))) await this.#holdUp(cursor);
        if (!this.#options.sink.isDirect) progress.write(whole.sent);
        if (typeof taken !== "number" || taken === message.length) {
          this.#failures = 0;
          break;
        }
        left = this.#rest(left, taken, progress);
        wait = taken > 0 ? 1 : Math.min(wait * 2, longestWaitMs);
        await this.#holdUp(cursor);
        await sleep(wait, this.#signal);
        if (this.#signal.aborted) return;
      } catch (error) {
        left = this.#rest(left, 0, progress);
        // A new connection begins with a whole record.
        left[0] = { ...(left[0] as Bundled), bytes: (left[0] as Bundled).whole };
        this.#isConnected = false;
        this.#failures++;
        this.#options.log.debug("a log's receiver was lost", { to: this.#options.sink.target, error: messageOf(error) });
      }
    }
    if (performance.now() - this.#sliceBegan < sliceMs) return;
    await this.#options.turns();
    this.#sliceBegan = performance.now();
  }

  /** What is to be sent once `taken` bytes have gone, and the account of it. */
  #rest(bundle: readonly Bundled[], taken: number, progress: Progress): Bundled[] {
    let gone = taken;
    let index = 0;
    for (; index < bundle.length && gone >= (bundle[index] as Bundled).bytes.length; index++) gone -= (bundle[index] as Bundled).bytes.length;
    const [first, ...others] = bundle.slice(index) as [Bundled, ...Bundled[]];
    progress.write({ ...first.sent, records: first.sent.records - 1 });
    return [{ ...first, bytes: first.bytes.subarray(gone) }, ...others];
  }

  /** False where it was told to stop. */
  async #connect(): Promise<boolean> {
    const { sink, log, logPath } = this.#options;
    const first = this.#failures > 1 ? retryMs : 0;
    for (let wait = first; !this.#signal.aborted; wait = Math.min(Math.max(wait * 2, retryMs), longestRetryMs)) {
      await sleep(wait, this.#signal);
      try {
        await sink.connect(this.#signal);
        this.#isConnected = true;
        if (wait > first) log.info("a log's receiver is back", { log: logPath, to: sink.target });
        return true;
      } catch (error) {
        // A container isn't stopped by a receiver that is away.
        this.#release();
        if (wait === first) log.warn("a log's receiver can't be reached; what is written is kept and sent later", { log: logPath, error: messageOf(error) });
      }
    }
    return false;
  }

  /** A container that writes faster than its receiver takes waits, as with Docker, before anything is dropped. */
  async #holdUp(cursor: Cursor): Promise<void> {
    const { hold, holdAt, logPath } = this.#options;
    if (hold === undefined) return;
    const behind = cursor.isAtLatest ? 0 : ((await segmentNumbers(logPath)).at(-1) ?? 0) - cursor.position.segment;
    if (behind >= holdAt) this.#held ??= hold();
    else if (behind * 2 <= holdAt) this.#release();
  }

  #release(): void {
    this.#held?.[Symbol.dispose]();
    this.#held = undefined;
  }

  #outgoing({ stream, time, bytes }: { stream: StdStream; time: string; bytes: Buffer }): OutgoingRecord {
    const isLast = bytes.at(-1) === 0x0a;
    const text = isLast ? bytes.subarray(0, -1) : bytes;
    const before = this.#partial[stream];
    if (isLast && before === undefined) return { stream, time, text };
    const partial = { id: before?.id ?? randomBytes(32).toString("hex"), ordinal: (before?.ordinal ?? 0) + 1 };
    this.#partial[stream] = isLast ? undefined : partial;
    return { stream, time, text, partial: { ...partial, isLast } };
  }
}
