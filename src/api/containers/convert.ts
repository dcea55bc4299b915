import { statusOf } from "../../containers/list.ts";
import type { ContainerRecord, MountPoint, NetworkSettings } from "../../containers/types.ts";
import { defaultMaskedPaths, defaultReadonlyPaths } from "../../oci/default-paths.ts";
import type { ContainerConfig, EndpointSettings, HostConfig, MountConfig } from "../../oci/container.ts";
import { shownOptions } from "../../volumes/options.ts";
import { formatNano } from "../../lib/time.ts";
import { humanDuration, unixSeconds } from "../time.ts";
import type { ContainerInspect, ContainerState, ContainerSummary, MountSummary, PortSummary } from "../types/containers.ts";
import { gateFields, type ApiVersion, type FieldGate } from "../versions.ts";

/** Places that inspect shows. */
export interface ContainerPaths {
  container(id: string): string;
  bundle(id: string): string;
  readonly snapshots: string;
}

/** What Docker's inspect shows for settings that were not given. */
const hostDefaults: HostConfig = {
  Binds: null,
  ContainerIDFile: "",
  LogConfig: { Type: "json-file", Config: {} },
  NetworkMode: "bridge",
  PortBindings: {},
  RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
  AutoRemove: false,
  VolumeDriver: "",
  VolumesFrom: null,
  ConsoleSize: [0, 0],
  CapAdd: null,
  CapDrop: null,
  CgroupnsMode: "private",
  Dns: null,
  DnsOptions: null,
  DnsSearch: null,
  ExtraHosts: null,
  GroupAdd: null,
  IpcMode: "private",
  Cgroup: "",
  Links: null,
  OomScoreAdj: 0,
  PidMode: "",
  Privileged: false,
  PublishAllPorts: false,
  ReadonlyRootfs: false,
  SecurityOpt: null,
  UTSMode: "",
  UsernsMode: "",
  ShmSize: 67108864,
  Runtime: "runc",
  Isolation: "",
  CpuShares: 0,
  Memory: 0,
  NanoCpus: 0,
  CgroupParent: "",
  BlkioWeight: 0,
  BlkioWeightDevice: null,
  BlkioDeviceReadBps: null,
  BlkioDeviceWriteBps: null,
  BlkioDeviceReadIOps: null,
  BlkioDeviceWriteIOps: null,
  CpuPeriod: 0,
  CpuQuota: 0,
  CpuRealtimePeriod: 0,
  CpuRealtimeRuntime: 0,
  CpusetCpus: "",
  CpusetMems: "",
  Devices: null,
  DeviceCgroupRules: null,
  DeviceRequests: null,
  MemoryReservation: 0,
  MemorySwap: 0,
  MemorySwappiness: null,
  OomKillDisable: null,
  PidsLimit: null,
  Ulimits: null,
  CpuCount: 0,
  CpuPercent: 0,
  IOMaximumIOps: 0,
  IOMaximumBandwidth: 0,
  MaskedPaths: [...defaultMaskedPaths],
  ReadonlyPaths: [...defaultReadonlyPaths],
};

const configDefaults: ContainerConfig = {
  Hostname: "",
  Domainname: "",
  User: "",
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Env: [],
  Cmd: null,
  Image: "",
  Volumes: null,
  WorkingDir: "",
  Entrypoint: null,
  OnBuild: null,
  Labels: {},
};

/** What each version of inspect has. */
const inspectGates: FieldGate[] = [
  { path: "NetworkSettings.Networks.*.DNSNames", since: 44 },
  { path: "NetworkSettings.Networks.*.GwPriority", since: 48 },
  { path: "ImageManifestDescriptor", since: 48 },
  { path: "HostConfig.Annotations", since: 43 },
  { path: "HostConfig.ConsoleSize", since: 42 },
  { path: "HostConfig.CgroupnsMode", since: 41 },
  { path: "Config.MacAddress", until: 52 },
  { path: "Config.OnBuild", until: 52 },
  ...["Bridge", "HairpinMode", "LinkLocalIPv6Address", "LinkLocalIPv6PrefixLen", "SecondaryIPAddresses", "SecondaryIPv6Addresses"].map((name) => ({
    path: `NetworkSettings.${name}`,
    until: 52,
  })),
  ...["EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress"].map((name) => ({
    path: `NetworkSettings.${name}`,
    until: 52,
  })),
];

