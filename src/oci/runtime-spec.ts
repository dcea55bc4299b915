/** What Berth uses of the OCI runtime-spec 1.1, exactly as it stands in config.json. Pure types. */

export interface RuntimeSpec {
  ociVersion: string;
  process: ProcessSpec;
  root: { path: string; readonly?: boolean };
  hostname?: string;
  mounts: MountSpec[];
  annotations?: Record<string, string>;
  hooks?: HooksSpec;
  linux: LinuxSpec;
}

export interface HookSpec {
  path: string;
  args?: string[];
  env?: string[];
  /** Seconds. */
  timeout?: number;
}

export type HooksSpec = Partial<Record<"prestart" | "createRuntime" | "createContainer" | "startContainer" | "poststart" | "poststop", HookSpec[]>>;

export interface ProcessSpec {
  terminal?: boolean;
  consoleSize?: { height: number; width: number };
  user: UserSpec;
  args: string[];
  env: string[];
  cwd: string;
  capabilities?: CapabilitySets;
  rlimits?: RlimitSpec[];
  noNewPrivileges?: boolean;
  apparmorProfile?: string;
  oomScoreAdj?: number;
}

export interface UserSpec {
  uid: number;
  gid: number;
  umask?: number;
  additionalGids?: number[];
}

export interface CapabilitySets {
  bounding?: string[];
  effective?: string[];
  inheritable?: string[];
  permitted?: string[];
  ambient?: string[];
}

export interface RlimitSpec {
  /** `RLIMIT_NOFILE` */
  type: string;
  soft: number;
  hard: number;
}

export interface MountSpec {
  destination: string;
  type?: string;
  source?: string;
  options?: string[];
}

export type NamespaceType = "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup";

export interface IdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

export interface LinuxSpec {
  namespaces: { type: NamespaceType; path?: string }[];
  uidMappings?: IdMapping[];
  gidMappings?: IdMapping[];
  devices?: DeviceSpec[];
  cgroupsPath?: string;
  resources?: ResourcesSpec;
  rootfsPropagation?: string;
  seccomp?: SeccompSpec;
  sysctl?: Record<string, string>;
  maskedPaths?: string[];
  readonlyPaths?: string[];
}

export interface DeviceSpec {
  type: "c" | "b" | "p";
  path: string;
  major?: number;
  minor?: number;
  fileMode?: number;
  uid?: number;
  gid?: number;
}

export interface DeviceRule {
  allow: boolean;
  type?: "a" | "c" | "b";
  major?: number;
  minor?: number;
  access?: string;
}

export interface ThrottleSpec {
  major: number;
  minor: number;
  rate: number;
}

export interface ResourcesSpec {
  devices?: DeviceRule[];
  memory?: {
    limit?: number;
    reservation?: number;
    swap?: number;
    swappiness?: number;
    disableOOMKiller?: boolean;
  };
  cpu?: {
    shares?: number;
    quota?: number;
    period?: number;
    realtimeRuntime?: number;
    realtimePeriod?: number;
    cpus?: string;
    mems?: string;
  };
  pids?: { limit: number };
  blockIO?: {
    weight?: number;
    weightDevice?: { major: number; minor: number; weight: number }[];
    throttleReadBpsDevice?: ThrottleSpec[];
    throttleWriteBpsDevice?: ThrottleSpec[];
    throttleReadIOPSDevice?: ThrottleSpec[];
    throttleWriteIOPSDevice?: ThrottleSpec[];
  };
}

export interface SeccompArg {
  index: number;
  value: number;
  valueTwo?: number;
  op: string;
}

export interface SeccompRule {
  names: string[];
  action: string;
  errnoRet?: number;
  args?: SeccompArg[];
}

export interface SeccompSpec {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  flags?: string[];
  listenerPath?: string;
  listenerMetadata?: string;
  syscalls?: SeccompRule[];
}
