import { z } from "zod";
import type { MountConfig, RestartPolicy } from "../../oci/container.ts";
import { bool, int, list, map, object, set, text, textMap, texts, words } from "../schema.ts";
import { portBindings } from "./port-bindings.ts";

/** Shapes of request bodies about containers; loose as Go's are (see ../schema.ts). */

export const healthcheck = object({
  Test: texts.optional(),
  Interval: int.optional(),
  Timeout: int.optional(),
  StartPeriod: int.optional(),
  StartInterval: int.optional(),
  Retries: int.optional(),
});

export const configShape = {
  Hostname: text.optional(),
  Domainname: text.optional(),
  User: text.optional(),
  AttachStdin: bool.optional(),
  AttachStdout: bool.optional(),
  AttachStderr: bool.optional(),
  ExposedPorts: set.optional(),
  Tty: bool.optional(),
  OpenStdin: bool.optional(),
  StdinOnce: bool.optional(),
  Env: texts.optional(),
  Cmd: words.optional(),
  Healthcheck: healthcheck.optional(),
  ArgsEscaped: bool.optional(),
  Image: text.optional(),
  Volumes: set.optional(),
  WorkingDir: text.optional(),
  Entrypoint: words.optional(),
  NetworkDisabled: bool.optional(),
  MacAddress: text.optional(),
  OnBuild: texts.optional(),
  Labels: textMap.optional(),
  StopSignal: text.optional(),
  StopTimeout: int.optional(),
  Shell: words.optional(),
};

const throttle = list(object({ Path: text, Rate: int }));
/** One of a few words; which they are is checked, and told, where they are used. */
const word = <Word extends string>() => z.custom<Word>((value) => typeof value === "string", "expected string");
const restartPolicy = object({ Name: word<NonNullable<RestartPolicy["Name"]>>().optional(), MaximumRetryCount: int.optional() });

/** The part of a HostConfig that `POST /containers/{id}/update` may change. */
export const resourcesShape = {
  CpuShares: int.optional(),
  Memory: int.optional(),
  NanoCpus: int.optional(),
  CgroupParent: text.optional(),
  BlkioWeight: int.optional(),
  BlkioWeightDevice: list(object({ Path: text, Weight: int })).optional(),
  BlkioDeviceReadBps: throttle.optional(),
  BlkioDeviceWriteBps: throttle.optional(),
  BlkioDeviceReadIOps: throttle.optional(),
  BlkioDeviceWriteIOps: throttle.optional(),
  CpuPeriod: int.optional(),
  CpuQuota: int.optional(),
  CpuRealtimePeriod: int.optional(),
  CpuRealtimeRuntime: int.optional(),
  CpusetCpus: text.optional(),
  CpusetMems: text.optional(),
  Devices: list(object({ PathOnHost: text.optional(), PathInContainer: text.optional(), CgroupPermissions: text.optional() })).optional(),
  DeviceCgroupRules: texts.optional(),
  DeviceRequests: list(
    object({
      Driver: text.optional(),
      Count: int.optional(),
      DeviceIDs: texts.optional(),
      Capabilities: z.array(texts).optional(),
      Options: textMap.optional(),
    }),
  ).optional(),
  MemoryReservation: int.optional(),
  MemorySwap: int.optional(),
  MemorySwappiness: int.optional(),
  OomKillDisable: bool.optional(),
  PidsLimit: int.optional(),
  Ulimits: list(object({ Name: text, Soft: int, Hard: int })).optional(),
  CpuCount: int.optional(),
  CpuPercent: int.optional(),
  IOMaximumIOps: int.optional(),
  IOMaximumBandwidth: int.optional(),
  RestartPolicy: restartPolicy.optional(),
};

const idRanges = list(object({ HostID: int, ContainerID: int, Size: int.default(1) })).optional();
/** As moby#53368 has it; `ranges` is our own. */
const idMapping = object({ Source: text.default(""), User: text.optional(), UIDMappings: idRanges, GIDMappings: idRanges }).optional();

