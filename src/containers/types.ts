import type { Download, Upload } from "../lib/lent.ts";
import type { ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig, PortUpdate } from "../oci/container.ts";
import type { ImageRecord } from "../images/types.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { IDMapping } from "../oci/id-mapping.ts";
import type { Digest } from "../oci/digest.ts";
import type { Descriptor } from "../oci/image.ts";
import type { LogBatch, ReadLogsOptions } from "../logs/types.ts";
import type { AttachHub, OutputListener } from "../sandbox/types.ts";
import type { LimitValue } from "../runtime/limits.ts";
import type { StatsSample } from "../runtime/stats.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { VolumeRecord } from "../volumes/types.ts";
import type { Change, PathStat } from "../snapshots/types.ts";

/** What inspect shows under Mounts. */
export interface MountPoint {
  Type: "bind" | "volume" | "tmpfs" | "image";
  Name?: string;
  Source: string;
  Destination: string;
  Driver?: string;
  Mode: string;
  RW: boolean;
  Propagation: string;
  IDMapping?: IDMapping;
}

/** How one mount is made at each start. `source`: host path, volume name, image id, or empty for tmpfs. */
export interface ContainerMount {
  type: "bind" | "volume" | "tmpfs" | "image";
  source: string;
  destination: string;
  readOnly: boolean;
  /** Mount options, e.g. `rbind`, `rprivate`, `size=64m`. */
  options: string[];
  /** A directory or file within the volume or image. */
  subpath?: string;
  /** What an image consists of. */
  layers?: SnapshotId[];
  readOnlyBelow?: "never" | "always";
  /** Its `rslave` was chosen by us: where the source is no shared mount, rprivate does. */
  slaveIfShared?: boolean;
  /** Make the missing source of a bind, as Binds do. */
  createSource?: boolean;
  /** How the owners of its files are shown. */
  owners?: IDMapping;
}

export interface HealthResult {
  /** RFC 3339. */
  Start: string;
  End: string;
  ExitCode: number;
  Output: string;
}

/** What inspect shows under State.Health. */
export interface Health {
  Status: "starting" | "healthy" | "unhealthy";
  FailingStreak: number;
  Log: HealthResult[];
}

export interface StateBase {
  exitCode: number;
  /** Unix nanoseconds as decimal text; "0" where it never happened. */
  startedAt: string;
  finishedAt: string;
  error: string;
  oomKilled: boolean;
}

/** `generation` grows at each start, so that a verb that waited can tell whether it still talks of the same run. */
export type ContainerState =
  | ({ status: "created" } & StateBase)
  /** `restarting`: by its policy. */
  | ({ status: "starting"; generation: number; restarting?: true } & StateBase)
  | ({ status: "running"; generation: number; pid: number } & StateBase)
  /** `forCommit`: only while an image is made of it; the next engine lets it go on. */
  | ({ status: "paused"; generation: number; pid: number; forCommit?: true } & StateBase)
  | ({ status: "restarting"; generation: number } & StateBase)
  | ({ status: "exited"; generation: number } & StateBase)
  | ({ status: "removing" } & StateBase)
  | ({ status: "dead" } & StateBase);

/** The record, one JSON document a container. */
export interface ContainerRecord {
  id: string;
  /** Without the slash. */
  name: string;
  /** RFC 3339 with nanoseconds. */
  created: string;
  imageId: Digest;
  /** Of the image, where it came with one, with its platform. */
  imageManifest?: Descriptor;
  layers: SnapshotId[];
  snapshot: SnapshotId;
  path: string;
  args: string[];
  config: ContainerConfig;
  host: HostConfig;
  /** What puts back the limits of that run's cgroup, while it is told new ones: the kernel's come before the record's. */
  limitsBefore?: { generation: number; values: LimitValue[] };
  /** The AppArmor profile; absent where the kernel has none. */
  apparmor?: string;
  /** Containers linked on the default bridge: alias to id, so that a later rename doesn't matter. */
  linked?: Record<string, string>;
  /** By network name, as asked for. */
  endpoints: Record<string, EndpointSettings>;
  mounts: MountPoint[];
  /** The same mounts, and tmpfs, as they are made. */
  mountSources: ContainerMount[];
  /** Of its user namespace, for life; undefined: the host's. */
  idMap?: IdMap;
  platform: string;
  restartCount: number;
  /** Stopped by a user: no restart policy brings it back, `unless-stopped` not even at engine start. */
  manuallyStopped: boolean;
  state: ContainerState;
  /** Where it has a health check and was started. Written down with each change of its status, not with each result. */
  health?: Health;
}

