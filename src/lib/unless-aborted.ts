import { cancelled } from "./errors.ts";

/** `work`, or once `signal` fires an end to the wait for it: it goes on then, and nobody is told what becomes of it. @throws EngineError cancelled with `why` */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined, why: string): Promise<T> {
  if (signal === undefined) return await work;
  const { promise: gone, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(cancelled(why, signal.reason));
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([gone, work]);
  } catch (error) {
    work.catch(() => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
