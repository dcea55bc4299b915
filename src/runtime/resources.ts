import { readdirSync, statSync } from "node:fs";
import { invalidArgument } from "../lib/errors.ts";
import type { HostConfig, ThrottleDevice } from "../oci/container.ts";
import { NO_SWAP_LIMIT } from "./support.ts";
import type { DeviceRule, DeviceSpec, ResourcesSpec, ThrottleSpec } from "../oci/runtime-spec.ts";

const CPU_PERIOD = 100_000;
const NANO_CPU = 1e9;

/** Docker's: nothing but null, zero, full, random, urandom, tty and console; explicitly no fuse. Source: moby, oci/defaults.go. */
const defaultRules: readonly DeviceRule[] = [
  { allow: false, access: "rwm" },
  ...[
    [1, 5],
    [1, 3],
    [1, 9],
    [1, 8],
    [5, 0],
    [5, 1],
  ].map(([major, minor]): DeviceRule => ({ allow: true, type: "c", major: major!, minor: minor!, access: "rwm" })),
  { allow: false, type: "c", major: 10, minor: 229, access: "rwm" },
];

/** Limits of HostConfig as the runtime spec has them, in Docker's units and with Docker's defaults. @throws EngineError invalidArgument */
export function buildResources(host: HostConfig, deviceRules: readonly DeviceRule[]): ResourcesSpec {
  return {
    devices: [...deviceRules],
    ...section("memory", memoryOf(host)),
    ...section("cpu", cpuOf(host)),
    ...(host.PidsLimit ? { pids: { limit: host.PidsLimit < 0 ? -1 : host.PidsLimit } } : {}),
    ...section("blockIO", blockIoOf(host)),
  };
}

/** `{ [name]: value }` without undefined members, or nothing where no member is left. */
function section<K extends string, V extends object>(name: K, value: V): Partial<Record<K, V>> {
  const present = Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined));
  return Object.keys(present).length === 0 ? {} : ({ [name]: present } as Record<K, V>);
}

/** Docker's limit of memory and swap together, in bytes, where none is given: twice the memory's, or none where that is no number of 64 bits. */
export function defaultSwap(memory: number): number {
  return memory < 2 ** 62 ? memory * 2 : -1;
}

function memoryOf(host: HostConfig): NonNullable<ResourcesSpec["memory"]> {
  const limit = host.Memory && host.Memory > 0 ? host.Memory : undefined;
  const wanted = host.MemorySwap ? host.MemorySwap : limit === undefined ? undefined : defaultSwap(limit);
  // less than -1 is "unlimited", too, to Docker, but not to the kernel
  const swap = wanted === NO_SWAP_LIMIT || wanted === undefined ? undefined : Math.max(wanted, -1);
  const swappiness = host.MemorySwappiness;
  return {
    limit,
    reservation: (host.MemoryReservation ?? 0) > 0 ? host.MemoryReservation : undefined,
    swap,
    swappiness: swappiness == null || swappiness < 0 ? undefined : swappiness,
    disableOOMKiller: host.OomKillDisable === true ? true : undefined,
  };
}

function cpuOf(host: HostConfig): NonNullable<ResourcesSpec["cpu"]> {
  const byCpus = host.NanoCpus && host.NanoCpus > 0 ? { period: CPU_PERIOD, quota: Math.round((host.NanoCpus * CPU_PERIOD) / NANO_CPU) } : undefined;
  return {
    shares: host.CpuShares || undefined,
    period: byCpus?.period ?? (host.CpuPeriod || undefined),
    quota: byCpus?.quota ?? (host.CpuQuota ? Math.max(host.CpuQuota, -1) : undefined),
    realtimePeriod: host.CpuRealtimePeriod || undefined,
    realtimeRuntime: host.CpuRealtimeRuntime || undefined,
    cpus: host.CpusetCpus || undefined,
    mems: host.CpusetMems || undefined,
  };
}

function blockIoOf(host: HostConfig): NonNullable<ResourcesSpec["blockIO"]> {
  const throttle = (list: ThrottleDevice[] | null | undefined): ThrottleSpec[] | undefined =>
    list?.length ? list.map(({ Path, Rate }) => ({ ...numbersOf(Path), rate: Rate })) : undefined;
  return {
    weight: host.BlkioWeight || undefined,
    weightDevice: host.BlkioWeightDevice?.length ? host.BlkioWeightDevice.map(({ Path, Weight }) => ({ ...numbersOf(Path), weight: Weight })) : undefined,
    throttleReadBpsDevice: throttle(host.BlkioDeviceReadBps),
    throttleWriteBpsDevice: throttle(host.BlkioDeviceWriteBps),
    throttleReadIOPSDevice: throttle(host.BlkioDeviceReadIOps),
    throttleWriteIOPSDevice: throttle(host.BlkioDeviceWriteIOps),
  };
}

