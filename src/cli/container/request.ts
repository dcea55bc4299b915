import type { ContainerCreateRequest } from "../../client/types.ts";
import type { ContainerConfig, DeviceRequest, EndpointSettings, HostConfig, NetworkingConfig } from "../../oci/container.ts";
import type { ConfigFile } from "../config.ts";
import { CliError } from "../errors.ts";
import type { FlagValues } from "../flags.ts";
import { keyValues, readEnvironment, readLabels } from "../parse/env.ts";
import { parseDevice, parseGpus, parseRestart, parseThrottle, parseUlimit, parseWeightDevice } from "../parse/limits.ts";
import { parseMount, parseTmpfs, parseVolumes } from "../parse/mounts.ts";
import { parseExtraHost, parseNetwork } from "../parse/networks.ts";
import { parseExpose, parsePublish } from "../parse/ports.ts";
import type { containerFlags, resourceFlags } from "./flags.ts";

export type ContainerFlagValues = FlagValues<typeof containerFlags>;

export interface RequestInput {
  flags: ContainerFlagValues;
  given: (name: keyof ContainerFlagValues & string) => boolean;
  image: string;
  command: string[];
  env: Record<string, string | undefined>;
  config: ConfigFile;
  /** Of the terminal the container starts on. */
  windowSize?: { rows: number; columns: number };
}

/**
 * The body of `POST /containers/create` for the flags of create and run. Reads the files the flags name. Unset flags leave their field out, so
 * that the engine's own defaults hold. @throws CliError for a value that can't be read
 */
export async function createRequest(input: RequestInput): Promise<ContainerCreateRequest> {
  const { flags } = input;
  const ports = parsePublish(flags.publish);
  const volumes = parseVolumes(flags.volume);
  const config = await containerConfig(input, { ...ports.exposed, ...parseExpose(flags.expose) }, volumes.anonymous);
  const host: HostConfig = {
    ...resources(flags, input.given),
    ...(await security(flags)),
    ...devices(flags),
    ...addressing(flags),
    Binds: volumes.binds,
    PortBindings: ports.bindings,
    PublishAllPorts: flags["publish-all"],
    AutoRemove: flags.rm,
    RestartPolicy: parseRestart(flags.restart),
    LogConfig: logConfig(flags),
    Mounts: flags.mount.map(parseMount),
    Tmpfs: parseTmpfs(flags.tmpfs),
    VolumesFrom: flags["volumes-from"],
    VolumeDriver: flags["volume-driver"],
    ContainerIDFile: flags.cidfile,
    ReadonlyRootfs: flags["read-only"],
    IpcMode: flags.ipc,
    PidMode: flags.pid,
    UTSMode: flags.uts,
    UsernsMode: flags.userns,
    CgroupnsMode: flags.cgroupns as HostConfig["CgroupnsMode"],
    CgroupParent: flags["cgroup-parent"],
    GroupAdd: flags["group-add"],
    Runtime: flags.runtime,
    Isolation: flags.isolation,
    ShmSize: flags["shm-size"],
    Sysctls: flags.sysctl,
    Annotations: flags.annotation,
    StorageOpt: keyValues(flags["storage-opt"]),
    ...(input.given("init") ? { Init: flags.init } : {}),
    ...(flags.tty && input.windowSize !== undefined ? { ConsoleSize: [input.windowSize.rows, input.windowSize.columns] as [number, number] } : {}),
  };
  if (flags.rm && !["", "no"].includes(flags.restart)) throw new CliError("conflicting options: cannot specify both --restart and --rm");
  const networking = networks(flags, host);
  return { ...config, HostConfig: host, NetworkingConfig: networking };
}

async function containerConfig(
  { flags, given, image, command, env, config }: RequestInput,
  exposed: Record<string, object>,
  anonymous: Record<string, object>,
): Promise<ContainerConfig> {
  const attach = attachments(flags);
  const environment = await readEnvironment(flags["env-file"], flags.env, env);
  return {
    Image: image,
    Cmd: command.length === 0 ? null : command,
    Entrypoint: given("entrypoint") ? [flags.entrypoint] : null,
    Hostname: flags.hostname,
    Domainname: flags.domainname,
    User: flags.user,
    WorkingDir: flags.workdir,
    Env: withProxies(environment, config),
    Labels: await readLabels(flags["label-file"], flags.label),
    ExposedPorts: exposed,
    Volumes: anonymous,
    Tty: flags.tty,
    OpenStdin: flags.interactive,
    StdinOnce: flags.interactive && attach.stdin,
    AttachStdin: attach.stdin,
    AttachStdout: attach.stdout,
    AttachStderr: attach.stderr,
    ...(flags["mac-address"] === "" ? {} : { MacAddress: flags["mac-address"] }),
    ...(flags["stop-signal"] === "" ? {} : { StopSignal: flags["stop-signal"] }),
    ...(given("stop-timeout") ? { StopTimeout: flags["stop-timeout"] } : {}),
    ...healthcheck(flags, given),
  };
}

