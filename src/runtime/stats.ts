import { readFileSync } from "node:fs";
import { directoryOf, type CgroupHierarchy } from "../kernel/cgroup.ts";

/** One sample of what a container uses, in the units of Docker's stats: bytes and nanoseconds, counted since its start. */
export interface StatsSample {
  /** Unix nanoseconds. */
  readAt: bigint;
  cpu: {
    total: number;
    user: number;
    system: number;
    /** v1 only. */
    perCpu: number[];
    periods: number;
    throttledPeriods: number;
    throttledTime: number;
    /** The whole host's. */
    hostTotal: number;
    online: number;
  };
  memory: {
    usage: number;
    /** v1, and v2 from Linux 5.19. */
    maxUsage: number | undefined;
    /** The host's memory where there is no limit. */
    limit: number;
    failures: number;
    /** memory.stat as it stands. */
    details: Record<string, number>;
  };
  pids: { current: number; limit: number | undefined };
  blockIo: { bytes: BlockIoEntry[]; operations: BlockIoEntry[] };
  networks: Record<string, NetworkCounters>;
}

export interface BlockIoEntry {
  major: number;
  minor: number;
  /** `read`, `write`, … in lower case. */
  operation: string;
  value: number;
}

export interface NetworkCounters {
  receivedBytes: number;
  receivedPackets: number;
  receiveErrors: number;
  receiveDropped: number;
  sentBytes: number;
  sentPackets: number;
  sendErrors: number;
  sendDropped: number;
}

/** USER_HZ, fixed at 100 on all Linux architectures we run on. */
const TICK_NS = 1e7;

/** Some 15 files, 0.2 ms. What the host doesn't count is 0. `pid` is any process in the container's network namespace. */
export function readStats(cgroups: CgroupHierarchy, path: string, pid: number): StatsSample {
  const host = hostCpu();
  const isV2 = cgroups.version === 2;
  return {
    readAt: BigInt(Date.now()) * 1_000_000n,
    cpu: { ...(isV2 ? cpuV2(`${cgroups.unified}${path}`) : cpuV1(cgroups, path)), hostTotal: host.total, online: host.online },
    memory: isV2 ? memoryV2(`${cgroups.unified}${path}`) : memoryV1(directoryOf(cgroups, "memory", path) ?? ""),
    pids: pidsOf(directoryOf(cgroups, "pids", path) ?? ""),
    blockIo: isV2 ? blockIoV2(`${cgroups.unified}${path}`) : blockIoV1(directoryOf(cgroups, "blkio", path) ?? ""),
    networks: networkCounters(text(`/proc/${pid}/net/dev`)),
  };
}

/** Missing files are controllers that the host doesn't have, or a container that has just ended. */
function text(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if (["ENOENT", "ENODEV", "ESRCH", "EINVAL", "ENOTDIR"].includes((error as { code?: string }).code ?? "")) return "";
    throw error;
  }
}

const number = (path: string): number => Number.parseInt(text(path), 10) || 0;

/** Undefined for `max`, and for v1's way to say it: the highest page-aligned number. */
function limit(path: string): number | undefined {
  const value = Number.parseInt(text(path), 10);
  return Number.isInteger(value) && value < 2 ** 62 ? value : undefined;
}

/** Lines of `key value`. */
function pairs(path: string): Record<string, number> {
  const result: Record<string, number> = {};
  for (const line of text(path).split("\n")) {
    const [key, value] = line.split(" ");
    if (key && value !== undefined) result[key] = Number(value);
  }
  return result;
}

type OwnCpu = Omit<StatsSample["cpu"], "hostTotal" | "online">;

function cpuV1(cgroups: CgroupHierarchy, path: string): OwnCpu {
  const accounting = directoryOf(cgroups, "cpuacct", path) ?? "";
  const ticks = pairs(`${accounting}/cpuacct.stat`);
  const throttling = pairs(`${directoryOf(cgroups, "cpu", path) ?? ""}/cpu.stat`);
  return {
    total: number(`${accounting}/cpuacct.usage`),
    user: (ticks["user"] ?? 0) * TICK_NS,
    system: (ticks["system"] ?? 0) * TICK_NS,
    perCpu: text(`${accounting}/cpuacct.usage_percpu`).trim().split(" ").filter(Boolean).map(Number),
    periods: throttling["nr_periods"] ?? 0,
    throttledPeriods: throttling["nr_throttled"] ?? 0,
    throttledTime: throttling["throttled_time"] ?? 0,
  };
}

