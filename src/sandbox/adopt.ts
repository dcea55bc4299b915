import { existsSync } from "node:fs";
import { closeFd } from "../kernel/fs.ts";
import { openProcess, sendSignal, signalProcess } from "../kernel/pidfd.ts";
import { argumentsOf } from "../kernel/process.ts";
import { within } from "../lib/within.ts";
import { createMonitorHub } from "../runtime/attach.ts";
import { cgroupPathOf } from "../runtime/spec.ts";
import type { SandboxContext } from "./context.ts";
import { removeExecFiles } from "./exec.ts";
import { cleanUp, readExit, runSandbox, type RunningParts } from "./running.ts";
import { readState, removeState, type SandboxState } from "./state.ts";
import type { ExitStatus, RunningSandbox, SandboxSpec } from "./types.ts";

const SIGKILL = 9;

type Adopted = { running: RunningSandbox } | { exited: ExitStatus } | { neverStarted: true };

/** See Sandboxes.adopt. What isn't running is cleaned up here: nobody else knows of it. */
export async function adoptSandbox(ctx: SandboxContext, spec: SandboxSpec, startedAt: bigint): Promise<Adopted> {
  const runtime = ctx.runtime.get(spec.host.Runtime);
  const cgroupPath = cgroupPathOf(spec.id, spec.host, ctx.runtime.cgroupParent);
  const state = readState(ctx.paths.bundle(spec.id));
  const pidfd = state === undefined ? undefined : openProcess(state.pid, state.startTime);

  if (state !== undefined && pidfd !== undefined && !runtime.isWaiting(spec.id, state.pid)) {
    removeExecFiles(ctx.paths.bundle(spec.id));
    const hub = createMonitorHub({ bundle: ctx.paths.bundle(spec.id), openStdin: spec.config.OpenStdin === true });
    const monitor = watchMonitor(ctx, spec.id, state);
    const endpoints = ctx.networks.endpointsOfContainer(spec.id);
    return { running: runSandbox(ctx, { spec, runtime, cgroupPath, pid: state.pid, pidfd, monitor, hub, endpoints, startedAt }) };
  }
  if (pidfd !== undefined && state !== undefined) {
    // first: an engine killed right here must not leave the next one an exit code of a container that never ran
    removeState(ctx.paths.bundle(spec.id));
    signalProcess(state.pid, SIGKILL);
    closeFd(pidfd);
  }
  if (state !== undefined && pidfd === undefined) await monitorEnd(ctx, spec.id, state);
  const told = readExit(`${ctx.paths.exits}/${spec.id}`) ?? readExit(`${spec.directory}/exit`);
  const oomKilled = existsSync(`${spec.directory}/oom`) || existsSync(`${ctx.paths.bundle(spec.id)}/oom`);
  await cleanUp(ctx, spec.id, runtime, cgroupPath);
  // without its state it had never been about to start; an exit code is that of an earlier run, or of the killing above
  if (pidfd !== undefined || (state === undefined && startedAt === 0n)) return { neverStarted: true };
  if (told !== undefined) return { exited: { ...told, oomKilled } };
  const error = "the exit code is unknown: the container ended while neither its monitor nor the engine ran";
  return { exited: { exitCode: 255, oomKilled, finishedAt: BigInt(Date.now()) * 1_000_000n, error } };
}

/** conmon's end; at once where it is gone already. */
function watchMonitor(ctx: SandboxContext, id: string, state: SandboxState): RunningParts["monitor"] {
  const fd = openProcess(state.monitorPid, state.monitorStartTime);
  if (fd === undefined || !argumentsOf(state.monitorPid).includes(id)) {
    if (fd !== undefined) closeFd(fd);
    return { exited: Promise.resolve(), kill: () => {} };
  }
  let hasEnded = false;
  const exited = ctx.readiness.wait(fd).then(() => {
    hasEnded = true;
    closeFd(fd);
  });
  return { exited, kill: () => void (hasEnded || sendSignal(fd, SIGKILL)) };
}

/** Init is dead but conmon may still be draining and writing the exit code: give it a moment. */
async function monitorEnd(ctx: SandboxContext, id: string, state: SandboxState): Promise<void> {
  await within(watchMonitor(ctx, id, state).exited, 5000);
}