const listGates: FieldGate[] = [
  { path: "Health", since: 52 },
  { path: "HostConfig.Annotations", since: 46 },
  { path: "NetworkSettings.Networks.*.DNSNames", since: 44 },
  { path: "NetworkSettings.Networks.*.GwPriority", since: 48 },
  { path: "ImageManifestDescriptor", since: 48 },
];

function toState(record: ContainerRecord): ContainerState {
  const { state } = record;
  const status = statusOf(record);
  return {
    Status: status,
    Running: status === "running" || status === "paused" || status === "restarting",
    Paused: status === "paused",
    Restarting: status === "restarting",
    OOMKilled: state.oomKilled,
    Dead: status === "dead",
    Pid: "pid" in state ? state.pid : 0,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: formatNano(BigInt(state.startedAt)),
    FinishedAt: formatNano(BigInt(state.finishedAt)),
    ...(record.health === undefined ? {} : { Health: record.health }),
  };
}

/** `Up 5 minutes`, `Exited (0) 2 hours ago` … */
export function statusText(record: ContainerRecord, now = Date.now()): string {
  const { state } = record;
  const since = (nanos: string): string => humanDuration(now - Number(BigInt(nanos) / 1_000_000n));
  switch (statusOf(record)) {
    case "running":
      return `Up ${since(state.startedAt)}${healthText(record)}`;
    case "paused":
      return `Up ${since(state.startedAt)} (Paused)`;
    case "restarting":
      return `Restarting (${state.exitCode}) ${since(state.finishedAt)} ago`;
    case "removing":
      return "Removal In Progress";
    case "dead":
      return "Dead";
    case "created":
      return "Created";
    default:
      return state.finishedAt === "0" ? "" : `Exited (${state.exitCode}) ${since(state.finishedAt)} ago`;
  }
}

function healthText({ health }: ContainerRecord): string {
  if (health === undefined) return "";
  return health.Status === "starting" ? " (health: starting)" : ` (${health.Status})`;
}

function toMount(mount: MountPoint): MountSummary {
  const { Type, Name, Source, Destination, Driver, Mode, RW, Propagation, IDMapping } = mount;
  return {
    Type,
    ...(Name === undefined ? {} : { Name }),
    Source,
    Destination,
    ...(Driver === undefined ? {} : { Driver }),
    Mode,
    RW,
    Propagation,
    ...(IDMapping === undefined ? {} : { IDMapping }),
  };
}

const endpointDefaults: EndpointSettings = {
  IPAMConfig: null,
  Links: null,
  Aliases: null,
  DriverOpts: null,
  GwPriority: 0,
  NetworkID: "",
  EndpointID: "",
  Gateway: "",
  IPAddress: "",
  MacAddress: "",
  IPPrefixLen: 0,
  IPv6Gateway: "",
  GlobalIPv6Address: "",
  GlobalIPv6PrefixLen: 0,
  DNSNames: null,
};

function toEndpoints(networks: Record<string, EndpointSettings>): Record<string, EndpointSettings> {
  return Object.fromEntries(Object.entries(networks).map(([name, settings]) => [name, withDefaults(endpointDefaults, settings)]));
}

/** Links of the default bridge, in the form that inspect shows; those of other networks stand with their endpoints. */
function legacyLinks({ name, host }: ContainerRecord): string[] | null {
  if ((host.NetworkMode ?? "bridge") !== "bridge" || (host.Links ?? []).length === 0) return null;
  return (host.Links ?? []).map((link) => {
    const [target = "", alias = target] = link.split(":");
    return `/${target.replace(/^\//, "")}:/${name}/${alias.slice(alias.lastIndexOf("/") + 1)}`;
  });
}