const mount = object({
  Type: word<MountConfig["Type"]>(),
  Source: text.optional(),
  Target: text.default(""),
  ReadOnly: bool.optional(),
  Consistency: text.optional(),
  BindOptions: object({
    Propagation: text.optional(),
    NonRecursive: bool.optional(),
    CreateMountpoint: bool.optional(),
    ReadOnlyNonRecursive: bool.optional(),
    ReadOnlyForceRecursive: bool.optional(),
    IDMapping: idMapping,
  }).optional(),
  VolumeOptions: object({
    NoCopy: bool.optional(),
    Labels: textMap.optional(),
    DriverConfig: object({ Name: text.optional(), Options: textMap.optional() }).optional(),
    Subpath: text.optional(),
    IDMapping: idMapping,
  }).optional(),
  TmpfsOptions: object({ SizeBytes: int.optional(), Mode: int.optional(), Options: z.array(texts).optional() }).optional(),
  ImageOptions: object({ Subpath: text.optional() }).optional(),
});

export const hostConfig = object({
  ...resourcesShape,
  /** Of unreleased clients; refused. */
  Capabilities: texts.optional(),
  Binds: texts.optional(),
  ContainerIDFile: text.optional(),
  LogConfig: object({ Type: text.optional(), Config: textMap.optional() }).optional(),
  NetworkMode: text.optional(),
  PortBindings: portBindings.optional(),
  AutoRemove: bool.optional(),
  VolumeDriver: text.optional(),
  VolumesFrom: texts.optional(),
  ConsoleSize: z.tuple([int, int]).optional(),
  Annotations: textMap.optional(),
  CapAdd: words.optional(),
  CapDrop: words.optional(),
  CgroupnsMode: z.enum(["", "private", "host"]).optional(),
  Dns: texts.optional(),
  DnsOptions: texts.optional(),
  DnsSearch: texts.optional(),
  ExtraHosts: texts.optional(),
  GroupAdd: texts.optional(),
  IpcMode: text.optional(),
  Cgroup: text.optional(),
  Links: texts.optional(),
  OomScoreAdj: int.optional(),
  PidMode: text.optional(),
  Privileged: bool.optional(),
  PublishAllPorts: bool.optional(),
  ReadonlyRootfs: bool.optional(),
  SecurityOpt: texts.optional(),
  StorageOpt: textMap.optional(),
  Tmpfs: textMap.optional(),
  UTSMode: text.optional(),
  UsernsMode: text.optional(),
  ShmSize: int.optional(),
  Sysctls: textMap.optional(),
  Runtime: text.optional(),
  Isolation: text.optional(),
  Mounts: list(mount).optional(),
  MaskedPaths: texts.optional(),
  ReadonlyPaths: texts.optional(),
  Init: bool.optional(),
});

export const endpointSettings = object({
  IPAMConfig: object({ IPv4Address: text.optional(), IPv6Address: text.optional(), LinkLocalIPs: texts.optional() }).optional(),
  Links: texts.optional(),
  Aliases: texts.optional(),
  DriverOpts: textMap.optional(),
  GwPriority: int.optional(),
  NetworkID: text.optional(),
  EndpointID: text.optional(),
  Gateway: text.optional(),
  IPAddress: text.optional(),
  MacAddress: text.optional(),
  IPPrefixLen: int.optional(),
  IPv6Gateway: text.optional(),
  GlobalIPv6Address: text.optional(),
  GlobalIPv6PrefixLen: int.optional(),
  DNSNames: texts.optional(),
});

export const createRequest = object({
  ...configShape,
  HostConfig: hostConfig.optional(),
  NetworkingConfig: object({ EndpointsConfig: map(endpointSettings).optional() }).optional(),
});

/** The last two are ours (docs/ports.md). */
export const updateRequest = object({
  ...resourcesShape,
  PublishAdd: portBindings.optional(),
  PublishRemove: list(object({ HostIp: text.optional(), HostPort: text, Protocol: text.optional() })).optional(),
});

export const execCreateRequest = object({
  User: text.optional(),
  Privileged: bool.optional(),
  Tty: bool.optional(),
  ConsoleSize: z.tuple([int, int]).optional(),
  AttachStdin: bool.optional(),
  AttachStderr: bool.optional(),
  AttachStdout: bool.optional(),
  DetachKeys: text.optional(),
  Env: texts.optional(),
  WorkingDir: text.optional(),
  Cmd: words.optional(),
});

export const execStartRequest = object({ Detach: bool.optional(), Tty: bool.optional(), ConsoleSize: z.tuple([int, int]).optional() });
