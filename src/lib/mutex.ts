import { cancelled } from "./errors.ts";

/** Locks by key, first come first served. Never hold one while waiting for a process, a client or a registry. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits for the key; dispose what is returned to let the next one in. @throws EngineError cancelled where `signal` fires meanwhile */
  async lock(key: string, signal?: AbortSignal): Promise<Disposable> {
    if (signal === undefined) return await this.#lock(key);
    const { promise: gone, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(cancelled("cancelled while waiting", signal.reason));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    const lock = this.#lock(key);
    try {
      return await Promise.race([gone, lock]);
    } catch (error) {
      // The turn that comes is passed on.
      void lock.then((held) => held[Symbol.dispose]());
      throw error;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async #lock(key: string): Promise<Disposable> {
    const before = this.#tails.get(key);
    const { promise, resolve } = Promise.withResolvers<void>();
    const tail = before === undefined ? promise : before.then(() => promise);
    this.#tails.set(key, tail);
    if (before !== undefined) await before;
    return {
      [Symbol.dispose]: () => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
        resolve();
      },
    };
  }

  /** Runs `work` under the key. */
  async run<T>(key: string, work: () => Promise<T> | T): Promise<T> {
    using _lock = await this.lock(key);
    return await work();
  }
}