/** Until 1.51 the default bridge's endpoint stands at the top level too. */
function legacyNetwork(networks: Record<string, EndpointSettings>): Record<string, unknown> {
  const bridge = networks.bridge ?? {};
  return {
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: bridge.EndpointID ?? "",
    Gateway: bridge.Gateway ?? "",
    GlobalIPv6Address: bridge.GlobalIPv6Address ?? "",
    GlobalIPv6PrefixLen: bridge.GlobalIPv6PrefixLen ?? 0,
    IPAddress: bridge.IPAddress ?? "",
    IPPrefixLen: bridge.IPPrefixLen ?? 0,
    IPv6Gateway: bridge.IPv6Gateway ?? "",
    MacAddress: bridge.MacAddress ?? "",
  };
}

/** Fields without a value are shown as Docker shows them. */
function withDefaults<T extends object>(defaults: T, given: T): T {
  const result = { ...defaults };
  for (const key in given) if (given[key] !== undefined) result[key] = given[key];
  return result;
}

/** As the volume's own inspect has it. */
function withoutPasswords(mount: MountConfig): MountConfig {
  const { VolumeOptions: volume } = mount;
  const options = volume?.DriverConfig?.Options;
  if (options?.o === undefined) return mount;
  return { ...mount, VolumeOptions: { ...volume, DriverConfig: { ...volume?.DriverConfig, Options: shownOptions(options) } } };
}

/** `GET /containers/{id}/json` */
export function toInspect(
  record: ContainerRecord,
  network: NetworkSettings,
  context: { paths: ContainerPaths; api: ApiVersion; execIds: string[]; sizes?: { rw: number; rootFs: number } },
): ContainerInspect {
  const { paths } = context;
  const directory = paths.container(record.id);
  const networks = toEndpoints(network.networks);
  const host = { ...withDefaults(hostDefaults, record.host), Links: legacyLinks(record) };
  if (host.Mounts !== undefined) host.Mounts = host.Mounts.map(withoutPasswords);
  if (host.Privileged) Object.assign(host, { MaskedPaths: record.host.MaskedPaths ?? null, ReadonlyPaths: record.host.ReadonlyPaths ?? null });
  const inspect: ContainerInspect = {
    Id: record.id,
    Created: record.created,
    Path: record.path,
    Args: record.args,
    State: toState(record),
    Image: record.imageId,
    ResolvConfPath: `${directory}/resolv.conf`,
    HostnamePath: `${directory}/hostname`,
    HostsPath: `${directory}/hosts`,
    LogPath: (host.LogConfig?.Type ?? "json-file") !== "json-file" ? "" : `${directory}/container.log`,
    Name: `/${record.name}`,
    RestartCount: record.restartCount,
    Driver: "overlay2",
    Platform: "linux",
    ...(record.imageManifest === undefined ? {} : { ImageManifestDescriptor: record.imageManifest }),
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: appArmorProfile(record),
    ExecIDs: context.execIds.length === 0 ? null : context.execIds,
    HostConfig: host,
    GraphDriver: {
      Name: "overlay2",
      Data: {
        ID: record.id,
        LowerDir: record.layers
          .map((layer) => `${paths.snapshots}/${layer}`)
          .toReversed()
          .join(":"),
        MergedDir: `${paths.bundle(record.id)}/rootfs`,
        UpperDir: `${paths.snapshots}/${record.snapshot}`,
        WorkDir: `${paths.snapshots}/.work/${record.snapshot}`,
      },
    },
    ...(context.sizes === undefined ? {} : { SizeRw: context.sizes.rw, SizeRootFs: context.sizes.rootFs }),
    Mounts: record.mounts.map(toMount),
    Config: { ...withDefaults(configDefaults, record.config), ...wideMac(record) },
    NetworkSettings: {
      Bridge: "",
      SandboxID: network.sandboxId,
      SandboxKey: network.sandboxKey,
      Ports: network.ports,
      ...legacyNetwork(networks),
      Networks: networks,
    },
  };
  if (context.api < 45) addShortIdAliases(inspect);
  return gateFields(inspect, inspectGates, context.api);
}

