import type { Turns } from "../lib/turns.ts";
import { CriParser, filtered, TimeCache } from "./cri.ts";
import { Cursor, endOf, type OpenPosition } from "./cursor.ts";
import { chunkSize, type Segment } from "./segments.ts";
import { findSince } from "./since.ts";
import { findTail } from "./tail.ts";
import type { LogBatch, LogPosition, ReadLogsOptions, StdStream } from "./types.ts";
import { Wake } from "./wake.ts";

/** See Logs.read. Each piece waits for its turn: many readers of a flood would leave the event loop no time for anything else. */
export async function* readLog(turns: Turns, logPath: string, options: ReadLogsOptions, ended: Promise<unknown>): AsyncGenerator<LogBatch> {
  const { signal, follow } = options;
  await using stack = new AsyncDisposableStack();
  const wake = follow ? stack.use(new Wake(logPath, ended, options)) : undefined;
  // A log that is written faster than it is read would never end, and its tail is counted from where it ended when it was asked for.
  const end = follow && options.tail === undefined ? undefined : await endOf(logPath);
  if (!follow && end === undefined) return;
  if (end !== undefined) stack.use(end.file);
  const parser = new CriParser(chunkSize);
  const start = await beginning(logPath, options, end);
  // Whoever follows for days must not hold a file that was dropped.
  if (start.file !== end?.file) await end?.file[Symbol.asyncDispose]();
  const cursor = stack.use(new Cursor(logPath, start, { end: follow ? undefined : end, memory: parser.space, onNextFile: () => parser.nextFile() }));
  const choice = new Choice(options);

  for (;;) {
    // Asked before the reading, so that what was written before the end is read after it.
    const isDone = wake === undefined || wake.isDone;
    for (;;) {
      const piece = await cursor.read();
      await turns();
      if (signal?.aborted === true) return;
      for (const batch of piece === undefined ? parser.flush() : parser.push(piece)) {
        const chosen = choice.of(batch);
        if (chosen !== undefined) {
          cursor.rest();
          yield chosen;
          cursor.resume();
        }
        if (choice.isOver) return;
      }
      if (piece === undefined) break;
    }
    if (isDone) return;
    await wake.wait(() => cursor.hasMore());
  }
}

async function beginning(
  logPath: string,
  { tail, since, stdout, stderr }: ReadLogsOptions,
  end: OpenPosition | undefined,
): Promise<LogPosition & { file?: Segment }> {
  const streams = new Set<StdStream>([...(stdout ? (["stdout"] as const) : []), ...(stderr ? (["stderr"] as const) : [])]);
  const found = tail !== undefined ? end && (await findTail(logPath, tail, streams, end)) : since !== undefined ? await findSince(logPath, since) : undefined;
  return found ?? { segment: 0, offset: 0 };
}

/** Which records were asked for. */
class Choice {
  readonly #options: ReadLogsOptions;
  readonly #all: boolean;
  readonly #times = new TimeCache();
  /** A record later than `until` has come. */
  isOver = false;

  constructor(options: ReadLogsOptions) {
    this.#options = options;
    this.#all = options.stdout && options.stderr && options.since === undefined && options.until === undefined;
  }

  of(batch: LogBatch): LogBatch | undefined {
    if (this.#all) return batch;
    const { stdout, stderr, since, until } = this.#options;
    return filtered(batch, (isStderr, timeStart, timeEnd) => {
      if (this.isOver) return false;
      if (since === undefined && until === undefined) return isStderr ? stderr : stdout;
      const time = this.#times.at(batch.data, timeStart, timeEnd);
      if (time === undefined) return false;
      if (until !== undefined && time > until) this.isOver = true;
      return !this.isOver && (isStderr ? stderr : stdout) && (since === undefined || time >= since);
    });
  }
}
