import { unlessAborted } from "./unless-aborted.ts";

/** Locks by key, first come first served. Never hold one while waiting for a process, a client or a registry. */
export class KeyedMutex {
  readonly #tails = new Map<string, Promise<void>>();

  /** Waits for the key; dispose what is returned to let the next one in. @throws EngineError cancelled where `signal` fires meanwhile */
  async lock(key: string, signal?: AbortSignal): Promise<Disposable> {
    if (signal === undefined) return await this.#lock(key);
    const lock = this.#lock(key);
    try {
      return await unlessAborted(lock, signal, "cancelled while waiting");
    } catch (error) {
      // The turn that comes is passed on.
      void lock.then((held) => held[Symbol.dispose]());
      throw error;
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
