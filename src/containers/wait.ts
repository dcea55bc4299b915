import { cancelled } from "../lib/errors.ts";
import { isRunning, lookup, resultOf, type Context } from "./context.ts";
import { rememberedEnd } from "./remove.ts";
import type { WaitCondition, WaitResult } from "./types.ts";

/**
 * Registers before it returns. `not-running` is met at once by a container at rest; `next-exit` by the next end of a run, also one that a
 * policy restarts; `removed` once nothing of it is left. A removal settles them all; one by `--rm` is known a while longer.
 */
export function wait(ctx: Context, reference: string, condition: WaitCondition, signal?: AbortSignal): { result: Promise<WaitResult> } {
  const past = ctx.entries.has(reference) || condition === "next-exit" ? undefined : rememberedEnd(ctx, reference);
  if (past !== undefined) return { result: Promise.resolve(past) };
  const entry = lookup(ctx, reference);
  if (condition === "not-running" && !isRunning(entry.record.state)) return { result: Promise.resolve(resultOf(entry.record)) };
  // one that doesn't come to a run is at rest
  if (condition === "not-running" && entry.starting !== undefined)
    return { result: entry.starting.settled.then(() => wait(ctx, entry.record.id, condition, signal).result) };
  const waiters = condition === "removed" ? entry.removeWaiters : entry.exitWaiters;
  const { promise, resolve, reject } = Promise.withResolvers<WaitResult>();
  waiters.add(resolve);
  const onAbort = (): void => {
    waiters.delete(resolve);
    reject(cancelled(`waiting for container ${entry.record.id} was cancelled`));
  };
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  return { result: promise.finally(() => signal?.removeEventListener("abort", onAbort)) };
}
