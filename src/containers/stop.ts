import { conflict, notModified, prefixed } from "../lib/errors.ts";
import { within } from "../lib/within.ts";
import { changeState, emitEvent, lookup, type Context, type Entry } from "./context.ts";
import { exitOf, killAndWait, send, signalOf, stopSignalOf } from "./kill.ts";
import { cancelRestart } from "./restarts.ts";
import { runAnew } from "./start.ts";

const defaultTimeoutSeconds = 10;

export interface StopOptions {
  signal?: string;
  /** Negative: wait without end. */
  timeoutSeconds?: number;
}

/** @throws EngineError notModified where it is at rest */
export async function stop(ctx: Context, reference: string, options: StopOptions = {}): Promise<void> {
  const entry = lookup(ctx, reference);
  try {
    signalOf(options.signal, stopSignalOf(entry));
  } catch (error) {
    throw prefixed(`cannot stop container: ${reference}: `, error);
  }
  await startSettled(entry, options.timeoutSeconds);
  if (entry.sandbox === undefined && entry.restart === undefined) throw notModified(`container ${entry.record.id} is already stopped`);
  await stopEntry(ctx, entry, options);
}

/** Waits for a start under way; one that takes longer than a stop may (a runtime that hangs) is given up. */
export async function startSettled({ starting }: Entry, timeoutSeconds = defaultTimeoutSeconds): Promise<void> {
  if (starting === undefined) return;
  const seconds = Math.max(timeoutSeconds, defaultTimeoutSeconds);
  if (!(await within(starting.settled, seconds * 1000))) starting.abort.abort();
  await starting.settled;
}

/** Signal, patience, SIGKILL; then the exit is recorded. `byEngine`: no user's wish, so that `unless-stopped` brings it back. */
export async function stopEntry(ctx: Context, entry: Entry, options: StopOptions & { byEngine?: boolean } = {}): Promise<void> {
  if (cancelRestart(ctx, entry, options, { action: "stop" })) return;
  if (entry.sandbox === undefined) return;
  if (options.byEngine !== true) changeState(ctx, entry, { manuallyStopped: true });
  const seconds = options.timeoutSeconds ?? entry.record.config.StopTimeout ?? ctx.options.stopTimeout ?? defaultTimeoutSeconds;
  const ended = exitOf(entry);
  await send(ctx, entry, signalOf(options.signal, stopSignalOf(entry)), true);
  if (seconds < 0) await ended;
  else if (!(await within(ended, seconds * 1000))) await killAndWait(ctx, entry, options);
  emitEvent(ctx, entry.record, { action: "stop" });
}

/** Stops it where it runs, starts it in any case. */
export async function restart(ctx: Context, reference: string, options: StopOptions = {}): Promise<void> {
  const entry = lookup(ctx, reference);
  try {
    await restartEntry(ctx, entry, options);
  } catch (error) {
    throw prefixed(`Cannot restart container ${reference}: `, error);
  }
}

async function restartEntry(ctx: Context, entry: Entry, options: StopOptions): Promise<void> {
  signalOf(options.signal, stopSignalOf(entry));
  await startSettled(entry, options.timeoutSeconds);
  // Kept from removing itself by `--rm` between stop and start.
  entry.restarting = true;
  try {
    await stopEntry(ctx, entry, options);
  } finally {
    entry.restarting = false;
  }
  if (entry.removing !== undefined) throw conflict(`container ${entry.record.id} was removed meanwhile`);
  while (entry.starting !== undefined) await entry.starting.settled;
  if (entry.sandbox === undefined) await runAnew(ctx, entry);
  emitEvent(ctx, entry.record, { action: "restart" });
}
