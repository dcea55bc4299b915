import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { availableParallelism } from "node:os";
import { isAbsolute, normalize } from "node:path";
import { conflict, invalidArgument, notFound } from "../lib/errors.ts";
import { parseBytes } from "../lib/bytes.ts";
import { parseSignal } from "../lib/signals.ts";
import { defaultReadonlyPaths } from "../oci/default-paths.ts";
import { checkLogOptions } from "../logs/options.ts";
import { maskedPathsOfHost } from "../runtime/masked-paths.ts";
import { defaultSwap } from "../runtime/resources.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import { mountRequests, parseVolumesFrom } from "./binds.ts";
import { healthProbe } from "./health-probe.ts";
import { parseLink } from "./links.ts";
import { normalisePortBindings, normalisePorts } from "./ports.ts";

/** Room for the runtime itself while it starts; the text is Docker's. */
const minimumMemory = 6 * 1024 * 1024;
const minimumHealthInterval = 1_000_000;

/** What the daemon's own options give containers that say nothing. */
export interface CreateDefaults {
  logDriver: string;
  logOpts: Record<string, string>;
  ulimits: { Name: string; Soft: number; Hard: number }[];
  init: boolean;
  /** Undefined: `private` on a v2 host, `host` on v1. */
  cgroupnsMode?: "private" | "host";
  runtime?: string;
  /** Bytes; 64 MiB unless told. */
  shmSize?: number;
  /** `private` unless told. */
  ipcMode?: "private" | "shareable";
  /** Security options that stand before a container's own. */
  securityOpts?: readonly string[];
  /** Seconds; 10 unless told. */
  stopTimeout?: number;
  /** Bytes of a container's own layer; 0: no limit. */
  storageSize?: number;
  /** What `host-gateway` means in ExtraHosts; none: the gateway of the container's network. */
  hostGatewayIps?: readonly string[];
}

const bad = invalidArgument;

