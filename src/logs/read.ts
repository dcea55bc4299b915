import { watch, type FSWatcher } from "node:fs";
import { dirname } from "node:path";
import { CriParser } from "./cri.ts";
import { openAll, openNext, type OpenFile } from "./files.ts";
import { findTail } from "./tail.ts";
import type { LogRecord, ReadLogsOptions, StdStream } from "./types.ts";

const chunkSize = 64 * 1024;
/** A safety net under inotify: an event may be lost when its queue overflows. */
const pollMs = 1000;
const noBytes = 0;

/** See Logs.read. */
export async function* readLog(logPath: string, options: ReadLogsOptions, ended: Promise<unknown>): AsyncGenerator<LogRecord[]> {
  const streams = new Set<StdStream>([...(options.stdout ? (["stdout"] as const) : []), ...(options.stderr ? (["stderr"] as const) : [])]);
  const { signal, since, until } = options;
  await using stack = new AsyncDisposableStack();
  const wake = options.follow ? stack.use(new Wake(logPath, ended, options)) : undefined;
  const files = await openAll(logPath);
  for (const file of files) stack.use(file);
  const begin = await beginning(files, options, streams);
  let isOver = false;
  const wanted = (records: LogRecord[]): LogRecord[] =>
    records.filter((record) => {
      if (until !== undefined && record.time > until) isOver = true;
      return !isOver && streams.has(record.stream) && (since === undefined || record.time >= since);
    });

  let last: OpenFile | undefined;
  let offset = 0;
  let parser = new CriParser();
  for (const [index, file] of files.entries()) {
    if (index < begin.file) continue;
    offset = index === begin.file ? begin.offset : 0;
    parser = new CriParser();
    for await (const { records, next } of chunks(file, offset, parser)) {
      if (signal?.aborted === true) return;
      offset = next;
      const some = wanted(records);
      if (some.length > 0) yield some;
      if (isOver) return;
    }
    last = file;
  }
  if (wake === undefined) return;

  for (;;) {
    // Asked before the reading, so that what was written before the end is read after it.
    const done = wake.isDone;
    wake.clear();
    // A successor that exists before this file's end is seen means that nothing more comes into this file.
    const successor = await openNext(logPath, last?.inode);
    if (last !== undefined) {
      for await (const { records, next } of chunks(last, offset, parser)) {
        if (signal?.aborted === true) return;
        offset = next;
        const some = wanted(records);
        if (some.length > 0) yield some;
        if (isOver) return;
      }
    }
    if (successor !== undefined) {
      stack.use(successor);
      // an open file that has been deleted still takes its room on the disk: a follower of a flood would fill it
      await last?.[Symbol.asyncDispose]();
      last = successor;
      offset = 0;
      parser = new CriParser();
    } else if (done) {
      return;
    } else {
      await wake.wait();
    }
  }
}

async function beginning(files: OpenFile[], { tail }: ReadLogsOptions, streams: ReadonlySet<StdStream>): Promise<{ file: number; offset: number }> {
  if (tail === undefined || files.length === 0) return { file: 0, offset: 0 };
  return await findTail(
    files.map((file) => file.handle),
    tail,
    streams,
  );
}

/** What is in the file from `offset` to its present end, in pieces; a new buffer each time, since records point into it. */
async function* chunks(file: OpenFile, offset: number, parser: CriParser): AsyncGenerator<{ records: LogRecord[]; next: number }> {
  let at = offset;
  for (;;) {
    const buffer = Buffer.allocUnsafeSlow(chunkSize);
    const { bytesRead } = await file.handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === noBytes) return;
    at += bytesRead;
    yield { records: parser.push(buffer.subarray(0, bytesRead)), next: at };
  }
}

/** Tells a follower when to look again: something happened in the log's directory, the container ended, the client left, `until` is past. */
class Wake implements Disposable {
  #isDirty = false;
  #isDone = false;
  #resolve: (() => void) | undefined;
  readonly #watcher: FSWatcher | undefined;
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  readonly #signal: AbortSignal | undefined;
  readonly #finish = (): void => {
    this.#isDone = true;
    this.#notify();
  };

  constructor(logPath: string, ended: Promise<unknown>, { signal, until }: ReadLogsOptions) {
    this.#watcher = startWatch(dirname(logPath), () => this.#notify());
    this.#timers.push(setInterval(() => this.#notify(), this.#watcher === undefined ? 100 : pollMs));
    void ended.then(this.#finish, this.#finish);
    this.#signal = signal;
    signal?.addEventListener("abort", this.#finish, { once: true });
    if (signal?.aborted === true) this.#isDone = true;
    if (until !== undefined) {
      const ms = Number(until / 1_000_000n) - Date.now();
      if (ms <= 0) this.#isDone = true;
      else if (ms < 0x7fffffff) this.#timers.push(setTimeout(this.#finish, ms));
    }
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  clear(): void {
    this.#isDirty = false;
  }

  /** Resolves at the next word, or at once where there was one since `clear`. */
  async wait(): Promise<void> {
    if (this.#isDirty || this.#isDone) return;
    await new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
  }

  #notify(): void {
    this.#isDirty = true;
    this.#resolve?.();
    this.#resolve = undefined;
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#signal?.removeEventListener("abort", this.#finish);
  }
}

/** Undefined where inotify gives no more watches: then there is only the polling. */
function startWatch(directory: string, listener: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(directory, listener);
    watcher.on("error", listener);
    return watcher;
  } catch {
    return undefined;
  }
}
