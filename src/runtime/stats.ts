import { readFileSync, readlinkSync } from "node:fs";
import { directoryOf, type CgroupHierarchy } from "../kernel/cgroup.ts";
import { monotonicNano, realtimeNano } from "../kernel/clock.ts";

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
  /** None where the network is the host's. */
  networks: Record<string, NetworkCounters>;
  /** How long its processes waited for each; absent where the kernel doesn't count that. */
  pressure: { cpu?: Pressure; memory?: Pressure; io?: Pressure };
  /** Version of the control groups. */
  cgroups: 1 | 2;
}

/** Pressure stall information: shares of the last 10, 60 and 300 seconds in percent, and microseconds since the start. */
export interface Pressure {
  some: PressureLine;
  full?: PressureLine;
}
export interface PressureLine {
  avg10: number;
  avg60: number;
  avg300: number;
  total: number;
}

export interface BlockIoEntry {
  major: number;
  minor: number;
  /** `Read`, `Write`, … as v1 names them, which is what Docker shows there; `read` and `write` on v2. */
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

/** Some 20 files, 0.2 ms. What the host doesn't count is 0. `pid` is any process in the container's network namespace. */
export function readStats(cgroups: CgroupHierarchy, path: string, pid: number): StatsSample {
  const isV2 = cgroups.version === 2;
  const own = isV2 ? cpuV2(`${cgroups.unified}${path}`) : cpuV1(cgroups, path);
  return {
    readAt: realtimeNano(),
    cpu: { ...own, ...hostCpu() },
    memory: isV2 ? memoryV2(`${cgroups.unified}${path}`) : memoryV1(directoryOf(cgroups, "memory", path) ?? ""),
    pids: pidsOf(directoryOf(cgroups, "pids", path) ?? ""),
    blockIo: isV2 ? blockIoV2(`${cgroups.unified}${path}`) : blockIoV1(directoryOf(cgroups, "blkio", path) ?? ""),
    networks: isHostNetwork(pid) ? {} : networkCounters(text(`/proc/${pid}/net/dev`)),
    pressure: cgroups.unified === undefined ? {} : pressureOf(`${cgroups.unified}${path}`),
    cgroups: cgroups.version,
  };
}

function isHostNetwork(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync("/proc/self/ns/net");
  } catch {
    // it has just ended
    return false;
  }
}

/** Also on hybrid hosts: the kernel counts it in the v2 tree, which every runtime fills. */
function pressureOf(directory: string): StatsSample["pressure"] {
  const pressure: StatsSample["pressure"] = {};
  for (const resource of ["cpu", "memory", "io"] as const) {
    const read = parsePressure(text(`${directory}/${resource}.pressure`));
    if (read !== undefined) pressure[resource] = read;
  }
  return pressure;
}

/** Lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and of `full` where that means something. */
export function parsePressure(lines: string): Pressure | undefined {
  const found = new Map<string, PressureLine>();
  for (const [, kind = "", a = "", b = "", c = "", total = ""] of lines.matchAll(/^(some|full) avg10=(\S+) avg60=(\S+) avg300=(\S+) total=(\d+)$/gm)) {
    found.set(kind, { avg10: Number(a), avg60: Number(b), avg300: Number(c), total: Number(total) });
  }
  const [some, full] = [found.get("some"), found.get("full")];
  return some && { some, ...(full && { full }) };
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

/**
 * Docker sums /proc/stat, which comes to the time since boot on every processor, in ticks of 10 ms. The clock says the same to the nanosecond, so that
 * two samples soon after each other give a true rate.
 */
function hostCpu(): Pick<StatsSample["cpu"], "hostTotal" | "online"> {
  const online = countCpus(text("/sys/devices/system/cpu/online"));
  return { hostTotal: Number(monotonicNano()) * online, online };
}

/** `0-3,6`: 5. */
export function countCpus(list: string): number {
  let count = 0;
  for (const [, first, last = first] of list.matchAll(/(\d+)(?:-(\d+))?/g)) count += Number(last) - Number(first) + 1;
  return Math.max(1, count);
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
    failures: pairs(`${directory}/memory.events`)["oom"] ?? 0,
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
export function blockIoEntries(lines: string): BlockIoEntry[] {
  return [...lines.matchAll(/^(\d+):(\d+) (\w+) (\d+)$/gm)].map(([, major, minor, operation = "", value]) => ({
    major: Number(major),
    minor: Number(minor),
    operation,
    value: Number(value),
  }));
}

function blockIoV1(directory: string): StatsSample["blockIo"] {
  const read = (name: string): BlockIoEntry[] => blockIoEntries(text(`${directory}/${name}`));
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
