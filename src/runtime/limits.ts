import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { directoryOf, type CgroupHierarchy } from "../kernel/cgroup.ts";
import { conflict, invalidArgument } from "../lib/errors.ts";
import type { ResourcesSpec, ThrottleSpec } from "../oci/runtime-spec.ts";

/** One value for one file of a cgroup. */
export interface LimitValue {
  file: string;
  value: string;
}

interface Write extends LimitValue {
  /** What stood there before. */
  back: string;
}

type Limits = Omit<ResourcesSpec, "devices">;

/**
 * Sets limits of a living cgroup: what is given, and nothing else. Files are written in an order that the kernel takes, and put back when it refuses one,
 * so that either all or none holds. Not on the main thread: the kernel frees memory within the write that lowers a limit.
 * `note` is given before the first write what `putLimits` needs to put all back.
 * @throws EngineError invalidArgument, conflict where the container uses more than it may have
 */
export async function writeLimits(cgroups: CgroupHierarchy, path: string, limits: Limits, note?: (before: LimitValue[]) => void): Promise<void> {
  const plan = planLimits(cgroups, path, limits);
  note?.(backOf(plan));
  const done: Write[] = [];
  for (const write of plan) {
    try {
      await writeFile(write.file, write.value, { flag: "r+" });
      done.push(write);
    } catch (error) {
      await putLimits(backOf(done));
      throw refusal(error as NodeJS.ErrnoException, write);
    }
  }
}

/** Writes what `writeLimits` noted, as far as the kernel takes it. */
export async function putLimits(values: readonly LimitValue[]): Promise<void> {
  for (const { file, value } of values) await writeFile(file, value, { flag: "r+" }).catch(() => {});
}

function backOf(writes: readonly Write[]): LimitValue[] {
  return writes.toReversed().map(({ file, back }) => ({ file, value: back || "\n" }));
}

/** What `writeLimits` writes, in its order. */
export function planLimits(cgroups: CgroupHierarchy, path: string, limits: Limits): Write[] {
  return cgroups.version === 2 ? planV2(cgroups, path, limits) : planV1(cgroups, path, limits);
}

function refusal(error: NodeJS.ErrnoException, { file, value }: Write): Error {
  const what = `${basename(file)} can't be set to ${JSON.stringify(value)}`;
  if (error.code === "EBUSY") return conflict(`${what}: the container uses more`, error);
  return invalidArgument(`${what}: ${error.code ?? error.message}`, error);
}

function read(file: string): string {
  try {
    return readFileSync(file, "latin1").trim();
  } catch {
    // the write tells
    return "";
  }
}

/** Writes of those values that are given. */
function planOf(entries: [directory: string | undefined, name: string, value: string | number | undefined][]): Write[] {
  return entries.flatMap(([directory, name, value]) =>
    value === undefined ? [] : [{ file: `${directory}/${name}`, value: String(value), back: read(`${directory}/${name}`) }],
  );
}

function planV1(cgroups: CgroupHierarchy, path: string, { memory = {}, cpu = {}, pids, blockIO = {} }: Limits): Write[] {
  const of = (controller: string): string | undefined => directoryOf(cgroups, controller, path);
  const limit = planOf([[of("memory"), "memory.limit_in_bytes", memory.limit]]);
  const swap = planOf([[of("memory"), "memory.memsw.limit_in_bytes", memory.swap]]);
  // memory alone is never more than memory and swap together, at no moment
  const isRaised = (memory.limit ?? 0) > Number(swap[0]?.back ?? 0);
  const period = planOf([[of("cpu"), "cpu.rt_period_us", cpu.realtimePeriod]]);
  const runtime = planOf([[of("cpu"), "cpu.rt_runtime_us", cpu.realtimeRuntime]]);
  // nor is the runtime ever longer than its period
  const isShortened = (cpu.realtimeRuntime ?? 0) < Number(runtime[0]?.back ?? 0);
  return [
    ...(isRaised ? [...swap, ...limit] : [...limit, ...swap]),
    ...planOf([
      [of("memory"), "memory.soft_limit_in_bytes", memory.reservation],
      [of("cpu"), "cpu.shares", cpu.shares],
      [of("cpu"), "cpu.cfs_period_us", cpu.period],
      [of("cpu"), "cpu.cfs_quota_us", cpu.quota],
    ]),
    ...(isShortened ? [...runtime, ...period] : [...period, ...runtime]),
    ...planOf([
      [of("cpuset"), "cpuset.cpus", cpu.cpus],
      [of("cpuset"), "cpuset.mems", cpu.mems],
      [of("pids"), "pids.max", maxOr(pids?.limit)],
      [of("blkio"), weightFile(of("blkio"), "blkio.weight", "blkio.bfq.weight"), blockIO.weight],
    ]),
    ...deviceWeights(`${of("blkio")}/${weightFile(of("blkio"), "blkio.weight_device", "blkio.bfq.weight_device")}`, blockIO.weightDevice),
    ...throttlesV1(`${of("blkio")}/blkio.throttle.read_bps_device`, blockIO.throttleReadBpsDevice),
    ...throttlesV1(`${of("blkio")}/blkio.throttle.write_bps_device`, blockIO.throttleWriteBpsDevice),
    ...throttlesV1(`${of("blkio")}/blkio.throttle.read_iops_device`, blockIO.throttleReadIOPSDevice),
    ...throttlesV1(`${of("blkio")}/blkio.throttle.write_iops_device`, blockIO.throttleWriteIOPSDevice),
  ];
}