/** Checks what the client said of the process. Returns it with ports and paths in normal form. @throws EngineError invalidArgument */
export function checkConfig(config: ContainerConfig): ContainerConfig {
  const result = { ...config };
  if (config.WorkingDir) {
    if (!isAbsolute(config.WorkingDir)) throw bad(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
    result.WorkingDir = normalize(config.WorkingDir).replace(/(.)\/+$/, "$1");
  }
  for (const variable of config.Env ?? []) {
    if (variable === "" || variable.startsWith("=")) throw bad(`invalid environment variable: ${variable}`);
    if (variable.includes("\0")) throw bad(`invalid environment variable: ${JSON.stringify(variable)} holds a NUL byte`);
  }
  for (const list of [config.Cmd, config.Entrypoint]) {
    for (const word of list ?? []) if (typeof word !== "string" || word.includes("\0")) throw bad(`invalid argument ${JSON.stringify(word)} in the command`);
  }
  if (config.Hostname !== undefined && (config.Hostname.length > 64 || /[\0\s/]/.test(config.Hostname)))
    throw bad(`invalid hostname format: ${config.Hostname}`);
  if (config.Domainname !== undefined && /[\0\s/]/.test(config.Domainname)) throw bad(`invalid domainname format: ${config.Domainname}`);
  if (config.StopSignal) parseSignal(config.StopSignal);
  if (config.ExposedPorts) result.ExposedPorts = normalisePorts(config.ExposedPorts);
  checkHealth(config);
  healthProbe(config);
  return result;
}

function checkHealth({ Healthcheck: health }: ContainerConfig): void {
  if (!health) return;
  for (const key of ["Interval", "Timeout", "StartPeriod", "StartInterval"] as const) {
    const value = health[key] ?? 0;
    if (value !== 0 && value < minimumHealthInterval) throw bad(`${key} in Healthcheck cannot be less than 1ms`);
  }
  if ((health.Retries ?? 0) < 0) throw bad("Retries in Healthcheck cannot be negative");
}

/** Resource limits, for create and for update. @throws EngineError invalidArgument */
export function checkResources(host: HostConfig, options: { update?: boolean } = {}): void {
  const { Memory: memory = 0, MemorySwap: swap = 0, MemoryReservation: reservation = 0 } = host;
  if (memory !== 0 && memory < minimumMemory) throw bad("Minimum memory limit allowed is 6MB");
  if (memory > 0 && swap > 0 && swap < memory) throw bad("Minimum memoryswap limit should be larger than memory limit, see usage");
  if (memory === 0 && swap > 0 && options.update !== true) throw bad("You should always set the Memory limit when using Memoryswap limit, see usage");
  if (reservation > 0 && reservation < minimumMemory) throw bad("Minimum memory reservation allowed is 6MB");
  if (memory > 0 && reservation > memory) throw bad("Minimum memory limit can not be less than memory reservation limit, see usage");
  const swappiness = host.MemorySwappiness;
  if (swappiness !== undefined && swappiness !== null && swappiness !== -1 && (swappiness < 0 || swappiness > 100)) {
    throw bad(`Invalid value: ${swappiness}, valid memory swappiness range is 0-100`);
  }
  const { NanoCpus: nano = 0, CpuPeriod: period = 0, CpuQuota: quota = 0 } = host;
  if (nano > 0 && period > 0) throw bad("Conflicting options: Nano CPUs and CPU Period cannot both be set");
  if (nano > 0 && quota > 0) throw bad("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
  const cpus = availableParallelism();
  if (nano < 0 || nano > cpus * 1e9) throw bad(`Range of CPUs is from 0.01 to ${cpus}.00, as there are only ${cpus} CPUs available`);
  if (period !== 0 && (period < 1000 || period > 1_000_000)) throw bad("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
  if (quota > 0 && quota < 1000) throw bad("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  if ((host.CpuShares ?? 0) < 0) throw bad("invalid CPU shares (-1): value must be a positive integer".replace("-1", String(host.CpuShares)));
  checkCpuset(host.CpusetCpus, "cpus", cpus);
  if (host.CpusetMems) checkCpuset(host.CpusetMems, "mems", memoryNodes());
  checkRates(host);
  const weight = host.BlkioWeight ?? 0;
  if (weight !== 0 && (weight < 10 || weight > 1000)) throw bad("Range of blkio weight is from 10 to 1000");
  if (host.IOMaximumBandwidth) throw bad("invalid option: QoS maximum bandwidth configuration is not supported on linux");
  if (host.IOMaximumIOps) throw bad("invalid option: QoS maximum IOPs configuration is not supported on linux");
  const { CpuRealtimePeriod: realtimePeriod = 0, CpuRealtimeRuntime: realtimeRuntime = 0 } = host;
  if (realtimePeriod !== 0 && realtimeRuntime > realtimePeriod) throw bad("cpu real-time runtime cannot be higher than cpu real-time period");
}

function checkCpuset(text: string | undefined, what: "cpus" | "mems", available?: number): void {
  if (!text) return;
  const ranges = text.split(",").map((part) => /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part.trim()));
  if (ranges.some((range) => range === null || Number(range[2] ?? range[1]) < Number(range[1]))) {
    throw bad(`Invalid value ${text} for cpuset ${what}: failed to parse ${what}`);
  }
  const highest = Math.max(...ranges.map((range) => Number(range?.[2] ?? range?.[1])));
  if (available === undefined || highest < available) return;
  const kind = what === "cpus" ? "CPUs" : "memory nodes";
  throw bad(`Requested ${kind} are not available - requested ${text}, available: ${available > 1 ? `0-${available - 1}` : "0"}`);
}

/** How many nodes of memory the host has; undefined where its kernel doesn't tell. */
function memoryNodes(): number | undefined {
  try {
    const highest = /(\d+)\s*$/.exec(readFileSync("/sys/devices/system/node/online", "latin1"))?.[1];
    return highest === undefined ? undefined : Number(highest) + 1;
  } catch {
    return undefined;
  }
}

function checkRates(host: Partial<HostConfig>): void {
  for (const list of [host.BlkioDeviceReadBps, host.BlkioDeviceWriteBps, host.BlkioDeviceReadIOps, host.BlkioDeviceWriteIOps]) {
    for (const { Path, Rate } of list ?? []) if (Rate < 0) throw bad(`invalid rate ${Rate} of device ${Path}: it must not be negative`);
  }
}

function checkNamespaces(config: ContainerConfig, host: HostConfig): void {
  const mode = host.NetworkMode ?? "";
  const shared = mode.startsWith("container:");
  if (shared && mode === "container:") throw bad("Invalid network mode: invalid container format container:<name|id>");
  if (shared || mode === "host") {
    if (config.Hostname && shared) throw bad("conflicting options: hostname and the network mode");
    if ((host.Links ?? []).length > 0)
      throw bad(
        `conflicting options: ${mode === "host" ? "host type networking can't be used with links. This would result in undefined behavior" : "container type network can't be used with links. This would result in undefined behavior"}`,
      );
    if (shared && (host.Dns ?? []).length > 0) throw bad("conflicting options: dns and the network mode");
    if (shared && (host.ExtraHosts ?? []).length > 0) throw bad("conflicting options: custom host-to-IP mapping and the network mode");
  }
  if (shared && (Object.keys(host.PortBindings ?? {}).length > 0 || host.PublishAllPorts))
    throw bad("conflicting options: port publishing and the container type network mode");
  if (shared && Object.keys(config.ExposedPorts ?? {}).length > 0) throw bad("conflicting options: port exposing and the container type network mode");
  const ipc = host.IpcMode ?? "";
  if (!["", "private", "shareable", "host", "none"].includes(ipc) && !/^container:.+/.test(ipc)) throw bad(`invalid IPC mode: ${ipc}`);
  const pid = host.PidMode ?? "";
  if (!["", "host"].includes(pid) && !/^container:.+/.test(pid)) throw bad(`invalid PID mode: ${pid}`);
  if (!["", "host"].includes(host.UTSMode ?? "")) throw bad(`invalid UTS mode: ${host.UTSMode}`);
  if ((host.UTSMode ?? "") === "host" && config.Hostname) throw bad("conflicting options: hostname and the UTS mode");
  if (!["", "host", "private"].includes(host.UsernsMode ?? "")) throw bad(`invalid user namespace mode: ${host.UsernsMode}`);
  if (!["", "private", "host"].includes(host.CgroupnsMode ?? "")) throw bad(`invalid cgroup namespace mode: ${host.CgroupnsMode}`);
  if (!["", "default"].includes(host.Isolation ?? "")) throw bad(`invalid isolation '${host.Isolation}' - linux only supports 'default'`);
}

/** @throws EngineError invalidArgument */
export function checkRestartPolicy({ RestartPolicy: policy, AutoRemove }: HostConfig): void {
  const name = policy?.Name ?? "";
  const retries = policy?.MaximumRetryCount ?? 0;
  // on-unhealthy is Berth's own
  if (!["", "no", "always", "unless-stopped", "on-failure", "on-unhealthy"].includes(name))
    throw bad(`invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`);
  if (name === "on-failure" || name === "on-unhealthy") {
    if (retries < 0) throw bad("invalid restart policy: maximum retry count cannot be negative");
  } else if (retries !== 0) {
    throw bad(`invalid restart policy: maximum retry count can only be used with 'on-failure'${retries < 0 ? " and cannot be negative" : ""}`);
  }
  if (AutoRemove === true && name !== "" && name !== "no") throw bad("can't create 'AutoRemove' container with restart policy");
}

/** The log driver's name and options, checked. @throws EngineError invalidArgument */
export function checkLogConfig(
  log: { Type?: string; Config?: Record<string, string> | null } | undefined,
  defaults: Pick<CreateDefaults, "logDriver" | "logOpts">,
): { Type: string; Config: Record<string, string> } {
  const type = log?.Type || defaults.logDriver;
  const inherited = Object.entries(defaults.logOpts).filter(([key]) => type === defaults.logDriver || key.startsWith("cache-"));
  const options = { ...Object.fromEntries(inherited), ...log?.Config };
  checkLogOptions(type, options);
  return { Type: type, Config: options };
}

/** Bytes that the container's own files may take; undefined: as many as there are. @throws EngineError invalidArgument */
export function storageLimit({ StorageOpt }: HostConfig): number | undefined {
  for (const key of Object.keys(StorageOpt ?? {}))
    if (key.toLowerCase() !== "size") throw bad(`unknown storage option ${JSON.stringify(key)}: there is only size`);
  const [size] = Object.values(StorageOpt ?? {});
  if (size === undefined) return undefined;
  const bytes = parseBytes(size);
  if (bytes === undefined || bytes <= 0) throw bad(`invalid size: '${size}'`);
  return bytes;
}

/** All of a HostConfig. Returns it with Docker's defaults where Docker fills them. @throws EngineError invalidArgument */
export function checkHostConfig(config: ContainerConfig, host: HostConfig, defaults: CreateDefaults): { host: HostConfig; warnings: string[] } {
  const warnings: string[] = [];
  checkResources(host);
  checkNamespaces(config, host);
  checkRestartPolicy(host);
  if ((host.ShmSize ?? 0) < 0) throw bad("SHM size can not be less than 0");
  const adjust = host.OomScoreAdj ?? 0;
  if (adjust < -1000 || adjust > 1000) throw bad(`Invalid value ${adjust}, range for oom score adj is [-1000, 1000]`);
  mountRequests(host);
  (host.VolumesFrom ?? []).forEach(parseVolumesFrom);
  (host.Links ?? []).forEach(parseLink);
  checkNames(host);
  for (const [key, value] of Object.entries(host.Annotations ?? {}))
    if (key === "" || typeof value !== "string") throw bad("invalid Annotations: the empty string is not permitted as an annotation key");
  const portBindings = normalisePortBindings(host.PortBindings ?? {});
  const networkMode = host.NetworkMode === undefined || host.NetworkMode === "" || host.NetworkMode === "default" ? "bridge" : host.NetworkMode;
  if (networkMode === "host" && Object.keys(portBindings).length > 0) warnings.push("Published ports are discarded when using host network mode");
  if (host.OomKillDisable === true && !host.Memory)
    warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.");
  return {
    warnings,
    host: {
      ...host,
      Binds: host.Binds ?? null,
      LogConfig: checkLogConfig(host.LogConfig, defaults),
      NetworkMode: networkMode,
      PortBindings: portBindings,
      RestartPolicy: { Name: host.RestartPolicy?.Name || "no", MaximumRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0 },
      MemorySwap: (host.Memory ?? 0) > 0 && !host.MemorySwap ? defaultSwap(host.Memory as number) : host.MemorySwap,
      MemorySwappiness: host.MemorySwappiness === -1 ? null : host.MemorySwappiness,
      ShmSize: host.ShmSize || (defaults.shmSize ?? 64 << 20),
      IpcMode: host.IpcMode || (defaults.ipcMode ?? "private"),
      CgroupnsMode: host.CgroupnsMode || (defaults.cgroupnsMode ?? "private"),
      Runtime: host.Runtime || defaults.runtime || "crun",
      OomKillDisable: host.OomKillDisable ?? false,
      Ulimits: mergeUlimits(host.Ulimits, defaults.ulimits),
      MaskedPaths: host.MaskedPaths ?? (host.Privileged === true ? null : unconfinedPaths(host) ? [] : maskedPathsOfHost()),
      ReadonlyPaths: host.ReadonlyPaths ?? (host.Privileged === true ? null : unconfinedPaths(host) ? [] : [...defaultReadonlyPaths]),
      SecurityOpt: securityOptions(host),
      ...(defaults.storageSize && storageLimit(host) === undefined ? { StorageOpt: { size: String(defaults.storageSize) } } : {}),
    },
  };
}

/** What is written into /etc/hosts and /etc/resolv.conf: none may add lines of its own. */
function checkNames(host: HostConfig): void {
  for (const entry of host.ExtraHosts ?? []) {
    const address = /^[^:=\s]+[:=](.+)$/s.exec(entry)?.[1]?.replace(/^\[(.*)\]$/, "$1") ?? "";
    if (address !== "host-gateway" && isIP(address) === 0) throw bad(`invalid IP address in add-host: ${JSON.stringify(entry)}`);
  }
  for (const entry of host.Dns ?? []) if (isIP(entry) === 0) throw bad(`invalid IP address: ${entry}`);
  for (const key of ["DnsSearch", "DnsOptions"] as const)
    for (const entry of host[key] ?? []) if (/[\0\r\n]/.test(entry)) throw bad(`invalid ${key}: ${JSON.stringify(entry)} is more than one line`);
}

const unconfinedPaths = (host: HostConfig): boolean => (host.SecurityOpt ?? []).includes("systempaths=unconfined");

/** As Docker keeps them: unconfined paths stand in MaskedPaths, and who shares so much with the host gets no SELinux label, whether there is SELinux or not. */
function securityOptions(host: HostConfig): string[] | null | undefined {
  const kept = unconfinedPaths(host) ? (host.SecurityOpt as string[]).filter((option) => option !== "systempaths=unconfined") : host.SecurityOpt;
  const isLabelled = (kept ?? []).some((option) => option.startsWith("label="));
  if (isLabelled || !(host.Privileged === true || host.IpcMode === "host" || host.PidMode === "host")) return kept;
  return [...(kept ?? []), "label=disable"];
}

function mergeUlimits(asked: HostConfig["Ulimits"], defaults: CreateDefaults["ulimits"]): HostConfig["Ulimits"] {
  for (const { Name, Soft, Hard } of asked ?? []) {
    if (!/^[a-z]+$/.test(Name)) throw bad(`invalid ulimit type: ${Name}`);
    if (Hard !== -1 && (Soft === -1 || Soft > Hard)) throw bad(`ulimit soft limit must be less than or equal to hard limit: ${Soft} > ${Hard}`);
  }
  if (defaults.length === 0) return asked ?? [];
  const named = new Set((asked ?? []).map((limit) => limit.Name));
  return [...(asked ?? []), ...defaults.filter((limit) => !named.has(limit.Name))];
}

/** Whom a mode `container:x` names; undefined for other modes. */
export function partnerNamed(mode = ""): string | undefined {
  return mode.startsWith("container:") ? mode.slice("container:".length) : undefined;
}

/** `container:name` becomes `container:<full id>`, so that a later rename doesn't matter. */
export function pinNamespaces(host: HostConfig, idOf: Record<"network" | "other", (reference: string) => string>): HostConfig {
  const pin = (mode: string | undefined, which: "network" | "other"): string | undefined => {
    const partner = partnerNamed(mode);
    return partner === undefined ? mode : `container:${idOf[which](partner)}`;
  };
  return { ...host, NetworkMode: pin(host.NetworkMode, "network"), IpcMode: pin(host.IpcMode, "other"), PidMode: pin(host.PidMode, "other") };
}

export const nameConflict = (name: string, id: string): Error =>
  conflict(
    `Conflict. The container name "/${name}" is already in use by container "${id}". You have to remove (or rename) that container to be able to reuse that name.`,
  );

export const noSuchContainer = (reference: string): Error => notFound(`No such container: ${reference}`);
