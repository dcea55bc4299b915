import { isDiskFull } from "../lib/disk-full.ts";
import { messageOf } from "../lib/errors.ts";
import type { ExitStatus, RunningSandbox } from "../sandbox/types.ts";
import { longerDelay, nextRestart, type EndedRun } from "./backoff.ts";
import { baseOf, changeState, emitPlainNetworkEvent, resultOf, settle, type Context, type Entry, type EventDetail } from "./context.ts";
import { endExecs } from "./exec.ts";
import { stopHealth } from "./health.ts";
import { endOom } from "./oom.ts";
import { partnersOf } from "./order.ts";
import { releaseVolumes } from "./mounts.ts";

const retryMs = 1000;
/** How long a `--rm` container stays that ended by itself while nobody waited for its removal. */
const lingerMs = 500;

/**
 * A run has ended and its output is complete. Record and `die` commit together; then whoever waits is told, and the cleaning goes on behind
 * them: only a removal or the next start waits for it.
 */
export function onExit(ctx: Context, entry: Entry, sandbox: RunningSandbox, generation: number, status: ExitStatus): void {
  if (entry.generation !== generation || entry.sandbox !== sandbox) return;
  // The next engine finds the exit file and does the rest.
  if (ctx.phase === "detached") return;
  entry.sandbox = undefined;
  stopHealth(entry);
  endOom(entry);
  entry.logKeeping?.[Symbol.dispose]();
  entry.logKeeping = undefined;
  entry.output.disconnect();
  endExecs(ctx, entry);
  const released = releaseScarce(ctx, entry, sandbox);
  entry.cleaning = clean(ctx, entry, sandbox);
  if (released === undefined) recordWhenPossible(ctx, entry, generation, status);
  else void released.then(() => recordWhenPossible(ctx, entry, generation, status));
}

/** A full disk must not lose an exit: it is written as soon as there is room. Until then the container counts as running. */
function recordWhenPossible(ctx: Context, entry: Entry, generation: number, status: ExitStatus, isRetry = false): void {
  if (entry.generation !== generation || ctx.phase === "detached") return;
  try {
    recordExit(ctx, entry, status);
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    if (!isRetry) ctx.log.error("a container has ended, and the disk is too full to write it down", { container: entry.record.id, error: messageOf(error) });
    setTimeout(recordWhenPossible, retryMs, ctx, entry, generation, status, true).unref();
  }
}

/** Whoever is told of the exit may want the same port or address for the next container: those can't wait for the cleaning. A promise where that takes turns. */
function releaseScarce(ctx: Context, entry: Entry, sandbox: RunningSandbox): Promise<void> | undefined {
  const asked = entry.record.endpoints;
  const isShared = entry.lendsNetwork === true;
  entry.lendsNetwork = false;
  const isScarce = sandbox.endpoints.some(({ ports, networkName }) => ports.length > 0 || asked[networkName]?.IPAMConfig);
  if (!isScarce && !isShared) return undefined;
  // The cleaning tries again.
  const onError = (error: unknown): void => ctx.log.warn("giving back a container's ports", { container: sandbox.id, error: messageOf(error) });
  try {
    return ctx.networks.release(sandbox.id, { isShared })?.catch(onError);
  } catch (error) {
    onError(error);
    return undefined;
  }
}

