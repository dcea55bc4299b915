import { isDiskFull } from "../lib/disk-full.ts";
import { messageOf } from "../lib/errors.ts";
import type { ExitStatus, RunningSandbox } from "../sandbox/types.ts";
import { baseOf, changeState, emitPlainNetworkEvent, resultOf, settle, type Context, type Entry, type EventDetail } from "./context.ts";
import { endExecs } from "./exec.ts";
import { stopHealth } from "./health.ts";
import { endOom } from "./oom.ts";
import { releaseVolumes } from "./mounts.ts";
import { awaitRestart, isToStayDown, pauseAfter } from "./restarts.ts";

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
  const restart = pauseAfter(ctx, entry, { exitCode: status.exitCode, unhealthy: entry.unhealthyRun === entry.generation, seconds: duration });
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
    awaitRestart(ctx, entry, restart, base, ...events);
  }
  settle(entry.exitWaiters, resultOf(entry.record));
  if (restart !== undefined || record.host.AutoRemove !== true || entry.restarting === true) return;
  if (isToStayDown(ctx, entry) || entry.removeWaiters.size > 0) void ctx.again.autoRemove(entry);
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
