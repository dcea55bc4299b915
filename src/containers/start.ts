import { realtimeNano } from "../kernel/clock.ts";
import { cancelled, conflict, EngineError, messageOf, notModified } from "../lib/errors.ts";
import type { RunningSandbox } from "../sandbox/types.ts";
import { baseOf, changeState, emitPlainNetworkEvent, isBeingRemoved, lookup, resultOf, settle, tryLookup, type Context, type Entry } from "./context.ts";
import { onExit } from "./exit.ts";
import { startHealth } from "./health.ts";
import { prepareForwarding, startForwarding } from "./log-forwarding.ts";
import { endLogLine, keepLog } from "./logs.ts";
import { endOom, followOom } from "./oom.ts";
import { openLinks, tellLinkedParents } from "./linked.ts";
import { releaseVolumes, sandboxMounts } from "./mounts.ts";
import { awaitRestart, pauseAfter } from "./restarts.ts";
import { endReaders } from "./rootfs.ts";
import { sandboxSpec } from "./spec.ts";
import { partnerNamed } from "./validate.ts";

/** Exit code of a container that the engine could not start, and that says nothing better; Docker's. */
const exitNotStarted = 128;
const SIGKILL = 9;

/** @throws EngineError notModified (runs already), conflict, and whatever kept it from starting, with `exitCode` 126 or 127 for its program */
export async function start(ctx: Context, reference: string): Promise<void> {
  const entry = lookup(ctx, reference);
  // Someone else's start: what came of it decides.
  while (entry.starting !== undefined) await entry.starting.settled;
  const { status } = entry.record.state;
  if (status === "paused") throw conflict("cannot start a paused container, try unpause instead");
  if (isBeingRemoved(entry) || status === "dead") throw conflict("container is marked for removal and cannot be started");
  if (status !== "created" && status !== "exited") throw notModified(`container ${entry.record.id} is already running`);
  await runAnew(ctx, entry);
}

/** As a user asks for it: from here on restarts by policy are counted, and the waits before them grow. */
export async function runAnew(ctx: Context, entry: Entry): Promise<void> {
  entry.restartDelay = 0;
  await run(ctx, entry, { restartCount: 0, manuallyStopped: false });
}

/** Brings a container up from any state at rest; `change` goes into the record with the state. On failure the container is at rest again. */
export async function run(ctx: Context, entry: Entry, change: { restartCount?: number; manuallyStopped?: boolean } = {}): Promise<void> {
  // also for whoever had to wait before he could start it
  if (isBeingRemoved(entry)) throw conflict("container is marked for removal and cannot be started");
  const before = entry.record.state;
  const byPolicy = before.status === "restarting";
  const generation = ++entry.generation;
  const abort = new AbortController();
  const { promise: settled, resolve } = Promise.withResolvers<void>();
  entry.starting = { abort, settled };
  try {
    changeState(ctx, entry, {
      ...change,
      state: { ...baseOf(before), status: "starting", generation, ...(byPolicy && { restarting: true }), error: "", oomKilled: false },
    });
    const sandbox = await startSandbox(ctx, entry, abort.signal);
    try {
      setRunning(ctx, entry, sandbox, generation);
    } catch (error) {
      await takeBack(entry, sandbox);
      throw error;
    }
  } catch (error) {
    await startFailed(ctx, entry, error, { byPolicy, signal: abort.signal });
    throw error;
  } finally {
    entry.starting = undefined;
    resolve();
  }
}

/** Volumes, sandbox, output, start byte. Nothing is left when it throws. */
async function startSandbox(ctx: Context, entry: Entry, signal: AbortSignal): Promise<RunningSandbox> {
  await entry.cleaning;
  await endReaders(entry);
  await prepareForwarding(ctx, entry, signal);
  if (entry.record.state.startedAt !== "0") endLogLine(ctx, entry.record);
  // Directories within volumes, held until the container has them.
  using held = new DisposableStack();
  const spec = sandboxSpec(ctx, entry.record, await sandboxMounts(ctx, entry.record, held, signal));
  const created = await ctx.sandboxes.create(spec, { attach: entry.output.hasListeners || spec.config.OpenStdin === true, signal });
  try {
    if (signal.aborted) throw cancelled(`the start of container ${entry.record.id} was cancelled`);
    openLinks(ctx, entry.record);
    entry.output.connect(created.io);
    return await created.start();
  } catch (error) {
    await created[Symbol.asyncDispose]();
    throw error;
  }
}

