import { KeyedMutex } from "../lib/mutex.ts";
import { exportTo, importFrom } from "./archive.ts";
import { clone, restoreSnapshot, snapshot } from "./clone.ts";
import { find, usersOf, type Context, type VolumesDeps } from "./context.ts";
import { copyUp, mayFill } from "./copy-up.ts";
import { create } from "./create.ts";
import { createLocalDriver } from "./local-driver.ts";
import { checkDriver, inspect, listAll } from "./look-up.ts";
import { adopt, mount, settleRemote, unmount } from "./mount.ts";
import { createMounter } from "./mounter.ts";
import { prune } from "./prune.ts";
import { discard, remove } from "./remove.ts";
import { createVolumeDrivers } from "./remote-driver.ts";
import { rename } from "./rename.ts";
import { restore } from "./restore.ts";
import type { Volumes } from "./types.ts";
import { usage } from "./usage.ts";

/** Records, names and users of volumes; drivers keep their files. */
export function createVolumes(deps: VolumesDeps): Volumes {
  const mounter = createMounter();
  const local = createLocalDriver({ root: deps.root, mounter, trees: deps.trees, log: deps.log });
  const drivers = createVolumeDrivers({ local, plugins: deps.plugins, log: deps.log });
  const ctx: Context = { ...deps, drivers, mounter, entries: new Map(), making: new Set(), counting: new Map(), mutex: new KeyedMutex(), pruning: false };
  const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);
  return {
    create: (options) => create(ctx, options),
    list: () => [...ctx.entries.values()].map((entry) => entry.record).sort(byName),
    listAll: () => listAll(ctx),
    get: (name) => find(ctx, name).record,
    inspect: (name) => inspect(ctx, name),
    drivers: () => drivers.names(),
    checkDriver: (name) => checkDriver(ctx, name),
    remove: (name, options) => remove(ctx, name, options),
    discard: (names) => discard(ctx, names),
    prune: (options) => prune(ctx, options),
    rename: (name, to, follow) => rename(ctx, name, to, follow),
    clone: (name, to, options = {}) => clone(ctx, name, to, options),
    snapshot: (name, to, options = {}) => snapshot(ctx, name, to, options),
    restoreSnapshot: (name, options = {}) => restoreSnapshot(ctx, name, options),
    exportTo: (name, options, work) => exportTo(ctx, name, options, work),
    importFrom: (name, archive, options) => importFrom(ctx, name, archive, options),
    usersOf: (name) => usersOf(ctx, name),
    mayFill: (name) => mayFill(ctx, name),
    copyUp: (name, sourceDirectory) => copyUp(ctx, name, sourceDirectory),
    mount: (name, container, how) => mount(ctx, name, container, how),
    unmount: (name, container) => unmount(ctx, name, container),
    adopt: (name, container) => adopt(ctx, name, container),
    usage: (name) => usage(ctx, name),
    restore: () => restore(ctx),
    settle: async () => {
      settleRemote(ctx);
      await local.settle([...ctx.entries.values()].map(({ record }) => record));
    },
  };
}
