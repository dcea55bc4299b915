import { existsSync } from "node:fs";
import { chown, mkdir, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { unmount as unmountNow } from "../kernel/mount.ts";
import { mountPoints, mountPointsIn } from "../kernel/mountinfo.ts";
import { checkProjectQuota, isLimited, limitDirectories, unlimitDirectory } from "../kernel/quota.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { rootOnHost } from "../oci/id-map.ts";
import type { VolumeDriver } from "./driver.ts";
import type { Mounter } from "./mounter.ts";
import { checkName } from "./names.ts";
import { checkLocalOptions, isMounted, isNetworkType, localMount, sizeLimit } from "./options.ts";
import type { Trees } from "./trees.ts";
import type { VolumeRecord } from "./types.ts";

export interface LocalDriver extends VolumeDriver {
  /** Once all who still run have been adopted: takes away what is mounted for nobody any more, as engines that were killed leave it. */
  settle(records: readonly VolumeRecord[]): Promise<void>;
}

/** `<root>/<name>/_data`, with what `type`, `device` and `o` say mounted on it while a container runs with it. */
export function createLocalDriver(deps: { root: string; mounter: Mounter; trees: Pick<Trees, "removeTree">; log: Logger }): LocalDriver {
  const { root, mounter, trees, log } = deps;
  /** Of volumes with something to mount: who it is mounted for now. */
  const users = new Map<string, Set<string>>();
  return {
    name: "local",
    scope: "local",

    validate(name, options) {
      checkName(name);
      checkLocalOptions(name, options);
      if (sizeLimit(options) !== undefined) checkQuota(name, root);
    },

    async create({ mountpoint, idMap, options }) {
      const limit = sizeLimit(options);
      if (limit !== undefined) await limitTop(dirname(mountpoint), limit);
      await mkdir(mountpoint, { recursive: true, mode: 0o755 });
      const { uid, gid } = rootOnHost(idMap);
      if (idMap !== undefined) await chown(mountpoint, uid, gid);
      return mountpoint;
    },

    async remove({ name, mountpoint, options }) {
      const top = dirname(mountpoint);
      // whatever is mounted in it, by its options or by the host's administrator, must not be deleted with the directory
      for (const target of (await mountPointsIn(top)).toReversed()) unmountNow(target, { lazy: true });
      users.delete(name);
      if (sizeLimit(options) !== undefined) unlimit(top, log);
      // a container may have made directories without end, each in the last
      if (existsSync(top)) await trees.removeTree(top);
    },

    async rename(before, after) {
      // mounts, those of running containers among them, hold the directory itself
      await rename(dirname(before.mountpoint), dirname(after.mountpoint));
      const present = users.get(before.name);
      users.delete(before.name);
      if (present !== undefined) users.set(after.name, present);
    },

    async mount(record, user) {
      const { name, mountpoint } = record;
      const what = prepared(record);
      if (what === undefined) {
        await checkThere(record);
        return mountpoint;
      }
      const present = users.get(name) ?? new Set();
      const count = (await mountPoints()).filter((target) => target === mountpoint).length;
      if (present.size > 0 && count === 0) log.warn("a volume was unmounted behind the engine's back: it is mounted again", { volume: name });
      if (present.size === 0) for (let i = 0; i < count; i++) await mounter.unmount(mountpoint, what);
      if (present.size === 0 || count === 0) {
        await mkdir(mountpoint, { recursive: true, mode: 0o755 });
        await mounter.mount(mountpoint, what);
      }
      // whoever looks into it now, on the main thread or on one of the pool's few, must not wait for a server that has gone
      else if (isNetworkType(what.type)) await mounter.checkAnswers(mountpoint);
      users.set(name, present.add(user));
      return mountpoint;
    },

    async unmount(record, user) {
      const { name, mountpoint } = record;
      const present = users.get(name);
      if (present === undefined || !present.delete(user) || present.size > 0) return;
      users.delete(name);
      const what = prepared(record);
      if (what !== undefined) await mounter.unmount(mountpoint, what);
    },

    adopt({ name, options }, user) {
      if (isMounted(options)) users.set(name, (users.get(name) ?? new Set()).add(user));
    },

    inspect: async () => ({}),

    async settle(records) {
      const candidates = records.filter(({ driver, options, name }) => driver === "local" && isMounted(options) && !users.has(name));
      if (candidates.length === 0) return;
      const mounted = new Set(await mountPoints());
      for (const record of candidates.filter(({ mountpoint }) => mounted.has(mountpoint))) {
        try {
          await mounter.unmount(record.mountpoint, prepared(record)!);
          log.info("unmounted a volume that no container runs with", { volume: record.name });
        } catch (error) {
          log.warn("unmounting a volume that no container runs with", { volume: record.name, error: messageOf(error) });
        }
      }
    },
  };
}

function checkQuota(name: string, root: string): void {
  try {
    checkProjectQuota(root);
  } catch (error) {
    const needed = "it takes project quotas on the volumes' file system (xfs with pquota, ext4 with prjquota) and Linux 5.14";
    throw invalidArgument(`create ${name}: quota size requested but no quota support: ${needed}: ${messageOf(error)}`, error);
  }
}

/** What is copied beside the data before it is moved in counts too: within one project only may it be moved. */
async function limitTop(top: string, limit: number): Promise<void> {
  await mkdir(top, { recursive: true, mode: 0o755 });
  if (!isLimited(top)) limitDirectories([top], limit);
}

function unlimit(top: string, log: Logger): void {
  try {
    unlimitDirectory(top);
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT")
      log.warn("a storage limit stays in the file system's tables", { directory: top, error: messageOf(error) });
  }
}

/** @throws EngineError invalidArgument */
function prepared({ mountpoint, options }: VolumeRecord): ReturnType<typeof localMount> {
  try {
    return localMount(options);
  } catch (error) {
    throw invalidArgument(`error while mounting volume '${mountpoint}': ${messageOf(error)}`, error);
  }
}

/** An empty directory in its place would hide that the data are gone, or their disk isn't mounted. @throws EngineError invalidArgument */
export async function checkThere({ name, mountpoint }: VolumeRecord): Promise<void> {
  try {
    await stat(mountpoint);
  } catch (error) {
    const why = (error as { code?: string }).code === "ENOENT" ? `it is gone: somebody removed the directory of volume ${name}` : messageOf(error);
    throw invalidArgument(`error while mounting volume '${mountpoint}': ${why}`, error);
  }
}
