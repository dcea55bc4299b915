import { existsSync } from "node:fs";
import type { CgroupHierarchy } from "../kernel/cgroup.ts";
import { directoryOf } from "../kernel/cgroup.ts";
import type { HostConfig } from "../oci/container.ts";

/** Limits that not every kernel has, or not every version of cgroups. */
export interface LimitSupport {
  swap: boolean;
  swappiness: boolean;
  oomKillDisable: boolean;
  blkioWeight: boolean;
}

/** `parent` exists on v2 (its files are absent in the root there). */
export function readSupport(cgroups: CgroupHierarchy, parent: string): LimitSupport {
  const isV2 = cgroups.version === 2;
  const has = (controller: string, ...files: string[]): boolean => {
    const directory = directoryOf(cgroups, controller, isV2 ? parent : "");
    return directory !== undefined && files.some((file) => existsSync(`${directory}/${file}`));
  };
  return {
    swap: isV2 ? has("memory", "memory.swap.max") : has("memory", "memory.memsw.limit_in_bytes"),
    swappiness: !isV2 && has("memory", "memory.swappiness"),
    oomKillDisable: !isV2 && has("memory", "memory.oom_control"),
    blkioWeight: isV2 ? has("io", "io.weight", "io.bfq.weight") : has("blkio", "blkio.weight", "blkio.bfq.weight"),
  };
}

/** For `buildResources`: set no swap limit at all, where 0 means its default and -1 an explicit "unlimited". */
export const NO_SWAP_LIMIT = Number.NEGATIVE_INFINITY;

/** The limits without those that the host can't keep, which Docker drops with a warning, in its words. */
export function supportedLimits(host: HostConfig, support: LimitSupport): { host: HostConfig; warnings: string[] } {
  const limits = { ...host };
  const warnings: string[] = [];
  const drop = (isAsked: boolean, isSupported: boolean, what: string, result: string, clear: () => void): void => {
    if (isSupported) return;
    clear();
    if (isAsked) warnings.push(`Your kernel does not support ${what}. ${result}`);
  };
  drop(
    (host.MemorySwap ?? 0) > 0,
    support.swap,
    "swap limit capabilities or the cgroup is not mounted",
    "Memory limited without swap.",
    () => (limits.MemorySwap = NO_SWAP_LIMIT),
  );
  const swappiness = host.MemorySwappiness ?? -1;
  drop(
    swappiness >= 0,
    support.swappiness,
    "memory swappiness capabilities or the cgroup is not mounted",
    "Memory swappiness discarded.",
    () => (limits.MemorySwappiness = null),
  );
  drop(host.OomKillDisable === true, support.oomKillDisable, "OomKillDisable", "OomKillDisable discarded.", () => (limits.OomKillDisable = null));
  const weight = (host.BlkioWeight ?? 0) > 0;
  drop(weight, support.blkioWeight, "Block I/O weight or the cgroup is not mounted", "Weight discarded.", () => (limits.BlkioWeight = 0));
  const devices = (host.BlkioWeightDevice?.length ?? 0) > 0;
  drop(
    devices,
    support.blkioWeight,
    "Block I/O weight_device or the cgroup is not mounted",
    "Weight-device discarded.",
    () => (limits.BlkioWeightDevice = null),
  );
  return { host: limits, warnings };
}