/** What can't be written down must not run. */
async function takeBack(entry: Entry, sandbox: RunningSandbox): Promise<void> {
  entry.logKeeping?.[Symbol.dispose]();
  entry.logKeeping = undefined;
  entry.sandbox = undefined;
  endOom(entry);
  entry.output.disconnect();
  try {
    sandbox.signal(SIGKILL);
  } catch (error) {
    if (!(error instanceof EngineError && error.kind === "conflict")) throw error; // it is gone already
  }
  await sandbox.exited;
  await sandbox.cleanup();
}

/** A sandbox just started, or adopted from the engine before. */
export function setRunning(
  ctx: Context,
  entry: Entry,
  sandbox: RunningSandbox,
  generation: number,
  options: { adopted?: boolean; paused?: boolean } = {},
): void {
  entry.sandbox = sandbox;
  const lender = partnerNamed(entry.record.host.NetworkMode);
  const lending = lender === undefined ? undefined : tryLookup(ctx, lender);
  if (lending !== undefined) lending.lendsNetwork = true;
  entry.logKeeping = keepLog(ctx, entry.record);
  startForwarding(ctx, entry, sandbox.exited);
  if (options.adopted !== true) emitPlainNetworkEvent(ctx, entry.record, "connect");
  changeState(
    ctx,
    entry,
    {
      state: {
        ...baseOf(entry.record.state),
        status: options.paused === true ? "paused" : "running",
        generation,
        pid: sandbox.pid,
        // An adopted one whose start the engine before didn't live to write down.
        startedAt: String(sandbox.startedAt === 0n ? realtimeNano() : sandbox.startedAt),
        exitCode: 0,
        error: "",
        oomKilled: options.adopted === true && entry.record.state.oomKilled,
      },
    },
    ...(options.adopted === true ? [] : [{ action: "start" }]),
  );
  followOom(ctx, entry);
  startHealth(ctx, entry, { adopted: options.adopted === true, paused: options.paused === true });
  if (options.adopted === true) openLinks(ctx, entry.record);
  else tellLinkedParents(ctx, entry.record);
  void sandbox.exited.then((status) => onExit(ctx, entry, sandbox, generation, status));
}

/**
 * Docker's state after a failed start: at rest as before, with an exit code and the error's text. One that a policy asked for is tried again, as after a run that
 * ended so: what hinders it, a file system that isn't mounted yet, a port that somebody still has, may be over soon. Docker's engine gives it up.
 */
async function startFailed(ctx: Context, entry: Entry, error: unknown, { byPolicy, signal }: { byPolicy: boolean; signal: AbortSignal }): Promise<void> {
  const { state } = entry.record;
  const exitCode = (error instanceof EngineError ? error.exitCode : undefined) ?? exitNotStarted;
  entry.output.abandon(new EngineError("conflict", messageOf(error), { cause: error }));
  await releaseVolumes(ctx, entry);
  const base = { ...baseOf(state), exitCode, error: messageOf(error) };
  const unhealthy = entry.unhealthyRun === entry.generation - 1;
  if (unhealthy) entry.unhealthyRun = entry.generation;
  const pause = byPolicy && !signal.aborted ? pauseAfter(ctx, entry, { exitCode, unhealthy, seconds: 0 }) : undefined;
  if (pause !== undefined) return awaitRestart(ctx, entry, pause, base);
  changeState(ctx, entry, { state: state.startedAt === "0" ? { ...base, status: "created" } : { ...base, status: "exited", generation: entry.generation } });
  if (byPolicy) settle(entry.exitWaiters, resultOf(entry.record));
  if (entry.record.host.AutoRemove === true) await ctx.again.autoRemove(entry);
}