/** Writes what became of a run, tells the waiters, and does what policy says. Also for exits that happened while no engine ran. */
export function recordExit(ctx: Context, entry: Entry, status: ExitStatus): void {
  const { record } = entry;
  const duration = (status.ranFor ?? Number(status.finishedAt - BigInt(record.state.startedAt))) / 1e9;
  const stopping = record.manuallyStopped || entry.removing !== undefined || ctx.phase !== "open";
  const run: EndedRun = {
    exitCode: status.exitCode,
    unhealthy: entry.unhealthyRun === entry.generation,
    seconds: duration,
    restartCount: record.restartCount,
    lastDelay: entry.restartDelay,
  };
  const restart = stopping ? undefined : nextRestart(record.host.RestartPolicy, run);
  const base = {
    ...baseOf(record.state),
    exitCode: status.exitCode,
    finishedAt: String(status.finishedAt),
    oomKilled: status.oomKilled || record.state.oomKilled,
    error: status.error ?? "",
  };
  const events: EventDetail[] = [];
  if (status.oomKilled && !record.state.oomKilled) events.push({ action: "oom" });
  events.push({ action: "die", attributes: { exitCode: String(status.exitCode), execDuration: String(Math.max(0, Math.floor(duration))) } });
  if (restart === undefined) {
    changeState(ctx, entry, { state: { ...base, status: "exited", generation: entry.generation } }, ...events);
  } else {
    changeState(ctx, entry, { state: { ...base, status: "restarting", generation: entry.generation }, restartCount: record.restartCount + 1 }, ...events);
    scheduleRestart(ctx, entry, restart);
  }
  settle(entry.exitWaiters, resultOf(entry.record));
  if (restart !== undefined || record.host.AutoRemove !== true || entry.restarting === true) return;
  if (stopping || entry.removeWaiters.size > 0) void ctx.again.autoRemove(entry);
  else removeSoon(ctx, entry);
}

/**
 * Clients that start a container and then ask for its output (docker-py's `run(auto_remove=True)`) find it there in dockerd, where its end and removal take a
 * tenth of a second: here it was gone before their second request had come, more often than not.
 */
function removeSoon(ctx: Context, entry: Entry): void {
  const { generation } = entry;
  entry.removesItself = true;
  setTimeout(() => {
    // the next engine removes it; or a user has started it again, and another of these may be under way
    if (ctx.phase !== "open" || entry.generation !== generation || entry.record.state.status !== "exited") return;
    entry.removesItself = false;
    void ctx.again.autoRemove(entry);
  }, lingerMs).unref();
}

async function clean(ctx: Context, entry: Entry, sandbox: RunningSandbox): Promise<void> {
  try {
    await sandbox.cleanup();
    emitPlainNetworkEvent(ctx, entry.record, "disconnect");
  } catch (error) {
    ctx.log.error("cleaning up after a container", { container: entry.record.id, error: messageOf(error) });
  }
  await releaseVolumes(ctx, entry);
}

/** Starts it again after `delay` ms, unless a user has stopped, started or removed it by then. */
function scheduleRestart(ctx: Context, entry: Entry, delay: number): void {
  entry.restartDelay = delay;
  const timer = setTimeout(() => {
    entry.restart = undefined;
    if (ctx.phase !== "open" || entry.removing !== undefined || entry.record.state.status !== "restarting") return;
    // one whose partner is down for a moment itself, e.g. by the same cause, would fail for good
    const isComing = ({ record: { state } }: Entry): boolean => state.status === "restarting" || state.status === "starting";
    if (partnersOf(ctx, entry).some(isComing)) return scheduleRestart(ctx, entry, longerDelay(delay));
    ctx.again.start(entry).catch((error: unknown) => {
      ctx.log.error("restarting a container by its policy", { container: entry.record.id, error: messageOf(error) });
    });
  }, delay);
  entry.restart = { timer, delay };
}

/** Ends the waiting for a restart by policy: the container is simply `exited`. False where it wasn't waiting. `byEngine`: no user's wish. */
export function cancelRestart(ctx: Context, entry: Entry, options: { byEngine?: boolean }, ...events: EventDetail[]): boolean {
  if (entry.restart === undefined) return false;
  clearTimeout(entry.restart.timer);
  entry.restart = undefined;
  const manuallyStopped = options.byEngine === true ? entry.record.manuallyStopped : true;
  changeState(ctx, entry, { manuallyStopped, state: { ...baseOf(entry.record.state), status: "exited", generation: entry.generation } }, ...events);
  settle(entry.exitWaiters, resultOf(entry.record));
  return true;
}