export interface CreateOptions {
  name?: string;
  platform?: string;
  config: ContainerConfig;
  host: HostConfig;
  networking: NetworkingConfig;
  /** Clients of API 1.40 and older expect the host's cgroup namespace on v1. */
  clientBefore41?: boolean;
  /** Read-only binds leave what is mounted below writable, as they did before API 1.44. */
  readOnlyNonRecursive?: boolean;
}

export type WaitCondition = "not-running" | "next-exit" | "removed";

export interface WaitResult {
  exitCode: number;
  error?: string;
}

export interface ExecRecord {
  id: string;
  containerId: string;
  running: boolean;
  exitCode: number | null;
  pid: number;
  openStdin: boolean;
  openStdout: boolean;
  openStderr: boolean;
  tty: boolean;
  privileged: boolean;
  user: string;
  workingDir: string;
  entrypoint: string;
  arguments: string[];
  /** The bytes of the keys; absent: the default ones. */
  detachKeys?: Uint8Array;
  canRemove: boolean;
}

export interface ExecCreateOptions {
  Cmd: string[];
  AttachStdin?: boolean;
  AttachStdout?: boolean;
  AttachStderr?: boolean;
  Tty?: boolean;
  Env?: string[] | null;
  User?: string;
  WorkingDir?: string;
  Privileged?: boolean;
  /** The keys' bytes. */
  detachKeys?: Uint8Array;
  ConsoleSize?: [number, number];
}

/** What an attached client is given; the API writes it to the hijacked socket. */
export interface AttachSession extends Disposable {
  readonly tty: boolean;
  readonly io: AttachHub;
  /** The client's end of input is the end of stdin. Else it is the client's leaving, as in Docker: a terminal, and a stdin kept open, have no end of input. */
  readonly closesStdin: boolean;
  /** The client has typed the detach keys: an event tells. */
  detached(): void;
  /** Resolves when the container (or exec) ended and its output is delivered. */
  readonly ended: Promise<void>;
}

export interface CommitOptions {
  /** Normalised, with a tag. */
  reference?: string;
  author: string;
  comment: string;
  /** Freeze a running container meanwhile. */
  pause: boolean;
  /** Goes before the container's own. */
  config: ContainerConfig;
}

export interface CopyToOptions {
  /** All belongs to the container's user, instead of the owners in the archive. */
  toUser: boolean;
  /** A directory doesn't take the place of anything else, nor the other way round. */
  keepKinds: boolean;
  signal: AbortSignal;
}

export interface NetworkSettings {
  networks: Record<string, EndpointSettings>;
  ports: Record<string, { HostIp: string; HostPort: string }[] | null>;
  sandboxId: string;
  sandboxKey: string;
  /** What is written of the container for clients. The same object is given for as long as neither its record nor its networks change: so this holds. */
  kept: { list?: KeptText; inspect?: KeptText };
}

/** Pieces of an answer, for requests of one `kind` (API version and the like). */
export interface KeptText {
  kind: string;
  pieces: string[];
}

export interface ListOptions {
  all?: boolean;
  limit?: number;
  size?: boolean;
  /** Already parsed: filter name to values. */
  filters?: Record<string, string[]>;
}

