import type { CgroupHierarchy } from "../kernel/cgroup.ts";
import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import type { DeviceEdits } from "./device-requests.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { LimitValue } from "./limits.ts";
import type { MountSpec, ProcessSpec, ResourcesSpec, RuntimeSpec, UserSpec } from "../oci/runtime-spec.ts";

export interface ExitStatus {
  /** 0–255; 128 + signal for a signal. 255 where it can't be known, then `error` says why. */
  exitCode: number;
  oomKilled: boolean;
  /** Unix nanoseconds. */
  finishedAt: bigint;
  /** Nanoseconds from start to end, whatever became of the host's clock; absent where no engine saw the end. */
  ranFor?: number;
  error?: string;
}

/** Where output goes. Called in order of arrival; a slow client is the subscriber's problem, never conmon's. A chunk's memory is used again after the call. */
export interface OutputListener {
  stdout(chunk: Uint8Array): void;
  stderr(chunk: Uint8Array): void;
  /** The container ended and all its output has been delivered. */
  end(): void;
}

/** One source of output fanned out to any number of listeners, and one way for input. */
export interface AttachHub {
  subscribe(listener: OutputListener): Disposable;
  /** Resolves when the other side took it: that is the back-pressure. Errors when stdin isn't open. */
  writeStdin(chunk: Uint8Array): Promise<void>;
  /** End of input (no effect where OpenStdin without StdinOnce: conmon keeps it open, as Docker does). */
  closeStdin(): void;
  /**
   * Stops reading output until disposed (holds are counted): the container then waits in its writes, as under Docker, and an attached client that
   * reads slowly loses nothing. Ends by itself when the process has ended.
   */
  hold(): Disposable;
}

/** What the spec of one container is made from; all host paths are resolved already. */
export interface SpecInput {
  id: string;
  config: ContainerConfig;
  host: HostConfig;
  args: string[];
  env: string[];
  /** Where the root is mounted now: /etc/passwd is read there. */
  rootfs: string;
  /** A path to join, `host`, or `new`: the runtime makes one with `lo` up. */
  network: { path: string } | "host" | "new";
  /** Pids whose namespaces are joined, where PidMode or IpcMode is `container:…`. */
  joined?: { pid?: number; ipc?: number; user?: number };
  /** Of its user namespace; undefined: the host's. */
  idMap?: IdMap;
  /** Host path bound on /dev/shm, for shareable and joined ipc. */
  shm?: string;
  own: MountSpec[];
  user: MountSpec[];
  /** What devices of HostConfig.DeviceRequests need. */
  deviceEdits?: DeviceEdits;
}

export interface ExecInput {
  rootfs: string;
  config: ContainerConfig;
  host: HostConfig;
  idMap?: IdMap;
  args: string[];
  env: string[];
  cwd: string;
  user: string;
  tty: boolean;
  privileged: boolean;
  consoleSize?: { rows: number; cols: number };
}

