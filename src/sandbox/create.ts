import { chmodSync, chownSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { realtimeNano } from "../kernel/clock.ts";
import { closeFd } from "../kernel/fs.ts";
import { rm } from "node:fs/promises";
import { mount, MS } from "../kernel/mount.ts";
import { openPidfd, signalProcess } from "../kernel/pidfd.ts";
import { cancelled, EngineError, internal } from "../lib/errors.ts";
import { within } from "../lib/within.ts";
import type { Endpoint } from "../networks/types.ts";
import { rootOnHost } from "../oci/id-map.ts";
import type { MountSpec } from "../oci/runtime-spec.ts";
import { createMonitorHub } from "../runtime/attach.ts";
import { spawnMonitor, type Monitor } from "../runtime/monitor.ts";
import { bindMount, tmpfsMount } from "../runtime/mounts.ts";
import { cgroupPathOf } from "../runtime/spec.ts";
import type { Runtime } from "../runtime/types.ts";
import { withInitLayer } from "../snapshots/init-layer.ts";
import type { SandboxContext } from "./context.ts";
import { ownerOfPipes } from "./exec.ts";
import { writeFiles } from "./files.ts";
import { makeMountPoints, unstickPlaces } from "./mount-points.ts";
import { checkPassable } from "./passable.ts";
import { runSandbox } from "./running.ts";
import { writeState } from "./state.ts";
import { endCreate } from "./sweep.ts";
import type { CreatedSandbox, SandboxSpec } from "./types.ts";

const SHM_SIZE = 64 << 20;
const SIGKILL = 9;
/** How long a monitor may take to end after its init. */
const MONITOR_PATIENCE_MS = 3000;

/** The undo of each step is pushed as soon as the step is done, so that a failure anywhere leaves nothing. */
export async function createSandbox(ctx: SandboxContext, spec: SandboxSpec, options: { attach?: boolean; signal?: AbortSignal }): Promise<CreatedSandbox> {
  const { paths, networks, runtime: runtimes } = ctx;
  const { idMap } = spec;
  const { signal } = options;
  const runtime = runtimes.get(spec.host.Runtime);
  const bundle = paths.bundle(spec.id);
  runtimes.expectProcess();
  await ctx.turns();
  await using undo = new AsyncDisposableStack();
  const checkAborted = (): void => {
    if (signal?.aborted) throw cancelled(`the start of container ${spec.name} was cancelled`, signal.reason);
  };

  makeBundle(ctx, spec);
  let isMounted = false;
  // never into a root that is still mounted: it would empty the container's own layer
  undo.defer(async () => {
    if (!isMounted) await rm(bundle, { recursive: true, force: true });
  });
  const cgroupPath = cgroupPathOf(spec.id, spec.host, runtimes.cgroupParent);
  const monitor = startMonitor(ctx, spec, runtime, bundle);
  let hasProceeded = false;
  undo.defer(async () => {
    if (!hasProceeded) await monitor.abandon();
  });

  await mountRoot(ctx, spec, bundle);
  isMounted = true;
  undo.defer(async () => {
    await ctx.snapshots.unmount(`${bundle}/rootfs`);
    isMounted = false;
  });
  const shm = mountShm(ctx, spec, bundle);
  if (shm?.isOwn) undo.defer(() => ctx.snapshots.unmount(shm.path, { lazy: true }));
  const network = await allocateNetwork(ctx, spec);
  undo.defer(() => network.release());
  await runtimes.prepareHost(spec.host);
  const deviceEdits = await runtimes.resolveDevices(spec.host.DeviceRequests);
  const user = await userMounts(spec, `${bundle}/rootfs`);
  await makeMountPoints(`${bundle}/rootfs`, user, {
    owner: rootOnHost(idMap),
    ...(runtime.makesTmpfsPlaces ? {} : { made: `${spec.directory}/tmpfs-places` }),
  });
  const built = runtimes.buildSpec({
    id: spec.id,
    config: spec.config,
    host: spec.host,
    args: spec.args,
    env: spec.env,
    rootfs: `${bundle}/rootfs`,
    network: network.namespace,
    ...(shm !== undefined && { shm: shm.path }),
    ...(spec.joined !== undefined && { joined: spec.joined }),
    ...(idMap !== undefined && { idMap }),
    own: writeFiles(spec, network.endpoints, networks),
    user,
    ...(deviceEdits !== undefined && { deviceEdits }),
  });
  runtime.prepare(built);
  writeFileSync(`${bundle}/config.json`, JSON.stringify(built), { mode: 0o600 });
  checkAborted();

  hasProceeded = true;
  monitor.proceed();
  undo.defer(() => endMonitor(ctx, runtime, cgroupPath, monitor, spec.id));
  const [pid] = await bothSettled(createdUnless(signal, monitor), network.attach(monitor.created)).catch((error: unknown) => {
    checkAborted();
    throw error;
  });
  const owner = ownerOfPipes(built.process.user, idMap);
  if (owner !== undefined && spec.config.Tty !== true) givePipes(pid, owner);
  if (!runtime.makesTmpfsPlaces) await unstickPlaces(`/proc/${pid}/root`, user);
  runtime.learn(spec.id, built);
  checkAborted();

  const hub = createMonitorHub({ bundle, openStdin: spec.config.OpenStdin === true });
  if (options.attach === true || spec.config.OpenStdin === true) await hub.connect();
  const pidfd = openPidfd(pid);
  if (pidfd === undefined) throw internal(`the init process of container ${spec.name} died before its start`);
  undo.defer(() => closeFd(pidfd));
  writeState(bundle, pid, await monitor.pid);
  checkAborted();

  const stack = undo.move();
  let isStarted = false;
  return {
    pid,
    io: hub,
    endpoints: network.endpoints,
    start: async () => {
      await runtime.start(spec.id);
      isStarted = true;
      return runSandbox(ctx, {
        spec,
        runtime,
        cgroupPath,
        pid,
        pidfd,
        monitor,
        hub,
        endpoints: network.endpoints,
        startedAt: realtimeNano(),
      });
    },
    [Symbol.asyncDispose]: async () => {
      // a running one is ended by its signals and its own cleanup
      if (!isStarted) await stack.disposeAsync();
    },
  };
}

/** A program that opens its own /dev/stdout must own the pipe. crun sees to that itself; runc tries to from within, where the kernel refuses. */
function givePipes(pid: number, owner: { uid: number; gid: number }): void {
  for (const stream of ["0", "1", "2"]) {
    const path = `/proc/${pid}/fd/${stream}`;
    if (statSync(path).isFIFO()) chownSync(path, owner.uid, owner.gid);
  }
}

/** A fresh bundle directory; exit codes and OOM marks of the last run go. */
function makeBundle(ctx: SandboxContext, spec: SandboxSpec): void {
  const bundle = ctx.paths.bundle(spec.id);
  if (spec.idMap !== undefined) checkPassable(ctx.paths.bundles);
  mkdirSync(`${bundle}/rootfs`, { recursive: true, mode: 0o700 });
  if (spec.idMap !== undefined) {
    // the container's root must get to its root directory, and nobody else
    chownSync(bundle, 0, rootOnHost(spec.idMap).gid);
    chmodSync(bundle, 0o710);
  }
  for (const path of [`${ctx.paths.exits}/${spec.id}`, `${spec.directory}/exit`, `${spec.directory}/oom`, `${bundle}/oom`, `${bundle}/state.json`])
    rmSync(path, { force: true });
}

async function mountRoot(ctx: SandboxContext, spec: SandboxSpec, bundle: string): Promise<void> {
  await ctx.snapshots.mount({
    target: `${bundle}/rootfs`,
    layers: await withInitLayer(ctx.snapshots, spec.layers),
    upper: spec.active,
    volatile: spec.volatile,
    ...(spec.idMap !== undefined && { idMap: spec.idMap }),
  });
}

/**
 * `shareable` has its /dev/shm on the host, where a container that joins its ipc namespace finds it.
 * Undefined: the runtime mounts one inside.
 */
function mountShm(ctx: SandboxContext, spec: SandboxSpec, bundle: string): { path: string; isOwn: boolean } | undefined {
  const mode = spec.host.IpcMode ?? "";
  const path = `${bundle}/shm`;
  if (mode === "shareable") {
    mkdirSync(path, { recursive: true });
    const { uid, gid } = rootOnHost(spec.idMap);
    mount("shm", path, "tmpfs", MS.NOSUID | MS.NODEV | MS.NOEXEC, `mode=1777,size=${spec.host.ShmSize || SHM_SIZE},uid=${uid},gid=${gid}`);
    chmodSync(path, 0o1777);
    return { path, isOwn: true };
  }
  const partner = mode.startsWith("container:") ? [...ctx.running.values()].find((each) => each.pid === spec.joined?.ipc) : undefined;
  return partner === undefined ? undefined : { path: `${ctx.paths.bundle(partner.id)}/shm`, isOwn: false };
}

interface SandboxNetworking {
  namespace: { path: string } | "host" | "new";
  endpoints: Endpoint[];
  /** Links, addresses and rules: while the runtime creates the container, or after it, where only then there is a namespace. */
  attach(created: Promise<number>): Promise<void>;
  release(): Promise<void>;
}

/** Namespace, addresses and ports are taken here; on failure nothing of it stays. */
async function allocateNetwork(ctx: SandboxContext, spec: SandboxSpec): Promise<SandboxNetworking> {
  const { networks } = ctx;
  const { network } = spec;
  const nothing = { endpoints: [], attach: async () => {}, release: async () => {} };
  if (network.kind === "host") return { ...nothing, namespace: "host" };
  if (network.kind === "container") return { ...nothing, namespace: { path: `/proc/${network.pid}/ns/net` } };
  if (network.kind === "none") return { ...nothing, namespace: "new" };
  const release = async (): Promise<void> => {
    await networks.release(spec.id);
    await networks.removeNamespace(spec.id);
  };
  try {
    // one that belongs to the container's user namespace can only be made within that: the container would have no rights in one of ours, nor a /sys of it
    const path = spec.idMap === undefined ? await networks.createNamespace(spec.id) : undefined;
    const endpoints: Endpoint[] = [];
    for (const each of network.connect) {
      const made = networks.allocate(each);
      endpoints.push(made instanceof Promise ? await made : made);
    }
    return {
      namespace: path === undefined ? "new" : { path },
      endpoints,
      attach: async (created) => {
        const target = path ?? networks.nameNamespace(spec.id, `/proc/${await created}/ns/net`);
        for (const endpoint of endpoints) await networks.attach(endpoint, target);
      },
      release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Binds and tmpfs of the spec, then those of `--tmpfs` that aren't among them. */
async function userMounts(spec: SandboxSpec, rootfs: string): Promise<MountSpec[]> {
  const mounts: MountSpec[] = [];
  for (const { type, source, destination, readOnly, options } of spec.mounts) {
    if (type === "tmpfs") mounts.push(tmpfsMount(destination, options, readOnly));
    else mounts.push(bindMount(typeof source === "string" ? source : await source(rootfs), destination, options, readOnly));
  }
  const taken = new Set(mounts.map((each) => each.destination));
  for (const [destination, options] of Object.entries(spec.host.Tmpfs ?? {})) {
    if (!taken.has(destination)) mounts.push(tmpfsMount(destination, options.split(",")));
  }
  return mounts;
}

function startMonitor(ctx: SandboxContext, spec: SandboxSpec, runtime: Runtime, bundle: string): Monitor {
  return spawnMonitor({
    spawner: ctx.spawner,
    program: ctx.monitorProgram,
    id: spec.id,
    name: spec.name || spec.id,
    bundle,
    runtime,
    args: spec.args,
    exits: ctx.paths.exits,
    persist: spec.directory,
    logPath: spec.logPath,
    tty: spec.config.Tty === true,
    openStdin: spec.config.OpenStdin === true,
    stdinOnce: spec.config.StdinOnce === true,
  });
}

/** Init's pid. A runtime that hangs must not keep anyone from removing the container: then the monitor is killed, and what it began ended. */
async function createdUnless(signal: AbortSignal | undefined, monitor: Monitor): Promise<number> {
  const kill = (): void => monitor.kill();
  signal?.addEventListener("abort", kill);
  try {
    return await monitor.created;
  } finally {
    signal?.removeEventListener("abort", kill);
  }
}

/** Kills what the runtime has made, which ends conmon too. Init has not been let go, so that its pid is still its own. */
async function endMonitor(ctx: SandboxContext, runtime: Runtime, cgroupPath: string, monitor: Monitor, id: string): Promise<void> {
  const pid = await monitor.created.catch(() => undefined);
  if (pid !== undefined) signalProcess(pid, SIGKILL);
  if (!(await within(monitor.exited, MONITOR_PATIENCE_MS))) monitor.kill();
  const exitCode = await monitor.exited;
  // killed itself, it has left the runtime's processes behind: they would go on making what is removed here
  const monitorPid = await monitor.pid.catch(() => undefined);
  if (exitCode === undefined && monitorPid !== undefined) await endCreate(ctx, monitorPid, cgroupPath);
  await runtime.delete(id, cgroupPath);
  // the monitor told of the end that this has made: nobody asks for it
  await rm(`${ctx.paths.exits}/${id}`, { force: true });
}

/** Waits for both even when one fails, so that undoing finds no work going on; the runtime's error is the one to show. */
async function bothSettled<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  const [a, b] = await Promise.allSettled([first, second]);
  if (a.status === "rejected") throw a.reason;
  if (b.status === "rejected") throw b.reason instanceof EngineError ? b.reason : internal(`setting up the network failed: ${String(b.reason)}`, b.reason);
  return [a.value, b.value];
}
