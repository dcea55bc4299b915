import { existsSync } from "node:fs";
import type { CgroupHierarchy } from "../kernel/cgroup.ts";
import { directoryOf } from "../kernel/cgroup.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { HostConfig } from "../oci/container.ts";

/** Limits that not every kernel has, or not every version of cgroups. */
export interface LimitSupport {
  memory: boolean;
  reservation: boolean;
  swap: boolean;
  swappiness: boolean;
  oomKillDisable: boolean;
  pids: boolean;
  cpuShares: boolean;
  cpuQuota: boolean;
  cpuRealtime: boolean;
  cpuset: boolean;
  blkioWeight: boolean;
  blkioThrottle: boolean;
}

/** `parent` exists on v2 (its files are absent in the root there). */
export function readSupport(cgroups: CgroupHierarchy, parent: string): LimitSupport {
  const isV2 = cgroups.version === 2;
  const has = (controller: string, ...files: string[]): boolean => {
    const directory = directoryOf(cgroups, controller, isV2 ? parent : "");
    return directory !== undefined && files.some((file) => existsSync(`${directory}/${file}`));
  };
  return {
    memory: has("memory", "memory.limit_in_bytes", "memory.max"),
    reservation: has("memory", "memory.soft_limit_in_bytes", "memory.low"),
    swap: isV2 ? has("memory", "memory.swap.max") : has("memory", "memory.memsw.limit_in_bytes"),
    swappiness: !isV2 && has("memory", "memory.swappiness"),
    oomKillDisable: !isV2 && has("memory", "memory.oom_control"),
    pids: cgroups.controllers.has("pids"),
    cpuShares: has("cpu", "cpu.shares", "cpu.weight"),
    cpuQuota: has("cpu", "cpu.cfs_quota_us", "cpu.max"),
    cpuRealtime: !isV2 && has("cpu", "cpu.rt_runtime_us"),
    cpuset: cgroups.controllers.has("cpuset"),
    blkioWeight: isV2 ? has("io", "io.weight", "io.bfq.weight") : has("blkio", "blkio.weight", "blkio.bfq.weight"),
    blkioThrottle: has("blkio", "blkio.throttle.read_bps_device") || has("io", "io.max"),
  };
}

/** For `buildResources`: set no swap limit at all, where 0 means its default and -1 an explicit "unlimited". */
export const NO_SWAP_LIMIT = Number.NEGATIVE_INFINITY;

interface Rule {
  needs: keyof LimitSupport;
  asked(host: HostConfig): boolean;
  without: Partial<HostConfig>;
  /** Docker's words. */
  warning: string;
}

const isSet = (value: number | null | undefined): boolean => (value ?? 0) > 0;
const hasAny = (list: readonly unknown[] | null | undefined): boolean => (list?.length ?? 0) > 0;
const unmounted = (what: string): string => `Your kernel does not support ${what} or the cgroup is not mounted.`;
const throttle = (name: "BlkioDeviceReadBps" | "BlkioDeviceWriteBps" | "BlkioDeviceReadIOps" | "BlkioDeviceWriteIOps", what: string, limit: string): Rule => ({
  needs: "blkioThrottle",
  asked: (host) => hasAny(host[name]),
  without: { [name]: [] },
  warning: `${unmounted(`${what} limit`)} Block I/O ${limit} limit discarded.`,
});