/** Without -a: output always, input with -i. */
export function attachments(flags: Pick<ContainerFlagValues, "attach" | "interactive">): { stdin: boolean; stdout: boolean; stderr: boolean } {
  const wanted = flags.attach.map((name) => name.toLowerCase());
  const unknown = wanted.find((name) => !["stdin", "stdout", "stderr"].includes(name));
  if (unknown !== undefined) throw new CliError(`invalid argument "${unknown}" for "-a, --attach" flag: valid streams are STDIN, STDOUT and STDERR`);
  if (wanted.length === 0) return { stdin: flags.interactive, stdout: true, stderr: true };
  return { stdin: wanted.includes("stdin"), stdout: wanted.includes("stdout"), stderr: wanted.includes("stderr") };
}

function healthcheck(flags: ContainerFlagValues, given: RequestInput["given"]): Pick<ContainerConfig, "Healthcheck"> {
  const kinds = [
    ["health-cmd", "CMD-SHELL"],
    ["health-http", "HTTP"],
    ["health-tcp", "TCP"],
  ] as const;
  const [asked, other] = kinds.filter(([name]) => flags[name] !== "");
  const numbers = ["health-interval", "health-timeout", "health-start-period", "health-start-interval", "health-retries"] as const;
  const any = asked !== undefined || numbers.some((name) => given(name));
  if (flags["no-healthcheck"]) {
    if (any) throw new CliError("--no-healthcheck conflicts with --health-* options");
    return { Healthcheck: { Test: ["NONE"] } };
  }
  if (asked !== undefined && other !== undefined) throw new CliError(`--${asked[0]} conflicts with --${other[0]}`);
  if (!any) return {};
  for (const name of numbers) if (flags[name] < 0) throw new CliError(`--${name} cannot be negative`);
  return {
    Healthcheck: {
      ...(asked === undefined ? {} : { Test: [asked[1], flags[asked[0]]] }),
      Interval: flags["health-interval"],
      Timeout: flags["health-timeout"],
      StartPeriod: flags["health-start-period"],
      StartInterval: flags["health-start-interval"],
      Retries: flags["health-retries"],
    },
  };
}

/** Limits, for create and update alike; only those given. */
export function resources(flags: FlagValues<typeof resourceFlags>, given: (name: keyof typeof resourceFlags) => boolean): HostConfig {
  const host: HostConfig = {};
  if (given("blkio-weight")) host.BlkioWeight = flags["blkio-weight"];
  if (given("cpu-period")) host.CpuPeriod = flags["cpu-period"];
  if (given("cpu-quota")) host.CpuQuota = flags["cpu-quota"];
  if (given("cpu-rt-period")) host.CpuRealtimePeriod = flags["cpu-rt-period"];
  if (given("cpu-rt-runtime")) host.CpuRealtimeRuntime = flags["cpu-rt-runtime"];
  if (given("cpu-shares")) host.CpuShares = flags["cpu-shares"];
  if (given("cpus")) host.NanoCpus = flags.cpus;
  if (given("cpuset-cpus")) host.CpusetCpus = flags["cpuset-cpus"];
  if (given("cpuset-mems")) host.CpusetMems = flags["cpuset-mems"];
  if (given("memory")) host.Memory = flags.memory;
  if (given("memory-reservation")) host.MemoryReservation = flags["memory-reservation"];
  if (given("memory-swap")) host.MemorySwap = flags["memory-swap"];
  if (given("pids-limit")) host.PidsLimit = flags["pids-limit"];
  return host;
}

async function security(flags: ContainerFlagValues): Promise<HostConfig> {
  const options: string[] = [];
  let unmasked = false;
  for (const option of flags["security-opt"]) {
    const [name = "", value] = option.includes("=") ? splitOnce(option, "=") : splitOnce(option, ":");
    if (value === undefined && name !== "no-new-privileges") throw new CliError(`invalid --security-opt: ${JSON.stringify(option)}`);
    if (name === "systempaths" && value === "unconfined") unmasked = true;
    else if (name === "seccomp" && value !== "unconfined" && value !== "builtin") options.push(`seccomp=${await seccompProfile(value as string)}`);
    else options.push(option);
  }
  return {
    SecurityOpt: options,
    Privileged: flags.privileged,
    CapAdd: flags["cap-add"],
    CapDrop: flags["cap-drop"],
    ...(flags["oom-kill-disable"] ? { OomKillDisable: true } : {}),
    OomScoreAdj: flags["oom-score-adj"],
    ...(flags["memory-swappiness"] === -1 ? {} : { MemorySwappiness: flags["memory-swappiness"] }),
    ...(unmasked ? { MaskedPaths: [], ReadonlyPaths: [] } : {}),
  };
}