function numbersOf(path: string): { major: number; minor: number } {
  let rdev: number;
  try {
    rdev = statSync(path).rdev;
  } catch (error) {
    throw invalidArgument(`no such device: ${path}`, error);
  }
  return { major: majorOf(rdev), minor: minorOf(rdev) };
}

/** The two halves of a Linux dev_t. */
export function majorOf(rdev: number): number {
  const value = BigInt(rdev);
  return Number(((value >> 8n) & 0xfffn) | ((value >> 32n) & 0xfffff000n));
}
export function minorOf(rdev: number): number {
  const value = BigInt(rdev);
  return Number((value & 0xffn) | ((value >> 12n) & 0xffffff00n));
}

/** Device nodes to make, and the rules of the devices group. @throws EngineError invalidArgument */
export function buildDevices(host: HostConfig): { devices: DeviceSpec[]; rules: DeviceRule[] } {
  if (host.Privileged === true) {
    // the host's devices are there under their own names
    const renamed = (host.Devices ?? []).filter(({ PathOnHost, PathInContainer }) => PathInContainer && PathInContainer !== PathOnHost);
    const more = renamed.flatMap(({ PathOnHost = "", PathInContainer = "" }) => devicesAt(PathOnHost, PathInContainer));
    return { devices: [...hostDevices(), ...more], rules: [{ allow: true, access: "rwm" }] };
  }
  const devices: DeviceSpec[] = [];
  const rules: DeviceRule[] = [...defaultRules];
  for (const mapping of host.Devices ?? []) {
    const source = mapping.PathOnHost ?? "";
    const access = mapping.CgroupPermissions || "rwm";
    if (!/^[rwm]{1,3}$/.test(access)) throw invalidArgument(`invalid device mode: ${access}`);
    for (const device of devicesAt(source, mapping.PathInContainer || source)) {
      devices.push(device);
      if (device.type !== "p") rules.push({ allow: true, type: device.type, major: device.major!, minor: device.minor!, access });
    }
  }
  for (const rule of host.DeviceCgroupRules ?? []) rules.push(parseRule(rule));
  return { devices, rules };
}

function parseRule(text: string): DeviceRule {
  const match = /^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$/.exec(text);
  if (match === null) throw invalidArgument(`invalid device cgroup rule format: '${text}'`);
  const [, type, major, minor, access] = match;
  return {
    allow: true,
    type: type as "a" | "b" | "c",
    ...(major !== "*" && { major: Number(major) }),
    ...(minor !== "*" && { minor: Number(minor) }),
    access: access!,
  };
}

/** The device at `source`, or all devices below it where it is a directory. */
function devicesAt(source: string, destination: string): DeviceSpec[] {
  let found: DeviceSpec | "directory" | undefined;
  try {
    found = describe(source, destination);
  } catch (error) {
    throw invalidArgument(`error gathering device information while adding custom device ${JSON.stringify(source)}: no such file or directory`, error);
  }
  if (found === "directory") return listDevices(source, destination);
  if (found === undefined) throw invalidArgument(`error gathering device information while adding custom device ${JSON.stringify(source)}: not a device node`);
  return [found];
}

function describe(source: string, destination: string): DeviceSpec | "directory" | undefined {
  const stat = statSync(source);
  if (stat.isDirectory()) return "directory";
  const type = stat.isCharacterDevice() ? "c" : stat.isBlockDevice() ? "b" : undefined;
  if (type === undefined) return undefined;
  return { type, path: destination, major: majorOf(stat.rdev), minor: minorOf(stat.rdev), fileMode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
}

function listDevices(source: string, destination: string): DeviceSpec[] {
  const devices: DeviceSpec[] = [];
  for (const entry of readdirSync(source, { withFileTypes: true })) {
    const [from, to] = [`${source}/${entry.name}`, `${destination}/${entry.name}`];
    if (entry.isDirectory()) {
      if (!skipped.has(from)) devices.push(...listDevices(from, to));
    } else if (entry.isCharacterDevice() || entry.isBlockDevice()) {
      const device = describe(from, to);
      if (device !== undefined && device !== "directory" && from !== "/dev/console") devices.push(device);
    }
  }
  return devices;
}

/** Privileged containers see the host's devices, but have their own pts, shm and mqueue. Source: moby, oci/devices_linux.go and runc's HostDevices. */
const skipped = new Set(["/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.lxc", "/dev/.lxd-mounts", "/dev/.udev"]);
const made = new Set(["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx"]);

function hostDevices(): DeviceSpec[] {
  return listDevices("/dev", "/dev").filter((device) => !made.has(device.path));
}