/** Whatever starts and removes containers through one OCI runtime program. */
export interface Runtime {
  /** As users name it: `crun`, `runc`, or a name given by --add-runtime. */
  readonly name: string;
  /** The program that conmon is told to run, with the variables it needs. */
  readonly program: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Global arguments, before the verb. */
  readonly globalArguments: readonly string[];
  /** Adds what makes this runtime faster to a spec that any runtime would take. */
  prepare(spec: RuntimeSpec): void;
  /** After a successful create. Never throws. */
  learn(id: string, spec: RuntimeSpec): void;
  /** Lets init go on to the container's program. @throws EngineError */
  start(id: string): Promise<void>;
  /** Created, and init still waits for its start. `pid` is init's. */
  isWaiting(id: string, pid: number): boolean;
  /** Removes the runtime's state and the cgroup; kills what is left of the container. Safe to repeat. @throws EngineError */
  delete(id: string, cgroupPath: string): Promise<void>;
  /** `exec --pid-file` may be a descriptor: the pid is written there, not renamed into place. */
  readonly writesPidInPlace: boolean;
  /** `exec --tty` hands its terminal over a socket. Else it copies between its own terminal and the container's, and its SIGWINCH carries the size over. */
  readonly sendsTerminal: boolean;
  /** It makes places for a tmpfs itself as runc does, which gives a tmpfs on one that is there that one's mode, whatever its options say (1.1). */
  readonly makesTmpfsPlaces: boolean;
  /** Arguments, program included, that run `process` (a file) inside the container. */
  execCommand(id: string, options: { process: string; pidFile: string; log: string; tty: boolean; consoleSocket?: string }): string[];
  /** Whether "rro" makes a bind read-only with all that is mounted below it. */
  mountsReadOnlyBelow(): Promise<boolean>;
  /**
   * Sets limits of a running container. `note`, where the runtime leaves that to the engine, is given before the first what puts them back (limits.ts).
   * @throws EngineError invalidArgument where the kernel refuses one
   */
  update(id: string, resources: ResourcesSpec, cgroupPath: string, note?: (before: LimitValue[]) => void): Promise<void>;
  /** Ids that the runtime has state of. */
  list(): string[];
}

/** Settings as they are kept. */
export interface Judged {
  host: HostConfig;
  warnings: string[];
  /** The AppArmor profile; absent where the kernel has none. */
  apparmor?: string;
}

/** The runtimes that the administrator added, by name. */
export type AddedRuntimes = Readonly<Record<string, { path: string; runtimeArgs?: readonly string[] }>>;

/** The engine's view of everything below a container: cgroups, runtimes, monitor. */
export interface Runtimes {
  /**
   * Finds other runtimes; calling what is returned puts them into force, for containers that start later.
   * @throws EngineError unavailable where the default is none of them
   */
  configure(options: { runtimes: AddedRuntimes; defaultRuntime: string }): Promise<() => void>;
  readonly cgroups: CgroupHierarchy;
  readonly cgroupParent: string;
  /** Containers get AppArmor profiles. */
  readonly hasApparmor: boolean;
  /** Sentences for `docker info`. */
  readonly warnings: readonly string[];
  readonly defaultName: string;
  /** Names with the program's path, for `docker info`. */
  readonly available: ReadonlyMap<string, { path: string }>;
  /** By HostConfig.Runtime; empty is the default. @throws EngineError invalidArgument `unknown or invalid runtime name: x` */
  get(name: string | undefined): Runtime;
  /** @throws EngineError invalidArgument where something can't be honoured, by name */
  buildSpec(input: SpecInput): RuntimeSpec;
  /** The whole OCI process of an exec. @throws EngineError */
  buildExec(input: ExecInput): ProcessSpec;
  /** What only the spec builder can judge, asked at create. Gives the settings without limits that the host can't keep. @throws EngineError invalidArgument */
  validate(config: ContainerConfig, host: HostConfig): Judged;
  /** Before a start: what the host must have loaded or set for it is there. @throws EngineError internal, invalidArgument */
  prepareHost(host: HostConfig): Promise<void>;
  /** What HostConfig.DeviceRequests mean now; undefined where there are none. @throws EngineError invalidArgument for devices that aren't there */
  resolveDevices(requests: HostConfig["DeviceRequests"]): Promise<DeviceEdits | undefined>;
  /** Devices that the CDI directories offer, for `docker info`. */
  discoverDevices(): Promise<{ directories: readonly string[]; names: string[]; warnings: string[] }>;
  /** Limits of a running container as its runtime takes them. @throws EngineError invalidArgument */
  buildLimits(limits: Partial<HostConfig>): ResourcesSpec;
  /** A container or an exec is about to be started: what the kernel would make it wait for is waited for now. Costs nothing to call too often. */
  expectProcess(): void;
  resolveUser(rootfs: string, user: string, groupAdd?: readonly string[]): UserSpec;
  /** Crash-safe: removes what the constructor mounted (the runtime's read-only copy). Only when no container is left. */
  close(): Promise<void>;
}
