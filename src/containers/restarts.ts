import { messageOf } from "../lib/errors.ts";
import { longerDelay, nextRestart, type EndedRun } from "./backoff.ts";
import { baseOf, changeState, resultOf, settle, type Context, type Entry, type EventDetail } from "./context.ts";
import { partnersOf } from "./order.ts";
import type { StateBase } from "./types.ts";

/** A user or the engine wants it ended, whatever its policy says. */
export function isToStayDown(ctx: Context, entry: Entry): boolean {
  return entry.record.manuallyStopped || entry.removing !== undefined || ctx.phase !== "open";
}

/** What its policy says after a run, or a start that failed: milliseconds until the next start, or undefined for none. */
export function pauseAfter(ctx: Context, entry: Entry, run: Pick<EndedRun, "exitCode" | "unhealthy" | "seconds">): number | undefined {
  if (isToStayDown(ctx, entry)) return undefined;
  const { host, restartCount } = entry.record;
  return nextRestart(host.RestartPolicy, { ...run, restartCount, lastDelay: entry.restartDelay });
}

/** From now on it waits to be started again, in `delay` ms. `ended`: the state that its last run has left. */
export function awaitRestart(ctx: Context, entry: Entry, delay: number, ended: StateBase, ...events: EventDetail[]): void {
  const state = { ...ended, status: "restarting" as const, generation: entry.generation };
  changeState(ctx, entry, { state, restartCount: entry.record.restartCount + 1 }, ...events);
  scheduleRestart(ctx, entry, delay);
}

/** Starts it again after `delay` ms, unless a user has stopped, started or removed it by then. */
function scheduleRestart(ctx: Context, entry: Entry, delay: number): void {
  entry.restartDelay = delay;
  const timer = setTimeout(() => {
    // one whose partner is down for a moment itself, e.g. by the same cause, would only fail
    const isComing = ({ record: { state } }: Entry): boolean => state.status === "restarting" || state.status === "starting";
    if (isWaiting(ctx, entry) && partnersOf(ctx, entry).some(isComing)) return scheduleRestart(ctx, entry, longerDelay(delay));
    void startByPolicy(ctx, entry);
  }, delay);
  entry.restart = { timer, delay };
}

/** Its turn has come. Where the start fails its state says why, and that it is tried again. */
export async function startByPolicy(ctx: Context, entry: Entry): Promise<void> {
  if (!isWaiting(ctx, entry)) return;
  entry.restart = undefined;
  try {
    await ctx.again.start(entry);
  } catch (error) {
    ctx.log.error("restarting a container by its policy", { container: entry.record.id, error: messageOf(error) });
  }
}

/** False where somebody was faster. */
function isWaiting(ctx: Context, entry: Entry): boolean {
  return ctx.phase === "open" && entry.removing === undefined && entry.restart !== undefined && entry.record.state.status === "restarting";
}

/**
 * Ends the waiting for a restart by policy: the container is simply `exited`. False where it wasn't waiting. `byEngine`: no user's wish; `error`: why the engine
 * gives it up.
 */
export function cancelRestart(ctx: Context, entry: Entry, options: { byEngine?: boolean; error?: string }, ...events: EventDetail[]): boolean {
  if (entry.restart === undefined) return false;
  clearTimeout(entry.restart.timer);
  entry.restart = undefined;
  const manuallyStopped = options.byEngine === true ? entry.record.manuallyStopped : true;
  const base = baseOf(entry.record.state);
  const { error = base.error } = options;
  changeState(ctx, entry, { manuallyStopped, state: { ...base, error, status: "exited", generation: entry.generation } }, ...events);
  settle(entry.exitWaiters, resultOf(entry.record));
  return true;
}
