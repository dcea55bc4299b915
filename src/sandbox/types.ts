import type { ContainerConfig, HostConfig } from "../oci/container.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { ConnectOptions, Endpoint } from "../networks/types.ts";
import type { LimitValue } from "../runtime/limits.ts";
import type { StatsSample } from "../runtime/stats.ts";
import type { AttachHub, ExitStatus } from "../runtime/types.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { Connection } from "./dial.ts";

export type { AttachHub, ExitStatus, OutputListener } from "../runtime/types.ts";

/** One thing to be mounted into a sandbox besides what every container has. */
export interface SandboxMount {
  type: "bind" | "tmpfs";
  /** Host path for bind, or what gives it once the container's root is mounted; unused for tmpfs. */
  source: string | ((rootfs: string) => Promise<string>);
  destination: string;
  readOnly: boolean;
  /** Further mount options, e.g. `rprivate`, `size=64m`, `nosuid`. */
  options: string[];
}

export type SandboxNetwork =
  | { kind: "none" }
  | { kind: "host" }
  | { kind: "container"; pid: number }
  /** First endpoint gives the default route and publishes the ports. */
  | { kind: "networks"; connect: ConnectOptions[] };

/** All that one running thing needs. Made by containers/ for a container and by build/ for a RUN step. */
export interface SandboxSpec {
  /** 64 hex digits. */
  id: string;
  name: string;
  /** Kept over reboots: log, exit code, hosts, resolv.conf, hostname. Exists. */
  directory: string;
  layers: readonly SnapshotId[];
  active: SnapshotId;
  /** No sync at unmount: for `--rm` and build steps whose upper isn't kept. */
  volatile: boolean;
  config: ContainerConfig;
  host: HostConfig;
  /** Entrypoint and command, joined. */
  args: string[];
  /** Complete environment. */
  env: string[];
  mounts: SandboxMount[];
  network: SandboxNetwork;
  /** Pids whose namespaces are joined, where PidMode or IpcMode is `container:…`; `user` where one of those, or the network's, has a user namespace. */
  joined?: { pid?: number; ipc?: number; user?: number };
  /** Of its user namespace; undefined: the host's. */
  idMap?: IdMap;
  /** k8s-file log; undefined: nothing is logged (driver `none`). */
  logPath?: string;
}

export interface ExecSpec {
  args: string[];
  env: string[];
  cwd: string;
  user: string;
  tty: boolean;
  privileged: boolean;
  attachStdin: boolean;
  attachStdout: boolean;
  attachStderr: boolean;
  consoleSize?: { rows: number; cols: number };
}

export interface CommandOptions {
  /** Counted from the moment at which the runtime has started it. */
  timeoutMs: number;
  /** Bytes of output that are kept. */
  outputLimit: number;
  /** Ends it. */
  signal: AbortSignal;
}

export interface CommandResult {
  /** -1 where it was killed. */
  exitCode: number;
  /** The beginning of stdout and stderr; `...` stands for what is cut off. */
  output: string;
  /** It lasted too long. */
  isLate: boolean;
}

export interface RunningExec {
  readonly pid: number;
  readonly exited: Promise<number>;
  readonly io: AttachHub;
  resize(rows: number, cols: number): void;
}

export interface RunningSandbox {
  readonly id: string;
  readonly pid: number;
  /** Unix nanoseconds. */
  readonly startedAt: bigint;
  /** Nanoseconds since its start, whatever has become of the host's clock. */
  age(): number;
  readonly endpoints: readonly Endpoint[];
  /** Settles when init ended, output is in the log and the exit code is known. Never rejects. */
  readonly exited: Promise<ExitStatus>;
  /** Connects on first use; stays for life where stdin is open. */
  readonly io: AttachHub;
  /** Resolves when init takes signals: between the start and the program's first instruction they would be lost. */
  programRuns(): Promise<void>;
  /** By pidfd, so that a reused pid is never hit. @throws EngineError conflict when init is gone */
  signal(signal: number): void;
  /** Kills a monitor that hasn't noticed init's end (it is stopped, or blocked by a disk): `exited` then asks the kernel. Nothing where init lives. */
  endIdleMonitor(): void;
  resize(rows: number, cols: number): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** @throws EngineError with exitCode 126 or 127 where the program can't be run */
  exec(spec: ExecSpec): Promise<RunningExec>;
  /** Runs a command inside to its end. @throws EngineError with exitCode 126 or 127 where the program can't be run */
  command(spec: Pick<ExecSpec, "args" | "user" | "cwd">, options: CommandOptions): Promise<CommandResult>;
  /** A TCP connection from inside its network namespace, without a process there. `signal` closes it. @throws SysError, e.g. code ECONNREFUSED */
  dial(address: Uint8Array, port: number, signal: AbortSignal): Promise<Connection>;
  /** New limits, at once: what is given of Memory, MemorySwap, NanoCpus, CpuShares, PidsLimit and the like. `note` hears before what `putLimits` puts back. */
  update(limits: Partial<HostConfig>, note?: (before: LimitValue[]) => void): Promise<void>;
  /** It has joined a network, or left one: its /etc/hosts and resolv.conf follow. `before`: its endpoints until then. */
  networksChanged(before: readonly Endpoint[]): void;
  /** What it uses now, read in turns with everything else; undefined once it has been cleaned up. */
  stats(): Promise<StatsSample | undefined>;
  /**
   * Calls `told` when the kernel kills for want of memory, until disposed, which is to be before `cleanup`; at once where it has killed already since
   * init began, unless that `isKnown`.
   */
  onOom(told: () => void, options: { isKnown: boolean }): Disposable;
  /** Host pids of all its processes. */
  pids(): Promise<number[]>;
  /** Absolute path of the container's root as the host can open it: the overlay's mount point. */
  readonly rootfs: string;
  /** After `exited`: cgroups, runtime state, mounts, namespace, network. Safe to repeat. */
  cleanup(): Promise<void>;
}

/** A sandbox that was created but whose init waits for its start byte. */
export interface CreatedSandbox {
  readonly pid: number;
  readonly io: AttachHub;
  readonly endpoints: readonly Endpoint[];
  /** The start byte. */
  start(): Promise<RunningSandbox>;
  /** Undo everything. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface Sandboxes {
  /**
   * Snapshot mount, namespaces, files, spec, conmon and crun; network while crun creates. Each step's undo is on a stack,
   * so that a failure at any point leaves nothing. @throws EngineError; exitCode 126 or 127 for a program that can't run.
   */
  create(spec: SandboxSpec, options?: { attach?: boolean; signal?: AbortSignal }): Promise<CreatedSandbox>;
  /**
   * After an engine restart: asks the kernel, not the record. A living init past its fifo is adopted; one that waits for its start byte is
   * deleted; a dead one gives its exit status.
   */
  adopt(spec: SandboxSpec, startedAt: bigint): Promise<{ running: RunningSandbox } | { exited: ExitStatus } | { neverStarted: true }>;
  /** Before adoptions: one of these that runs out of the engine's reach, in another mount namespace, and its monitor's pid. None is, or all are. */
  runningElsewhere(specs: Iterable<Pick<SandboxSpec, "id" | "host">>): { id: string; monitor: number } | undefined;
  /** At start, after all adoptions: removes mounts, namespaces, cgroups, bundles and monitors that belong to none of `known`. */
  sweep(known: ReadonlySet<string>): Promise<void>;
}