/** Where the kernel has none, Docker shows what was asked for. */
function appArmorProfile({ host, apparmor }: ContainerRecord): string {
  if (apparmor !== undefined) return apparmor;
  const option = (host.SecurityOpt ?? []).findLast((each) => /^apparmor[=:]/.test(each));
  return option === undefined ? "" : option.slice("apparmor=".length);
}

/** Until 1.51 the address asked for on the main network is the container's too. */
function wideMac({ host, endpoints, config }: ContainerRecord): { MacAddress?: string } {
  const mode = host.NetworkMode ?? "bridge";
  const mac = config.MacAddress || (mode === "host" || mode === "none" ? undefined : endpoints[mode]?.MacAddress);
  return mac ? { MacAddress: mac } : {};
}

/** Before 1.45 the aliases on user networks held the short id too. */
function addShortIdAliases(inspect: ContainerInspect): void {
  for (const [name, endpoint] of Object.entries(inspect.NetworkSettings.Networks)) {
    if (["bridge", "host", "none", "default"].includes(name)) continue;
    endpoint.Aliases = [...new Set([...(endpoint.Aliases ?? []), inspect.Id.slice(0, 12), inspect.Config.Hostname ?? ""])].filter((alias) => alias !== "");
  }
}

/** Lists leave out a size of 0, as Docker's do. */
function summarySizes({ rw, rootFs }: { rw: number; rootFs: number }): Pick<ContainerSummary, "SizeRw" | "SizeRootFs"> {
  return { ...(rw > 0 && { SizeRw: rw }), ...(rootFs > 0 && { SizeRootFs: rootFs }) };
}

/** One element of `GET /containers/json`. `imageName` is what the image is called now, `linkNames` what others call the container in their links. */
export function toSummary(
  record: ContainerRecord,
  network: NetworkSettings,
  context: { api: ApiVersion; imageName: string; linkNames?: readonly string[]; sizes?: { rw: number; rootFs: number } },
): ContainerSummary {
  const summary: ContainerSummary = {
    Id: record.id,
    Names: [`/${record.name}`, ...(context.linkNames ?? [])],
    Image: context.imageName,
    ImageID: record.imageId,
    ...(record.imageManifest === undefined ? {} : { ImageManifestDescriptor: record.imageManifest }),
    Command: [record.path, ...record.args.map((arg) => (arg.includes(" ") ? `'${arg}'` : arg))].join(" "),
    Created: unixSeconds(record.created),
    Ports: toPorts(network.ports),
    ...(context.sizes === undefined ? {} : summarySizes(context.sizes)),
    Labels: record.config.Labels ?? {},
    State: statusOf(record),
    Status: statusText(record),
    HostConfig: {
      NetworkMode: record.host.NetworkMode ?? "bridge",
      ...(record.host.Annotations === undefined ? {} : { Annotations: record.host.Annotations }),
    },
    NetworkSettings: { Networks: toEndpoints(network.networks) },
    Mounts: record.mounts.map(toMount),
    Health: { Status: record.health?.Status ?? "none", FailingStreak: record.health?.FailingStreak ?? 0 },
  };
  return gateFields(summary, listGates, context.api);
}

function toPorts(ports: Record<string, { HostIp: string; HostPort: string }[] | null>): PortSummary[] {
  const summaries: PortSummary[] = [];
  for (const [key, bindings] of Object.entries(ports)) {
    const [port = "", type = "tcp"] = key.split("/");
    const exposed = { PrivatePort: Number(port), Type: type };
    if (bindings === null || bindings.length === 0) summaries.push(exposed);
    else
      for (const { HostIp, HostPort } of bindings)
        summaries.push({ IP: HostIp === "" ? "0.0.0.0" : HostIp, ...exposed, ...(HostPort === "" ? {} : { PublicPort: Number(HostPort) }) });
  }
  return summaries.sort((a, b) => a.PrivatePort - b.PrivatePort);
}
