import { readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { basename } from "node:path";
import { killCgroup, removeCgroup } from "../kernel/cgroup.ts";
import { unmount } from "../kernel/mount.ts";
import { mountPointsIn } from "../kernel/mountinfo.ts";
import { signalProcess } from "../kernel/pidfd.ts";
import { argumentsOf, childrenOf, processesOfSession, sharesPath } from "../kernel/process.ts";
import { messageOf } from "../lib/errors.ts";
import { commandKind, killCommand } from "./command.ts";
import type { SandboxContext } from "./context.ts";

const SIGKILL = 9;
const idPattern = /^[0-9a-f]{64}$/;

/**
 * At start: whatever belongs to no running container goes. Each kind is looked for where the kernel or the file system has it,
 * since a crash may have left any part alone. Problems are logged: they must not keep the engine from starting.
 */
export async function sweep(ctx: SandboxContext, known: ReadonlySet<string>): Promise<void> {
  const { paths, log } = ctx;
  const attempt = async (what: string, step: () => unknown): Promise<void> => {
    try {
      await step();
    } catch (error) {
      log.warn("cannot remove what a former engine left", { what, error: messageOf(error) });
    }
  };
  const isStale = (id: string): boolean => idPattern.test(id) && !known.has(id);

  const all = ownProcesses(ctx);
  const processes = all.filter(({ id }) => isStale(id));
  if (processes.length > 0)
    await attempt("monitors", () =>
      endAll(() => [
        ...ownProcesses(ctx)
          .filter(({ id }) => isStale(id))
          .map(({ pid }) => pid),
        // a runtime that is a script isn't known by its name: it is in the session that its monitor led
        ...processes.flatMap(({ pid }) => processesOfSession(pid)),
      ]),
    );
  for (const each of all.filter(({ id, isCommand }) => isCommand && !isStale(id))) await attempt("health check", () => endCommand(each.pid));
  const stale = new Set([...namesIn(paths.bundles), ...namesIn(paths.exits), ...cgroupsOf(ctx), ...processes.map(({ id }) => id)].filter(isStale));
  for (const name of ctx.runtime.available.keys()) {
    const runtime = ctx.runtime.get(name);
    for (const id of runtime.list().filter(isStale)) await attempt(`runtime state of ${id}`, () => runtime.delete(id, `${ctx.runtime.cgroupParent}/${id}`));
  }
  for (const id of stale) {
    const cgroup = `${ctx.runtime.cgroupParent}/${id}`;
    await attempt(`cgroup ${cgroup}`, () => endCgroup(ctx, cgroup));
    await attempt(`network of ${id}`, () => ctx.networks.removeNamespace(id));
  }
  // mounts before directories; the table is the kernel's own
  for (const target of (await mountPointsIn(paths.bundles)).toReversed()) {
    const id = target.slice(paths.bundles.length + 1).split("/")[0] ?? "";
    if (isStale(id)) await attempt(`mount ${target}`, () => unmount(target, { lazy: true }));
  }
  for (const id of stale) {
    await attempt(`bundle ${id}`, () => rm(paths.bundle(id), { recursive: true, force: true }));
    await attempt(`exit file ${id}`, () => rm(`${paths.exits}/${id}`, { force: true }));
  }
}

/** Ends what a monitor that was killed leaves of a create: the runtime, in the session that the monitor (by its pid) led, then what is in the cgroup. */
export async function endCreate(ctx: SandboxContext, monitor: number, cgroup: string): Promise<void> {
  await endAll(() => processesOfSession(monitor));
  await endCgroup(ctx, cgroup);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return [];
    throw error;
  }
}

function cgroupsOf(ctx: SandboxContext): string[] {
  return ctx.runtime.cgroups.roots.flatMap((root) => namesIn(`${root}${ctx.runtime.cgroupParent}`));
}

/**
 * Monitors, and runtimes that they or the engine before have started: a create that outlives its monitor would go on making cgroups after they are
 * swept. All name the bundle among their arguments. So do those of another engine on a run root of the same name, in a container or a mount namespace of its
 * own: they mean another directory by it.
 */
function ownProcesses(ctx: SandboxContext): { pid: number; id: string; isCommand: boolean }[] {
  const prefix = `${ctx.paths.bundles}/`;
  const programs = new Set(
    [ctx.monitorProgram, ...[...ctx.runtime.available.keys()].map((name) => ctx.runtime.get(name).program)].map((path) => basename(path)),
  );
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    const args = argumentsOf(Number(name));
    if (!programs.has(basename(args[0] ?? ""))) return [];
    const [id = "", file = ""] =
      args
        .find((each) => each.startsWith(prefix))
        ?.slice(prefix.length)
        .split("/") ?? [];
    return id === "" || !sharesPath(Number(name), ctx.paths.bundles) ? [] : [{ pid: Number(name), id, isCommand: file.startsWith(`${commandKind}-`) }];
  });
}

/** A command in a container that runs on: nobody waits for it any more, and one that hangs would stay for ever. */
function endCommand(runtimePid: number): void {
  for (const pid of childrenOf(runtimePid)) killCommand(pid, runtimePid);
  signalProcess(runtimePid, SIGKILL);
}

/** Kills processes until none is found: one may fork while it is looked for. */
async function endAll(find: () => number[]): Promise<void> {
  for (let round = 0; round < 200; round++) {
    const pids = find();
    if (pids.length === 0) return;
    for (const pid of pids) signalProcess(pid, SIGKILL);
    await Bun.sleep(5);
  }
}

/** Processes that were killed just now leave their group a moment later. @throws Error where some stay */
async function endCgroup({ runtime }: SandboxContext, cgroup: string): Promise<void> {
  for (let round = 0; round < 200; round++) {
    killCgroup(runtime.cgroups, cgroup);
    if (await removeCgroup(runtime.cgroups, cgroup)) return;
    await Bun.sleep(5);
  }
  throw new Error("processes are left in it");
}