/** The engine has no access to the user's files: the profile travels in the option. */
async function seccompProfile(path: string): Promise<string> {
  try {
    return JSON.stringify(JSON.parse(await Bun.file(path).text()));
  } catch (error) {
    throw new CliError(`opening seccomp profile (${path}) failed: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function devices(flags: ContainerFlagValues): HostConfig {
  const isCdi = (device: string): boolean => /^[^/]+\/[^/=]+=/.test(device);
  const requests: DeviceRequest[] = flags.gpus.map(parseGpus);
  const cdi = flags.device.filter(isCdi);
  if (cdi.length > 0) requests.push({ Driver: "cdi", DeviceIDs: cdi });
  return {
    Devices: flags.device.filter((device) => !isCdi(device)).map(parseDevice),
    DeviceCgroupRules: flags["device-cgroup-rule"],
    ...(requests.length === 0 ? {} : { DeviceRequests: requests }),
    Ulimits: flags.ulimit.map(parseUlimit),
    BlkioWeightDevice: flags["blkio-weight-device"].map(parseWeightDevice),
    BlkioDeviceReadBps: flags["device-read-bps"].map((text) => parseThrottle(text, "bytes")),
    BlkioDeviceWriteBps: flags["device-write-bps"].map((text) => parseThrottle(text, "bytes")),
    BlkioDeviceReadIOps: flags["device-read-iops"].map((text) => parseThrottle(text, "operations")),
    BlkioDeviceWriteIOps: flags["device-write-iops"].map((text) => parseThrottle(text, "operations")),
  };
}

function addressing(flags: ContainerFlagValues): HostConfig {
  return {
    Dns: flags.dns,
    DnsOptions: flags["dns-option"],
    DnsSearch: flags["dns-search"],
    ExtraHosts: flags["add-host"].map(parseExtraHost),
    Links: flags.link,
  };
}

function logConfig(flags: ContainerFlagValues): NonNullable<HostConfig["LogConfig"]> {
  if (flags["log-driver"] === "none" && flags["log-opt"].length > 0) throw new CliError("invalid logging opts for driver none");
  return { Type: flags["log-driver"], Config: keyValues(flags["log-opt"]) };
}

/** Sets NetworkMode and gives the endpoints; the flags for one network (--ip, --network-alias …) belong to the first. */
function networks(flags: ContainerFlagValues, host: HostConfig): NetworkingConfig {
  const wanted = flags.network.map(parseNetwork);
  if (wanted.length === 0) wanted.push({ name: "default", endpoint: {} });
  const [first] = wanted as [{ name: string; endpoint: EndpointSettings }];
  host.NetworkMode = first.name;
  const { endpoint } = first;
  if (flags["network-alias"].length > 0) endpoint.Aliases = [...(endpoint.Aliases ?? []), ...flags["network-alias"]];
  if (flags.link.length > 0) endpoint.Links = flags.link;
  if (flags["mac-address"] !== "") endpoint.MacAddress = flags["mac-address"];
  if (flags.ip !== "" || flags.ip6 !== "" || flags["link-local-ip"].length > 0) {
    endpoint.IPAMConfig = {
      ...endpoint.IPAMConfig,
      ...(flags.ip === "" ? {} : { IPv4Address: flags.ip }),
      ...(flags.ip6 === "" ? {} : { IPv6Address: flags.ip6 }),
      ...(flags["link-local-ip"].length === 0 ? {} : { LinkLocalIPs: flags["link-local-ip"] }),
    };
  }
  const twice = wanted.find(({ name }, index) => wanted.findIndex((other) => other.name === name) !== index);
  if (twice !== undefined) throw new CliError(`network ${JSON.stringify(twice.name)} is specified multiple times`);
  const named = wanted.filter(({ name, endpoint: settings }) => Object.keys(settings).length > 0 || !/^(?:default|bridge|host|none|container:.*)$/.test(name));
  return { EndpointsConfig: Object.fromEntries(named.map(({ name, endpoint: settings }) => [name, settings])) };
}

/** Proxy settings of config.json for every container, where -e says nothing about them. */
function withProxies(environment: string[], { proxies }: ConfigFile): string[] {
  const set = proxies?.default;
  if (set === undefined) return environment;
  const taken = new Set(environment.map((line) => line.split("=", 1)[0]));
  const pairs = [
    ["HTTP_PROXY", set.httpProxy],
    ["HTTPS_PROXY", set.httpsProxy],
    ["NO_PROXY", set.noProxy],
    ["FTP_PROXY", set.ftpProxy],
    ["ALL_PROXY", set.allProxy],
  ] as const;
  const added = pairs.flatMap(([name, value]) => (value ? [name, name.toLowerCase()].filter((one) => !taken.has(one)).map((one) => `${one}=${value}`) : []));
  return [...environment, ...added];
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
