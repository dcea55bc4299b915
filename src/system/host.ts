import { existsSync, readFileSync, statfsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { hostname, machine, release } from "node:os";
import type { CgroupHierarchy } from "../kernel/cgroup.ts";
import { hostPlatform } from "../oci/platform.ts";
import type { Store } from "../store/store.ts";

/** What `/info` says about the host and what doesn't change while the engine runs. */
export interface HostFacts {
  hostname: string;
  kernelVersion: string;
  operatingSystem: string;
  osVersion: string;
  /** As uname says: x86_64. */
  machine: string;
  /** As Go says: amd64. */
  dockerArch: string;
  backingFileSystem: string;
  limits: Record<string, boolean>;
  /** Whether packets between ports of a bridge pass the firewall (br_netfilter). */
  bridgeNetfilter: { v4: boolean; v6: boolean };
  warnings: string[];
}

export function hostFacts(dataRoot: string, cgroups: CgroupHierarchy): HostFacts {
  const os = osRelease();
  const limits = cgroups.version === 2 ? limitsV2(cgroups) : limitsV1(cgroups);
  return {
    hostname: hostname(),
    kernelVersion: release(),
    operatingSystem: os.PRETTY_NAME ?? "Linux",
    osVersion: os.VERSION_ID ?? "",
    machine: machine(),
    dockerArch: hostPlatform().architecture,
    backingFileSystem: fileSystemName(statfsSync(dataRoot).type),
    limits: { ...limits, IPv4Forwarding: readText("/proc/sys/net/ipv4/ip_forward") !== "0" },
    bridgeNetfilter: {
      v4: readText("/proc/sys/net/bridge/bridge-nf-call-iptables") === "1",
      v6: readText("/proc/sys/net/bridge/bridge-nf-call-ip6tables") === "1",
    },
    warnings: missing(limits),
  };
}

function limitsV1({ controllers }: CgroupHierarchy): Record<string, boolean> {
  const has = (controller: string, file: string): boolean => {
    const root = controllers.get(controller);
    return root !== undefined && existsSync(`${root}/${file}`);
  };
  return {
    MemoryLimit: has("memory", "memory.limit_in_bytes"),
    SwapLimit: has("memory", "memory.memsw.limit_in_bytes"),
    KernelMemoryTCP: has("memory", "memory.kmem.tcp.limit_in_bytes"),
    CpuCfsPeriod: has("cpu", "cpu.cfs_period_us"),
    CpuCfsQuota: has("cpu", "cpu.cfs_quota_us"),
    CPUShares: has("cpu", "cpu.shares"),
    CPUSet: controllers.has("cpuset"),
    PidsLimit: controllers.has("pids"),
    OomKillDisable: has("memory", "memory.oom_control"),
  };
}

function limitsV2({ controllers }: CgroupHierarchy): Record<string, boolean> {
  const cpu = controllers.has("cpu");
  const memory = controllers.has("memory");
  return {
    MemoryLimit: memory,
    SwapLimit: memory && existsSync("/proc/swaps"),
    KernelMemoryTCP: false,
    CpuCfsPeriod: cpu,
    CpuCfsQuota: cpu,
    CPUShares: cpu,
    CPUSet: controllers.has("cpuset"),
    PidsLimit: controllers.has("pids"),
    OomKillDisable: false,
  };
}

/** Docker's sentences for limits the kernel can't give. */
function missing(limits: Record<string, boolean>): string[] {
  const names: [string, string][] = [
    ["MemoryLimit", "memory limit"],
    ["SwapLimit", "swap limit"],
    ["CpuCfsPeriod", "cpu cfs period"],
    ["CpuCfsQuota", "cpu cfs quota"],
    ["CPUShares", "cpu shares"],
    ["CPUSet", "cpuset"],
    ["PidsLimit", "pids limit"],
  ];
  return names.filter(([key]) => limits[key] !== true).map(([, name]) => `WARNING: No ${name} support`);
}

/** The engine's own, now. */
export async function countOpenFiles(): Promise<number> {
  return (await readdir("/proc/self/fd")).length;
}

export function readMemTotal(text: string = readText("/proc/meminfo")): number {
  return Number(/^MemTotal:\s+(\d+) kB/m.exec(text)?.[1] ?? 0) * 1024;
}

function osRelease(): Record<string, string> {
  const text = readText("/etc/os-release") || readText("/usr/lib/os-release");
  const values: Record<string, string> = {};
  for (const line of text.split("\n")) {
    const at = line.indexOf("=");
    if (at > 0) values[line.slice(0, at)] = line.slice(at + 1).replace(/^"(.*)"$/, "$1");
  }
  return values;
}

/** "" where it can't be read: every use has a value for that. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

/** statfs(2) magic numbers, under the names `docker info` shows. */
function fileSystemName(type: number): string {
  const names: Record<number, string> = {
    0xef53: "extfs",
    0x58465342: "xfs",
    0x9123683e: "btrfs",
    0x01021994: "tmpfs",
    0x2fc12fc1: "zfs",
    0x794c7630: "overlayfs",
    0xf2f52010: "f2fs",
  };
  return names[type] ?? `unknown (0x${type.toString(16)})`;
}

/** Made once a data root. Docker's form is twelve groups of four; newer engines use a UUID, as we do. */
export function engineId(store: Store): string {
  return store.tx(() => {
    const row = store.db.query("SELECT value FROM meta WHERE key = 'engine-id'").get() as { value: string } | null;
    if (row !== null) return row.value;
    const id = crypto.randomUUID();
    store.db.query("INSERT INTO meta (key, value) VALUES ('engine-id', ?)").run(id);
    return id;
  });
}
