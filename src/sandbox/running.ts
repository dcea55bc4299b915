import { existsSync, readFileSync, statSync } from "node:fs";
import { renewFiles } from "./files.ts";
import { closeFd } from "../kernel/fs.ts";
import { rm } from "node:fs/promises";
import { realtimeNano, stopwatch } from "../kernel/clock.ts";
import { oomKills, pidsIn, setFrozen } from "../kernel/cgroup.ts";
import { exitCodeOf, isAlive, openPidfd, sendSignal } from "../kernel/pidfd.ts";
import { zombieExitCode } from "../kernel/process.ts";
import { conflict, EngineError, internal, kindOf, messageOf } from "../lib/errors.ts";
import type { Endpoint } from "../networks/types.ts";
import type { MonitorHub } from "../runtime/attach.ts";
import { readStats } from "../runtime/stats.ts";
import type { Runtime } from "../runtime/types.ts";
import type { SandboxContext } from "./context.ts";
import { runCommand } from "./command.ts";
import { dial } from "./dial.ts";
import { programRuns } from "./program-runs.ts";
import { createExec } from "./exec.ts";
import { watchOom } from "./oom.ts";
import { resizeTerminal } from "./terminal.ts";
import type { ExitStatus, RunningSandbox, SandboxSpec } from "./types.ts";

export interface RunningParts {
  spec: SandboxSpec;
  runtime: Runtime;
  cgroupPath: string;
  /** Init's, as the host sees it. */
  pid: number;
  /** Init's; owned by the running sandbox from here on. */
  pidfd: number;
  monitor: {
    /** conmon's end. Never rejects. */
    exited: Promise<unknown>;
    /** SIGKILL; nothing where it has ended. */
    kill(): void;
  };
  hub: MonitorHub;
  endpoints: readonly Endpoint[];
  startedAt: bigint;
}

/** One started container. */
export function runSandbox(ctx: SandboxContext, parts: RunningParts): RunningSandbox {
  const { spec, pid, pidfd, hub, cgroupPath } = parts;
  const { cgroups } = ctx.runtime;
  const bundle = ctx.paths.bundle(spec.id);
  const rootfs = `${bundle}/rootfs`;
  let isClosed = false;
  let cleaning: Promise<void> | undefined;
  let programs: Promise<void> | undefined;
  let joinable: Promise<void> | undefined;

  // one that was adopted before its start was written down counts from now
  const age = stopwatch(parts.startedAt === 0n ? realtimeNano() : parts.startedAt);
  const exited = watchExit(ctx, parts).then(async (status) => {
    const ranFor = age();
    await hub.finish();
    return { ...status, ranFor };
  });

  // a conmon that nobody reads can't tell that init has ended: then the kernel does
  hub.onHold(() => void liftAtEnd(ctx, parts));

  /** While init runs the runtime yet, its memory belongs to the host's user namespace: who has joined its own one may not look at it, nor join the rest (EPERM). */
  const isJoinable = (): Promise<void> => (joinable ??= programRuns(pid, { smallInit: false, exited }));

  const sandbox: RunningSandbox = {
    id: spec.id,
    pid,
    startedAt: parts.startedAt,
    age,
    endpoints: parts.endpoints,
    exited,
    io: hub,
    rootfs,
    programRuns: () => (programs ??= programRuns(pid, { smallInit: spec.host.Init === true && !spec.host.PidMode, exited })),
    signal: (signal) => {
      if (isClosed || !sendSignal(pidfd, signal)) throw conflict(`container ${spec.id} is not running`);
    },
    endIdleMonitor: () => {
      if (isClosed || zombieExitCode(pid) === undefined) return;
      ctx.log.warn("a container has ended and its monitor doesn't say so: it hangs, and is killed", { container: spec.id });
      parts.monitor.kill();
    },
    resize: async (rows, cols) => {
      if (isClosed || !isAlive(pidfd)) throw conflict(`container ${spec.id} is not running`);
      resizeTerminal(bundle, rows, cols);
    },
    pause: () => freeze(true),
    resume: () => freeze(false),
    exec: (execSpec) => inside(() => createExec(ctx, parts, rootfs, execSpec)),
    command: (command, options) => inside(() => runCommand(ctx, parts, rootfs, command, options)),
    dial: (address, port, signal) => dial(ctx, pid, address, port, signal),
    update: (limits, note) => parts.runtime.update(spec.id, ctx.runtime.buildLimits(limits), cgroupPath, note),
    networksChanged: (before) => {
      try {
        renewFiles(spec, { before, after: ctx.networks.endpointsOfContainer(spec.id) }, ctx.networks);
      } catch (error) {
        ctx.log.warn("a container's hosts and resolv.conf could not follow its networks", { container: spec.id, error: messageOf(error) });
      }
    },
    onOom: (told, options) => watchOom(ctx, cgroupPath, told, options),
    stats: async () => {
      await ctx.samples();
      return isClosed ? undefined : readStats(cgroups, cgroupPath, pid);
    },
    pids: async () => pidsIn(cgroups, cgroupPath),
    cleanup: () =>
      (cleaning ??= exited.then(async () => {
        await ctx.turns();
        isClosed = true;
        closeFd(pidfd);
        ctx.running.delete(spec.id);
        await cleanUp(ctx, spec.id, parts.runtime, cgroupPath);
      })),
  };
  const inside = async <T>(work: () => Promise<T>): Promise<T> => {
    await isJoinable();
    try {
      return await work();
    } catch (error) {
      // its end takes away the files that are needed for a start
      if (cleaning !== undefined && kindOf(error) === "internal") throw conflict(`container ${spec.id} is not running`, error);
      throw error;
    }
  };
  const freeze = async (frozen: boolean): Promise<void> => {
    try {
      await setFrozen(cgroups, cgroupPath, frozen);
    } catch (error) {
      // its end has taken the cgroup away
      if (["ENOENT", "ENODEV"].includes((error as { code?: string }).code ?? "")) throw conflict(`container ${spec.id} is not running`, error);
      throw internal(`cannot ${frozen ? "pause" : "unpause"} container ${spec.id}: ${(error as Error).message}`, error);
    }
  };
  ctx.running.set(spec.id, sandbox);
  return sandbox;
}