function planV2(cgroups: CgroupHierarchy, path: string, { memory = {}, cpu = {}, pids, blockIO = {} }: Limits): Write[] {
  const directory = `${cgroups.unified}${path}`;
  const weight = weightFile(directory, "io.bfq.weight", "io.weight");
  return [
    ...planOf([
      [directory, "memory.max", maxOr(memory.limit)],
      [directory, "memory.swap.max", swapV2(memory)],
      [directory, "memory.low", memory.reservation],
      [directory, "cpu.weight", cpu.shares === undefined ? undefined : weightOfShares(cpu.shares)],
      [directory, "cpu.max", cpuMax(cpu, read(`${directory}/cpu.max`))],
      [directory, "cpuset.cpus", cpu.cpus],
      [directory, "cpuset.mems", cpu.mems],
      [directory, "pids.max", maxOr(pids?.limit)],
      [directory, weight, weight === "io.weight" ? scaledWeight(blockIO.weight) : blockIO.weight],
    ]),
    ...deviceWeights(`${directory}/${weight}`, blockIO.weightDevice),
    ...throttlesV2(`${directory}/io.max`, "rbps", blockIO.throttleReadBpsDevice),
    ...throttlesV2(`${directory}/io.max`, "wbps", blockIO.throttleWriteBpsDevice),
    ...throttlesV2(`${directory}/io.max`, "riops", blockIO.throttleReadIOPSDevice),
    ...throttlesV2(`${directory}/io.max`, "wiops", blockIO.throttleWriteIOPSDevice),
  ];
}

const maxOr = (value: number | undefined): number | string | undefined => (value === undefined || value >= 0 ? value : "max");

/** v2 counts swap alone, the runtime spec memory and swap together. */
function swapV2({ limit = 0, swap }: NonNullable<Limits["memory"]>): number | string | undefined {
  return swap === undefined || swap < 0 ? maxOr(swap) : Math.max(0, swap - limit);
}

/** 2…262144 to 1…10000, as crun and runc convert (kernel's cgroup-v2.rst has the defaults 1024 and 100). */
export function weightOfShares(shares: number): number {
  return Math.min(10_000, Math.max(1, Math.floor(1 + ((shares - 2) * 9999) / 262_142)));
}

/** io.weight has 1…10000 where the runtime spec has 10…1000. */
function scaledWeight(weight: number | undefined): number | undefined {
  return weight === undefined ? undefined : Math.floor(1 + ((weight - 10) * 9999) / 990);
}

/** `max 100000`, with the half that isn't given as it stands. */
function cpuMax({ quota, period }: NonNullable<Limits["cpu"]>, before: string): string | undefined {
  if (quota === undefined && period === undefined) return undefined;
  const [oldQuota = "max", oldPeriod = "100000"] = before.split(" ");
  return `${quota === undefined ? oldQuota : maxOr(quota)} ${period ?? oldPeriod}`;
}

/** BFQ brought names of its own. */
function weightFile(directory: string | undefined, first: string, second: string): string {
  return existsSync(`${directory}/${first}`) ? first : second;
}

/** Weight 0 takes a device's own weight away. */
function deviceWeights(file: string, list: NonNullable<Limits["blockIO"]>["weightDevice"] = []): Write[] {
  const none = file.includes("bfq") || file.endsWith("/io.weight") ? "default" : "0";
  return list.map(({ major, minor, weight }) => {
    const device = `${major}:${minor}`;
    const old = lineOf(file, device);
    return { file, value: `${device} ${weight === 0 ? none : weight}`, back: old ?? `${device} ${none}` };
  });
}

/** Rate 0 takes a limit away. */
function throttlesV1(file: string, list: ThrottleSpec[] = []): Write[] {
  return list.map(({ major, minor, rate }) => {
    const device = `${major}:${minor}`;
    return { file, value: `${device} ${rate}`, back: lineOf(file, device) ?? `${device} 0` };
  });
}

function throttlesV2(file: string, key: string, list: ThrottleSpec[] = []): Write[] {
  return list.map(({ major, minor, rate }) => {
    const device = `${major}:${minor}`;
    const old = new RegExp(`\\b${key}=(\\w+)`).exec(lineOf(file, device) ?? "")?.[1];
    return { file, value: `${device} ${key}=${rate === 0 ? "max" : rate}`, back: `${device} ${key}=${old ?? "max"}` };
  });
}

/** A file's line about a device. */
function lineOf(file: string, device: string): string | undefined {
  return read(file)
    .split("\n")
    .find((line) => line.startsWith(`${device} `));
}
