import { cancelled } from "../lib/errors.ts";
import { isTemporary, RegistryError } from "./errors.ts";

export interface RetryOptions {
  /** Tries in all. */
  tries: number;
  /** Milliseconds before the second try; doubled each time. */
  delay: number;
  signal?: AbortSignal;
  onRetry?: (seconds: number, error: unknown) => void;
}

/** A registry that asks for a longer wait than this is told as an error instead. */
const longestWait = 30_000;

/**
 * Runs `work` again after temporary failures, with growing pauses. `work` may return how far it has come by throwing through
 * `progressed`: a try that made progress doesn't count.
 */
export async function withRetries<T>(options: RetryOptions, work: (progressed: () => void) => Promise<T>): Promise<T> {
  let failures = 0;
  for (;;) {
    let advanced = false;
    try {
      return await work(() => {
        advanced = true;
      });
    } catch (error) {
      failures = advanced ? 1 : failures + 1;
      const asked = error instanceof RegistryError ? (error.retryAfter ?? 0) * 1000 : 0;
      if (!isTemporary(error) || failures >= options.tries || asked > longestWait) throw error;
      const wait = Math.max(asked, options.delay * 2 ** (failures - 1) * (0.75 + Math.random() / 2));
      options.onRetry?.(Math.ceil(wait / 1000), error);
      await pause(wait, options.signal);
    }
  }
}

async function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, milliseconds);
  const onAbort = (): void => reject(cancelled("cancelled while waiting to try again", signal?.reason));
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}
