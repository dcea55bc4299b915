import { cancelled } from "./errors.ts";

/** Lets at most `limit` pieces of work run at once, the others in order of asking. */
export interface Limiter {
  /** Waits for a place; dispose what is returned to free it. `onWait` is called where there is none at once. */
  enter(options?: { signal?: AbortSignal; onWait?: () => void }): Promise<Disposable>;
}

/** `limit` is asked each time, so that a changed one takes effect without cutting anybody off. */
export function createLimiter(limit: () => number): Limiter {
  let running = 0;
  const waiting: (() => void)[] = [];
  const admit = (): void => {
    while (running < limit() && waiting.length > 0) {
      running++;
      waiting.shift()!();
    }
  };
  const place = (): Disposable => {
    let freed = false;
    return {
      [Symbol.dispose]: () => {
        if (freed) return;
        freed = true;
        running--;
        admit();
      },
    };
  };
  return {
    enter: async ({ signal, onWait } = {}) => {
      if (signal?.aborted) throw cancelled("cancelled", signal.reason);
      if (running < limit()) {
        running++;
        return place();
      }
      onWait?.();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const onAbort = (): void => {
        const index = waiting.indexOf(resolve);
        // Not in the queue any more: the place is ours, and whoever awaits frees it.
        if (index < 0) return;
        waiting.splice(index, 1);
        reject(cancelled("cancelled while waiting", signal?.reason));
      };
      waiting.push(resolve);
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        await promise;
      } finally {
        signal?.removeEventListener("abort", onAbort);
      }
      return place();
    },
  };
}