/** On a pidfd of its own: the sandbox may close the other one first. */
async function liftAtEnd(ctx: SandboxContext, { pid, hub }: RunningParts): Promise<void> {
  const pidfd = openPidfd(pid);
  if (pidfd === undefined) return hub.lift();
  try {
    await ctx.readiness.wait(pidfd);
  } finally {
    closeFd(pidfd);
    hub.lift();
  }
}

/**
 * Removes all that a container has outside its own directory, in any state of its life, also after a crash of the engine. Safe to repeat.
 * @throws EngineError where something could not go
 */
export async function cleanUp(ctx: SandboxContext, id: string, runtime: Runtime, cgroupPath: string): Promise<void> {
  const bundle = ctx.paths.bundle(id);
  const failures: unknown[] = [];
  const attempt = async (step: () => unknown): Promise<void> => {
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  };
  await attempt(() => runtime.delete(id, cgroupPath));
  await attempt(() => ctx.networks.release(id));
  // side by side: one way to the Worker and back for all
  await Promise.all([
    attempt(() => ctx.networks.removeNamespace(id)),
    attempt(() => (existsSync(`${bundle}/shm`) ? ctx.snapshots.unmount(`${bundle}/shm`, { lazy: true }) : undefined)),
    attempt(() => unmountRoot(ctx, id, `${bundle}/rootfs`)),
  ]);
  // never into a root that is still mounted
  if (failures.length === 0) await attempt(() => rm(bundle, { recursive: true, force: true }));
  await attempt(() => rm(`${ctx.paths.exits}/${id}`, { force: true }));
  if (failures.length > 0) throw internal(`cleaning up after container ${id}: ${failures.map(String).join("; ")}`, failures[0]);
}

/** One that is in use (somebody's shell stands in it) is only taken out of sight: it goes with the last who has it open. */
async function unmountRoot(ctx: SandboxContext, id: string, rootfs: string): Promise<void> {
  try {
    await ctx.snapshots.unmount(rootfs);
  } catch (error) {
    if (!(error instanceof EngineError && error.kind === "conflict")) throw error;
    ctx.log.warn("the root of a container that has ended is in use: detaching it", { container: id });
    await ctx.snapshots.unmount(rootfs, { lazy: true });
  }
}

/** Init's end, by way of conmon; where conmon was killed, from the kernel. Never rejects. */
async function watchExit(ctx: SandboxContext, parts: RunningParts): Promise<ExitStatus> {
  const { spec, pidfd, cgroupPath } = parts;
  await parts.monitor.exited;
  // all containers of a host may end at once
  await ctx.ends();
  const oomKilled = (): boolean =>
    oomKills(ctx.runtime.cgroups, cgroupPath) > 0 || existsSync(`${ctx.paths.bundle(spec.id)}/oom`) || existsSync(`${spec.directory}/oom`);
  const told = readExit(`${ctx.paths.exits}/${spec.id}`) ?? readExit(`${spec.directory}/exit`);
  if (told !== undefined) return { ...told, finishedAt: endAfter(parts.startedAt, told.finishedAt), oomKilled: oomKilled() };
  if (isAlive(pidfd)) {
    ctx.log.warn("the monitor of a container is gone; the container goes on without a log", { container: spec.id });
    await ctx.readiness.wait(pidfd);
  }
  return { ...(await askKernel(parts.pid, pidfd)), oomKilled: oomKilled() };
}

/**
 * The end by the time of conmon's file. File times are those of the last tick, up to 10 ms behind the clock that told the start: no end is before its start.
 * One that is further back tells that the host's clock was set meanwhile, and is right.
 */
export function endAfter(startedAt: bigint, fileTime: bigint): bigint {
  const before = startedAt - fileTime;
  return before >= 0n && before < 1_000_000_000n ? startedAt + 1n : fileTime;
}

/** What conmon wrote when init ended: the code, and by its time the moment. */
export function readExit(path: string): { exitCode: number; finishedAt: bigint } | undefined {
  try {
    const code = Number.parseInt(readFileSync(path, "latin1"), 10);
    if (!Number.isInteger(code)) return undefined;
    return { exitCode: code & 0xff, finishedAt: statSync(path, { bigint: true }).mtimeNs };
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
}

/** A zombie shows its status to root; once it has been reaped, kernels from 6.15 on tell whoever holds a pidfd. */
async function askKernel(pid: number, pidfd: number): Promise<Omit<ExitStatus, "oomKilled">> {
  const finishedAt = BigInt(Date.now()) * 1_000_000n;
  for (let attempt = 0; attempt < 20; attempt++) {
    const ofZombie = zombieExitCode(pid);
    // while the pidfd finds its process, the pid is nobody else's
    const exitCode = ofZombie !== undefined && isAlive(pidfd) ? ofZombie : exitCodeOf(pidfd);
    if (exitCode !== undefined) return { exitCode, finishedAt };
    await Bun.sleep(5);
  }
  return { exitCode: 255, finishedAt, error: "the exit code is unknown: the container's monitor was killed, and this kernel doesn't tell" };
}