function cpuV2(directory: string): OwnCpu {
  const stat = pairs(`${directory}/cpu.stat`);
  const nanoseconds = (key: string): number => (stat[key] ?? 0) * 1000;
  return {
    total: nanoseconds("usage_usec"),
    user: nanoseconds("user_usec"),
    system: nanoseconds("system_usec"),
    perCpu: [],
    periods: stat["nr_periods"] ?? 0,
    throttledPeriods: stat["nr_throttled"] ?? 0,
    throttledTime: nanoseconds("throttled_usec"),
  };
}

/** As Docker sums it: user, nice, system, idle, iowait, irq, softirq, steal of the first line. */
function hostCpu(): { total: number; online: number } {
  const lines = text("/proc/stat").split("\n");
  const ticks = (lines[0] ?? "").split(/\s+/).slice(1, 9).map(Number);
  return { total: ticks.reduce((sum, each) => sum + each, 0) * TICK_NS, online: lines.filter((line) => /^cpu\d/.test(line)).length };
}

function memoryV1(directory: string): StatsSample["memory"] {
  return {
    usage: number(`${directory}/memory.usage_in_bytes`),
    maxUsage: number(`${directory}/memory.max_usage_in_bytes`),
    limit: limit(`${directory}/memory.limit_in_bytes`) ?? hostMemory(),
    failures: number(`${directory}/memory.failcnt`),
    details: pairs(`${directory}/memory.stat`),
  };
}

function memoryV2(directory: string): StatsSample["memory"] {
  return {
    usage: number(`${directory}/memory.current`),
    maxUsage: limit(`${directory}/memory.peak`),
    limit: limit(`${directory}/memory.max`) ?? hostMemory(),
    failures: pairs(`${directory}/memory.events`)["max"] ?? 0,
    details: pairs(`${directory}/memory.stat`),
  };
}

function hostMemory(): number {
  return Number(/^MemTotal:\s+(\d+) kB/m.exec(text("/proc/meminfo"))?.[1] ?? 0) * 1024;
}

function pidsOf(directory: string): StatsSample["pids"] {
  return { current: number(`${directory}/pids.current`), limit: limit(`${directory}/pids.max`) };
}

/** Lines of `8:0 Read 4096`, and one `Total 4096`. */
function blockIoV1(directory: string): StatsSample["blockIo"] {
  const read = (name: string): BlockIoEntry[] =>
    [...text(`${directory}/${name}`).matchAll(/^(\d+):(\d+) (\w+) (\d+)$/gm)].map(([, major, minor, operation = "", value]) => ({
      major: Number(major),
      minor: Number(minor),
      operation: operation.toLowerCase(),
      value: Number(value),
    }));
  return { bytes: read("blkio.throttle.io_service_bytes_recursive"), operations: read("blkio.throttle.io_serviced_recursive") };
}

/** Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`. */
function blockIoV2(directory: string): StatsSample["blockIo"] {
  const bytes: BlockIoEntry[] = [];
  const operations: BlockIoEntry[] = [];
  for (const [, major, minor, rest = ""] of text(`${directory}/io.stat`).matchAll(/^(\d+):(\d+) (.*)$/gm)) {
    for (const [, key = "", value] of rest.matchAll(/(\w+)=(\d+)/g)) {
      const known = v2Operations[key];
      if (known === undefined) continue;
      (known.isBytes ? bytes : operations).push({ major: Number(major), minor: Number(minor), operation: known.operation, value: Number(value) });
    }
  }
  return { bytes, operations };
}

const v2Operations: Readonly<Record<string, { operation: string; isBytes: boolean }>> = {
  rbytes: { operation: "read", isBytes: true },
  wbytes: { operation: "write", isBytes: true },
  rios: { operation: "read", isBytes: false },
  wios: { operation: "write", isBytes: false },
};

/** /proc/net/dev: two lines of head, then a line an interface; the loopback isn't shown, as in Docker. */
export function networkCounters(table: string): Record<string, NetworkCounters> {
  const result: Record<string, NetworkCounters> = {};
  for (const line of table.split("\n").slice(2)) {
    const [name = "", counters] = line.split(":");
    if (counters === undefined || name.trim() === "lo") continue;
    const [rb = 0, rp = 0, re = 0, rd = 0, , , , , sb = 0, sp = 0, se = 0, sd = 0] = counters.trim().split(/\s+/).map(Number);
    result[name.trim()] = {
      receivedBytes: rb,
      receivedPackets: rp,
      receiveErrors: re,
      receiveDropped: rd,
      sentBytes: sb,
      sentPackets: sp,
      sendErrors: se,
      sendDropped: sd,
    };
  }
  return result;
}
