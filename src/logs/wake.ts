import { watch, type FSWatcher } from "node:fs";
import { dirname } from "node:path";
import type { ReadLogsOptions } from "./types.ts";

/** A log that has just been written to is looked at so often: an event for each write of a flood would be the engine's whole work. */
const busyMs = 10;
/** Silent for so long, it is left to inotify. */
const quietMs = 200;
/** A safety net under inotify: an event may be lost when its queue overflows. */
const pollMs = 1000;
/** Where inotify has no more watches to give. */
const blindMs = 100;

/** Tells a follower when to look again: more was written, the container ended, the client left, `until` is past. */
export class Wake implements Disposable {
  readonly #logPath: string;
  readonly #signal: AbortSignal | undefined;
  readonly #deadline: ReturnType<typeof setTimeout> | undefined;
  #isDone = false;
  #notify: () => void = () => {};
  readonly #finish = (): void => {
    this.#isDone = true;
    this.#notify();
  };

  constructor(logPath: string, ended: Promise<unknown>, { signal, until }: Pick<ReadLogsOptions, "signal" | "until">) {
    this.#logPath = logPath;
    this.#signal = signal;
    void ended.then(this.#finish, this.#finish);
    signal?.addEventListener("abort", this.#finish, { once: true });
    if (signal?.aborted === true) this.#isDone = true;
    if (until === undefined) return;
    const ms = Number(until / 1_000_000n) - Date.now();
    if (ms <= 0) this.#isDone = true;
    else if (ms < 0x7fffffff) this.#deadline = setTimeout(this.#finish, ms);
  }

  /** Nothing will be worth waiting for. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Resolves when `hasMore` says so, or when all is done. */
  async wait(hasMore: () => boolean): Promise<void> {
    for (let ms = 0; ms < quietMs; ms += busyMs) {
      if (this.#isDone || hasMore()) return;
      await this.#sleep(busyMs);
    }
    const watcher = this.#startWatch();
    try {
      while (!this.#isDone && !hasMore()) await this.#sleep(watcher === undefined ? blindMs : pollMs);
    } finally {
      watcher?.close();
    }
  }

  /** Until then, or the next word. */
  async #sleep(ms: number): Promise<void> {
    if (this.#isDone) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#notify = resolve;
    const timer = setTimeout(resolve, ms);
    await promise;
    clearTimeout(timer);
  }

  #startWatch(): FSWatcher | undefined {
    try {
      const watcher = watch(dirname(this.#logPath), () => this.#notify());
      watcher.on("error", () => this.#notify());
      return watcher;
    } catch {
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#deadline);
    this.#signal?.removeEventListener("abort", this.#finish);
  }
}