/** One file a verb. Every method that takes `ref` looks it up by full id, name, unique prefix and throws notFound `No such container: x`. */
export interface Containers {
  /** Health checks since the engine's start. */
  readonly healthChecks: { readonly total: number; readonly failed: number };
  get(ref: string): ContainerRecord;
  list(options?: ListOptions): ContainerRecord[];
  create(options: CreateOptions): Promise<{ id: string; warnings: string[] }>;
  start(ref: string): Promise<void>;
  stop(ref: string, options?: { signal?: string; timeoutSeconds?: number }): Promise<void>;
  restart(ref: string, options?: { signal?: string; timeoutSeconds?: number }): Promise<void>;
  kill(ref: string, signal?: string): Promise<void>;
  pause(ref: string): Promise<void>;
  unpause(ref: string): Promise<void>;
  remove(ref: string, options?: { force?: boolean; volumes?: boolean; link?: boolean }): Promise<void>;
  rename(ref: string, name: string): Promise<void>;
  /** Registers at once (before it returns); the promise inside settles at the moment the condition asks for. */
  wait(ref: string, condition: WaitCondition, signal?: AbortSignal): { result: Promise<WaitResult> };
  /** Subscribes at once, also to a container that isn't started yet: then from its first byte on. Without a listener it is an event, no more. */
  attach(ref: string, listener?: OutputListener): AttachSession;
  resize(ref: string, rows: number, cols: number): Promise<void>;
  /** `details` makes what stands before each line for those who ask for details. */
  logs(ref: string, options: ReadLogsOptions): { tty: boolean; details(): string; records: AsyncIterable<LogBatch> };
  top(ref: string, psArgs: string): Promise<{ titles: string[]; processes: string[][] }>;
  /** What it uses now; undefined while it doesn't run. */
  stats(ref: string): Promise<StatsSample | undefined>;
  changes(ref: string): Promise<Change[]>;
  prune(filters: Record<string, string[]>): Promise<{ deleted: string[]; spaceReclaimed: number }>;
  update(ref: string, host: Partial<HostConfig> & PortUpdate): Promise<{ warnings: string[] }>;
  /** Endpoint settings with what is true now (addresses, ids) filled in, by network name; and NetworkSettings.Ports. */
  networkSettings(record: ContainerRecord): NetworkSettings;
  /** What containers are called within those that are linked to them on the default bridge, by id: `/web/db`. */
  linkNames(): Map<string, string[]>;
  /** Joins a container, running or not, to one more network. */
  connectNetwork(ref: string, network: string, settings: EndpointSettings): Promise<void>;
  disconnectNetwork(ref: string, network: string, options: { force: boolean }): Promise<void>;
  /** An image of the container as it is. */
  commit(ref: string, options: CommitOptions): Promise<ImageRecord>;
  sizes(ref: string): Promise<{ rw: number; rootFs: number }>;
  /**
   * What stands at a path in the container, running or not; mounts included, symlinks resolved within it. Here and below a path is bytes as latin1
   * (lib/tar.ts). @throws EngineError notFound, invalidArgument
   */
  statPath(ref: string, path: string): Promise<PathStat>;
  /** Gives `work` a tar of what stands at a path; its first entry is named as the path's last part. The files are at hand until `work` is done. */
  copyFrom<T>(ref: string, path: string, options: { signal: AbortSignal }, work: (stat: PathStat, tar: Download) => Promise<T>): Promise<T>;
  /**
   * Unpacks an archive into a directory of the container. @throws EngineError notFound, invalidArgument, permissionDenied where the root or the volume is
   * read-only
   */
  copyTo(ref: string, path: string, archive: Upload, options: CopyToOptions): Promise<void>;
  /** Gives `work` a tar of the container's root, without what is mounted in it. A new run or a removal cuts it short. */
  exportRoot<T>(ref: string, options: { signal: AbortSignal }, work: (tar: Download) => Promise<T>): Promise<T>;
  /** The container's root as the host can read it, mounted for the time of `work`, which a new run or a removal aborts. */
  withRootfs<T>(ref: string, work: (rootfs: string, signal: AbortSignal) => Promise<T>): Promise<T>;

  execCreate(ref: string, options: ExecCreateOptions): string;
  /** Execs of a container that run, or may still be started. */
  execIds(ref: string): string[];
  execInspect(id: string): ExecRecord;
  /** As `execInspect`, of one that can be started. @throws EngineError notFound, conflict */
  execCheck(id: string): ExecRecord;
  /** Starts it and gives its streams; `detach` gives none. */
  execStart(id: string, options: { detach: boolean; consoleSize?: [number, number] }, listener?: OutputListener): Promise<AttachSession | undefined>;
  /** One that isn't started yet is waited for. */
  execResize(id: string, rows: number, cols: number): Promise<void>;

  /** A volume's new name, in the records of its containers too. @throws EngineError notFound, invalidArgument, conflict */
  renameVolume(name: string, to: string): Promise<VolumeRecord>;
  /** Running containers, not paused, that may write to a volume. */
  writersOf(volume: string): ContainerRecord[];
  /** Freezes them while `work` lasts. @throws EngineError conflict */
  holdStill<T>(volume: string, work: () => Promise<T>): Promise<T>;
  /** Images in use, for images.remove. `mounted`: its files are among the container's mounts. */
  usingImage(image: Digest): { id: string; name: string; running: boolean; mounted: boolean }[];
  /**
   * First half of start-up: finds out by the kernel which containers still run. Returns the ids of those that do, for networks.restore and
   * sandboxes.sweep. Touches only containers whose record says that they may run.
   */
  adoptAll(): Promise<Set<string>>;
  /** Second half, once networks are back: restart policies, `--rm` of what ended meanwhile, half-made and half-removed containers. */
  resume(): Promise<void>;
  /**
   * Stops every container as a host that goes down does: those with a restart policy come back when the engine next starts. `timeoutSeconds` is for
   * containers that have no StopTimeout of their own.
   */
  stopAll(timeoutSeconds: number): Promise<void>;
  /** live-restore: detaches and leaves all running; else stops them in order. */
  close(options: { stopAll: boolean; timeoutSeconds: number }): Promise<void>;
}
