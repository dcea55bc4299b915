import { conflict, EngineError, internal, invalidArgument, prefixed } from "../lib/errors.ts";
import { parseSignal } from "../lib/signals.ts";
import { within } from "../lib/within.ts";
import { changeState, emitEvent, lookup, type Context, type Entry } from "./context.ts";
import { resumeHealth } from "./health.ts";
import { cancelRestart } from "./restarts.ts";

const SIGINT = 2;
const SIGQUIT = 3;
const SIGKILL = 9;
const SIGTERM = 15;

/** How long an init may take to die of SIGKILL; one in uninterruptible sleep takes longer than anyone waits. In looks at whether its monitor hangs. */
const killLooks = 4;
const lookMs = 3000;

/** Signal, then return; after SIGKILL wait for the end, as Docker does. @throws EngineError conflict, invalidArgument */
export async function kill(ctx: Context, reference: string, text = "KILL"): Promise<void> {
  const { entry, signal } = target(ctx, reference, text);
  if (entry.starting !== undefined) {
    if (signal === SIGKILL) entry.starting.abort.abort();
    await entry.starting.settled;
  }
  const notRunning = (): Error => conflict(`cannot kill container: ${reference}: container ${entry.record.id} is not running`);
  if (cancelRestart(ctx, entry, {})) return;
  if (entry.sandbox === undefined) throw notRunning();
  if (signal === SIGKILL) return await killAndWait(ctx, entry);
  // Any other signal is the program's business: unlike Docker, SIGHUP and the like don't switch its restart policy off.
  const ends = signal === stopSignalOf(entry) || [SIGTERM, SIGINT, SIGQUIT].includes(signal);
  if (ends) changeState(ctx, entry, { manuallyStopped: true });
  await send(ctx, entry, signal, wakes(entry, signal));
}

/** As dockerd: whatever signal, unless the container has a stop signal of its own, and this is another. One frozen for a commit goes on soon enough. */
function wakes(entry: Entry, signal: number): boolean {
  const { config, state } = entry.record;
  return signal === stopSignalOf(entry) || (!config.StopSignal && !(state.status === "paused" && state.forCommit === true));
}

/** Whom to send what. Docker's errors name the verb too. @throws EngineError notFound, invalidArgument */
function target(ctx: Context, reference: string, text: string): { entry: Entry; signal: number } {
  try {
    const entry = lookup(ctx, reference);
    if (/^\d{1,9}$/.test(text) && Number(text) > 64) throw invalidArgument(`the linux daemon does not support signal ${text}`);
    return { entry, signal: text === "" ? SIGKILL : parseSignal(text) };
  } catch (error) {
    throw prefixed(`cannot kill container: ${reference}: `, error);
  }
}

/** The signal that asks this container to end. */
export function stopSignalOf({ record }: Entry): number {
  return record.config.StopSignal ? parseSignal(record.config.StopSignal) : SIGTERM;
}

/** Sends a signal and tells of it; with `wakeUp` a paused container is thawed for it. Gone inits are no error. */
export async function send(ctx: Context, entry: Entry, signal: number, wakeUp: boolean): Promise<void> {
  const { sandbox } = entry;
  if (sandbox === undefined) return;
  // SIGKILL always gets through; a frozen one comes no further
  if (signal !== SIGKILL && entry.record.state.status !== "paused") await sandbox.programRuns();
  try {
    sandbox.signal(signal);
  } catch (error) {
    // Its exit is on the way.
    if (error instanceof EngineError && error.kind === "conflict") return;
    throw error;
  }
  emitEvent(ctx, entry.record, { action: "kill", attributes: { signal: String(signal) } });
  if (!wakeUp || entry.record.state.status !== "paused") return;
  // what is killed runs no more, so that no `unpause` is told, as with dockerd
  if (signal === SIGKILL) await sandbox.resume();
  else await wake(ctx, entry);
}

/** A frozen process takes no signal, not even SIGKILL on cgroup v1. */
async function wake(ctx: Context, entry: Entry): Promise<void> {
  const { state } = entry.record;
  if (entry.sandbox === undefined || state.status !== "paused") return;
  await entry.sandbox.resume();
  if (entry.record.state.status !== "paused") return;
  changeState(ctx, entry, { state: { ...state, status: "running" } }, { action: "unpause" });
  resumeHealth(ctx, entry);
}

/** SIGKILL, and the end recorded. @throws EngineError internal when init doesn't die */
export async function killAndWait(ctx: Context, entry: Entry, options: { byEngine?: boolean } = {}): Promise<void> {
  if (entry.sandbox === undefined) return;
  if (options.byEngine !== true && !entry.record.manuallyStopped) changeState(ctx, entry, { manuallyStopped: true });
  const ended = exitOf(entry);
  await send(ctx, entry, SIGKILL, true);
  for (let look = 0; look < killLooks; look++) {
    if (await within(ended, lookMs)) return;
    // a pause that was under way may have frozen it after the signal
    await wake(ctx, entry);
    entry.sandbox?.endIdleMonitor();
  }
  throw internal(`cannot kill container ${entry.record.id}: tried to kill it, but did not receive an exit event`);
}

/** Resolves when the present run has ended and its end is recorded, or when `signal` says that nobody asks any more. */
export function exitOf(entry: Entry, signal?: AbortSignal): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  entry.exitWaiters.add(resolve);
  const leave = (): void => {
    entry.exitWaiters.delete(resolve);
    resolve(undefined);
  };
  signal?.addEventListener("abort", leave, { once: true });
  return promise.finally(() => signal?.removeEventListener("abort", leave));
}

/** Checks a signal that a client gave, where it isn't sent at once. @throws EngineError invalidArgument */
export function signalOf(text: string | undefined, fallback: number): number {
  if (text === undefined || text === "") return fallback;
  if (text.length > 16) throw invalidArgument(`invalid signal: ${text.slice(0, 16)}…`);
  return parseSignal(text);
}
