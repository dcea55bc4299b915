/** Milliseconds that a timer takes, 24 days; of more, setTimeout fires at once. */
export const longestTimer = 0x7fffffff;

/** Waits `ms`, at most the longest a timer takes, or until `signal` says that nobody waits any more: then it resolves early. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, Math.min(ms, longestTimer));
  const leave = (): void => resolve();
  signal.addEventListener("abort", leave, { once: true });
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", leave);
}
