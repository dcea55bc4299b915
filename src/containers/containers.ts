import { messageOf } from "../lib/errors.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import type { Digest } from "../oci/digest.ts";
import { copyFrom, copyTo, exportRoot, statPath } from "./archive.ts";
import { attach, resize } from "./attach.ts";
import { isRunning, lookup, type Context, type ContainersDeps } from "./context.ts";
import { commit } from "./commit.ts";
import { connectNetwork, disconnectNetwork } from "./connect.ts";
import { create } from "./create.ts";
import { execCheck, execCreate, execInspect, execResize, execStart } from "./exec.ts";
import { suspendHealth } from "./health.ts";
import { holdStill, writersOf } from "./hold-still.ts";
import { kill } from "./kill.ts";
import { linkNames } from "./linked.ts";
import { list } from "./list.ts";
import { logs } from "./logs.ts";
import { networkSettings } from "./network-settings.ts";
import { dependentsAmong, inOrder } from "./order.ts";
import { pause, unpause } from "./pause.ts";
import { prune } from "./prune.ts";
import { autoRemove, remove } from "./remove.ts";
import { rename } from "./rename.ts";
import { renameVolume } from "./rename-volume.ts";
import { adoptAll, resume, type Restored } from "./restore.ts";
import { changes, sizes, withRootfs } from "./rootfs.ts";
import { run, start } from "./start.ts";
import { stats } from "./stats.ts";
import { restart, startSettled, stop, stopEntry } from "./stop.ts";
import { top } from "./top.ts";
import type { Containers } from "./types.ts";
import { endUnhealthy } from "./unhealthy.ts";
import { update } from "./update.ts";
import { wait } from "./wait.ts";

/** Records in memory mirror the rows; call adoptAll, then resume, before any other verb. */
export function createContainers(deps: ContainersDeps): Containers {
  const ctx: Context = {
    ...deps,
    entries: new Map(),
    names: new Map(),
    execs: new Map(),
    selfRemoved: new Map(),
    networkSettings: new WeakMap(),
    healthChecks: { total: 0, failed: 0 },
    mutex: new KeyedMutex(),
    phase: "open",
    again: { start: (entry) => run(ctx, entry), autoRemove: (entry) => autoRemove(ctx, entry), endUnhealthy: (entry) => endUnhealthy(ctx, entry) },
  };
  let restored: Restored = { exited: [], halfway: [] };
  return {
    healthChecks: ctx.healthChecks,
    get: (reference) => lookup(ctx, reference).record,
    list: (options) => list(ctx, options),
    create: (options) => create(ctx, options),
    start: (reference) => start(ctx, reference),
    stop: (reference, options) => stop(ctx, reference, options),
    restart: (reference, options) => restart(ctx, reference, options),
    kill: (reference, signal) => kill(ctx, reference, signal),
    pause: (reference) => pause(ctx, reference),
    unpause: (reference) => unpause(ctx, reference),
    remove: (reference, options) => remove(ctx, reference, options),
    rename: async (reference, name) => rename(ctx, reference, name),
    wait: (reference, condition, signal) => wait(ctx, reference, condition, signal),
    attach: (reference, listener) => attach(ctx, reference, listener),
    resize: (reference, rows, cols) => resize(ctx, reference, rows, cols),
    logs: (reference, options) => logs(ctx, reference, options),
    top: (reference, args) => top(ctx, reference, args),
    stats: (reference) => stats(ctx, reference),
    changes: (reference) => changes(ctx, reference),
    prune: (filters) => prune(ctx, filters),
    update: (reference, host) => update(ctx, reference, host),
    networkSettings: (record) => networkSettings(ctx, record),
    linkNames: () => linkNames(ctx),
    connectNetwork: (reference, network, settings) => connectNetwork(ctx, reference, network, settings),
    disconnectNetwork: (reference, network, options) => disconnectNetwork(ctx, reference, network, options),
    commit: (reference, options) => commit(ctx, reference, options),
    sizes: (reference) => sizes(ctx, reference),
    statPath: (reference, path) => statPath(ctx, reference, path),
    copyFrom: (reference, path, options, work) => copyFrom(ctx, reference, path, options, work),
    copyTo: (reference, path, archive, options) => copyTo(ctx, reference, path, archive, options),
    exportRoot: (reference, options, work) => exportRoot(ctx, reference, options, work),
    withRootfs: (reference, work) => withRootfs(ctx, reference, work),
    execCreate: (reference, options) => execCreate(ctx, reference, options),
    execIds: (reference) => [...lookup(ctx, reference).execs],
    execInspect: (id) => execInspect(ctx, id),
    execCheck: (id) => execCheck(ctx, id),
    execStart: (id, options, listener) => execStart(ctx, id, options, listener),
    execResize: (id, rows, cols) => execResize(ctx, id, rows, cols),
    renameVolume: (name, to) => renameVolume(ctx, name, to),
    writersOf: (volume) => writersOf(ctx, volume).map(({ record }) => record),
    holdStill: (volume, work) => holdStill(ctx, volume, work),
    usingImage: (image) => usingImage(ctx, image),
    async adoptAll() {
      const result = await adoptAll(ctx);
      restored = result.restored;
      return result.running;
    },
    resume: () => resume(ctx, restored),
    stopAll: (timeoutSeconds) => stopForNow(ctx, timeoutSeconds),
    close: (options) => close(ctx, options),
  };
}

function usingImage(ctx: Context, image: Digest): ReturnType<Containers["usingImage"]> {
  const users: ReturnType<Containers["usingImage"]> = [];
  // asked of each image in a list: both may be thousands
  for (const { record } of ctx.entries.values()) {
    const mounted = record.mountSources.some(({ type, source }) => type === "image" && source === image);
    if (mounted || record.imageId === image) users.push({ id: record.id, name: record.name, running: isRunning(record.state), mounted });
  }
  return users;
}

/** Each in its own time, all at once but for those that others depend on: these go after them. None is restarted by its policy, and none counts as stopped by a user. */
async function stopAll(ctx: Context, timeoutSeconds: number): Promise<void> {
  ctx.phase = "stopping";
  const entries = [...ctx.entries.values()];
  await inOrder(entries, dependentsAmong(ctx, entries), Number.POSITIVE_INFINITY, async (entry) => {
    try {
      await startSettled(entry, timeoutSeconds);
      // a container that was given more time than the engine's default needs it
      await stopEntry(ctx, entry, { timeoutSeconds: entry.record.config.StopTimeout ?? timeoutSeconds, byEngine: true });
      await entry.cleaning;
      await entry.removing;
    } catch (error) {
      ctx.log.error("stopping a container at the engine's end", { container: entry.record.id, error: messageOf(error) });
    }
  });
}

/** The engine itself goes on, unless it is told to end meanwhile. */
async function stopForNow(ctx: Context, timeoutSeconds: number): Promise<void> {
  const isIn = (phase: Context["phase"]): boolean => ctx.phase === phase;
  if (!isIn("open")) return;
  try {
    await stopAll(ctx, timeoutSeconds);
  } finally {
    if (isIn("stopping")) ctx.phase = "open";
  }
}

async function close(ctx: Context, options: { stopAll: boolean; timeoutSeconds: number }): Promise<void> {
  if (options.stopAll) await stopAll(ctx, options.timeoutSeconds);
  ctx.phase = "detached";
  for (const entry of ctx.entries.values()) {
    clearTimeout(entry.restart?.timer);
    suspendHealth(entry);
    entry.logKeeping?.[Symbol.dispose]();
  }
  await Promise.all([...ctx.entries.values()].map((entry) => entry.forwarding?.stop()));
}