/** What Docker drops with a warning where the host can't keep it (moby, daemon_unix.go). */
const rules: readonly Rule[] = [
  {
    needs: "memory",
    asked: ({ Memory }) => isSet(Memory),
    without: { Memory: 0 },
    warning: `${unmounted("memory limit capabilities")} Limitation discarded.`,
  },
  {
    needs: "swap",
    asked: ({ MemorySwap }) => isSet(MemorySwap),
    without: {},
    warning: `${unmounted("swap limit capabilities")} Memory limited without swap.`,
  },
  {
    needs: "swappiness",
    asked: ({ MemorySwappiness }) => (MemorySwappiness ?? -1) >= 0,
    without: { MemorySwappiness: null },
    warning: `${unmounted("memory swappiness capabilities")} Memory swappiness discarded.`,
  },
  {
    needs: "reservation",
    asked: ({ MemoryReservation }) => isSet(MemoryReservation),
    without: { MemoryReservation: 0 },
    warning: `${unmounted("memory soft limit capabilities")} Limitation discarded.`,
  },
  {
    needs: "oomKillDisable",
    asked: ({ OomKillDisable }) => OomKillDisable === true,
    without: { OomKillDisable: null },
    warning: "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
  },
  {
    needs: "pids",
    asked: ({ PidsLimit }) => isSet(PidsLimit),
    without: { PidsLimit: null },
    warning: `${unmounted("PIDs limit capabilities")} PIDs limit discarded.`,
  },
  { needs: "cpuShares", asked: ({ CpuShares }) => isSet(CpuShares), without: { CpuShares: 0 }, warning: `${unmounted("CPU shares")} Shares discarded.` },
  {
    needs: "cpuQuota",
    asked: ({ CpuPeriod, CpuQuota }) => isSet(CpuPeriod) || isSet(CpuQuota),
    without: { CpuPeriod: 0, CpuQuota: 0 },
    warning: "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
  },
  {
    needs: "cpuset",
    asked: ({ CpusetCpus, CpusetMems }) => Boolean(CpusetCpus || CpusetMems),
    without: { CpusetCpus: "", CpusetMems: "" },
    warning: `${unmounted("cpuset")} Cpuset discarded.`,
  },
  {
    needs: "blkioWeight",
    asked: ({ BlkioWeight }) => isSet(BlkioWeight),
    without: { BlkioWeight: 0 },
    warning: `${unmounted("Block I/O weight")} Weight discarded.`,
  },
  {
    needs: "blkioWeight",
    asked: ({ BlkioWeightDevice }) => hasAny(BlkioWeightDevice),
    without: { BlkioWeightDevice: [] },
    warning: `${unmounted("Block I/O weight_device")} Weight-device discarded.`,
  },
  throttle("BlkioDeviceReadBps", "BPS Block I/O read", "BPS read"),
  throttle("BlkioDeviceWriteBps", "BPS Block I/O write", "BPS write"),
  throttle("BlkioDeviceReadIOps", "IOPS Block read", "IOPS read"),
  throttle("BlkioDeviceWriteIOps", "IOPS Block write", "IOPS write"),
];

/**
 * The limits without those that the host can't keep, which Docker drops with a warning, in its words.
 * @throws EngineError invalidArgument for those that Docker refuses then
 */
export function supportedLimits(host: HostConfig, support: LimitSupport): { host: HostConfig; warnings: string[] } {
  if (isSet(host.NanoCpus) && !support.cpuQuota) {
    throw invalidArgument("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted");
  }
  if ((host.CpuRealtimePeriod || host.CpuRealtimeRuntime) && !support.cpuRealtime) throw invalidArgument("kernel does not support CPU real-time scheduler");
  const limits = { ...host };
  if (!support.swap) limits.MemorySwap = NO_SWAP_LIMIT;
  const warnings: string[] = [];
  for (const { needs, asked, without, warning } of rules) {
    if (support[needs] || !asked(host)) continue;
    Object.assign(limits, without);
    warnings.push(warning);
  }
  if (isSet(host.CpuPercent)) warnings.push("linux does not support CPU percent. Percent discarded.");
  return { host: limits, warnings };
}

/** As `supportedLimits`, in the form that is kept: as inspect shows them, and as they are taken from there at each start. */
export function keptLimits(host: HostConfig, support: LimitSupport): { host: HostConfig; warnings: string[] } {
  const { host: limits, warnings } = supportedLimits(host, support);
  if (!support.swap) limits.MemorySwap = isSet(host.Memory) ? -1 : host.MemorySwap;
  if (isSet(host.CpuPercent)) limits.CpuPercent = 0;
  return { host: limits, warnings };
}
