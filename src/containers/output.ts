import type { AttachHub, OutputListener } from "../sandbox/types.ts";

/**
 * A container's streams over its runs. Whoever attaches before the start gets everything from the first byte on; the listener ends with the
 * run it saw, as Docker's attach does. While a run lives, this only passes on to its sandbox's hub.
 */
export class OutputHub implements AttachHub {
  /** Attached before a start. */
  readonly #early = new Map<OutputListener, { live?: Disposable; gone: boolean }>();
  #live: AttachHub | undefined;
  #connected = Promise.withResolvers<AttachHub>();
  #stdinClosed = false;

  constructor() {
    // Nobody may be waiting when a start fails.
    this.#connected.promise.catch(() => {});
  }

  get hasListeners(): boolean {
    return this.#early.size > 0;
  }

  subscribe(listener: OutputListener): Disposable {
    if (this.#live !== undefined) return this.#live.subscribe(listener);
    const entry: { live?: Disposable; gone: boolean } = { gone: false };
    this.#early.set(listener, entry);
    return {
      [Symbol.dispose]: () => {
        entry.gone = true;
        this.#early.delete(listener);
        entry.live?.[Symbol.dispose]();
      },
    };
  }

  /** Waits for the start where there is no run yet: that is the back-pressure. */
  async writeStdin(chunk: Uint8Array): Promise<void> {
    const live = this.#live ?? (await this.#connected.promise);
    await live.writeStdin(chunk);
  }

  /** Before a start there is nothing to hold. */
  hold(): Disposable {
    return this.#live?.hold() ?? { [Symbol.dispose]: () => {} };
  }

  closeStdin(): void {
    if (this.#live !== undefined) this.#live.closeStdin();
    else this.#stdinClosed = true;
  }

  /** Between create and start of a run: everyone who waited is subscribed before the first byte. */
  connect(live: AttachHub): void {
    this.#live = live;
    for (const [listener, entry] of this.#early) {
      if (!entry.gone) entry.live = live.subscribe(listener);
    }
    this.#early.clear();
    this.#connected.resolve(live);
    // After those who wait to write have written.
    if (this.#stdinClosed) queueMicrotask(() => live.closeStdin());
    this.#stdinClosed = false;
  }

  /** The run is over; its hub has ended (or will end) its own listeners. Ready for the next start. */
  disconnect(): void {
    this.#live = undefined;
    this.#connected = Promise.withResolvers<AttachHub>();
    this.#connected.promise.catch(() => {});
  }

  /** No run will come for those who wait: a failed start, a removal. */
  abandon(reason: Error): void {
    const waiting = [...this.#early.keys()];
    this.#early.clear();
    this.#stdinClosed = false;
    this.#connected.reject(reason);
    this.disconnect();
    for (const listener of waiting) listener.end();
  }
}
