export interface Timer {
  readonly at: number;
  readonly run: () => void;
}

/** Timers of a thread that has an event loop of its own. Times are in ms of one clock, which the caller reads. */
export class Timers {
  readonly #all = new Set<Timer>();
  #soonest = Number.POSITIVE_INFINITY;

  add(at: number, run: () => void): Timer {
    const timer = { at, run };
    this.#all.add(timer);
    if (at < this.#soonest) this.#soonest = at;
    return timer;
  }

  cancel(timer: Timer | undefined): void {
    if (timer !== undefined) this.#all.delete(timer);
  }

  /** How long to wait, in whole ms; -1: nothing is due, ever. */
  wait(now: number): number {
    if (this.#all.size === 0) return -1;
    return Math.max(0, Math.ceil(this.#soonest - now));
  }

  /** Runs what is due. */
  run(now: number): void {
    if (now < this.#soonest) return;
    for (const timer of this.#all) {
      if (timer.at > now) continue;
      this.#all.delete(timer);
      timer.run();
    }
    this.#soonest = Number.POSITIVE_INFINITY;
    for (const { at } of this.#all) if (at < this.#soonest) this.#soonest = at;
  }
}
