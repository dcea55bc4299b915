import type { Download, Upload } from "../lib/lent.ts";
import type { IdMap } from "../oci/id-map.ts";

export interface VolumeRecord {
  name: string;
  driver: string;
  /** Absent in records that were written before there were others: `local`. */
  scope?: "local" | "global";
  /** Empty where a plugin tells it with the first mount. */
  mountpoint: string;
  /** RFC 3339. */
  created: string;
  labels: Record<string, string>;
  options: Record<string, string>;
  /** Which of the two were given, if empty: inspect shows them so. */
  given?: { labels?: boolean; options?: boolean };
  anonymous: boolean;
  /** Whose ids its files have on disk; undefined: the host's. */
  idMap?: IdMap;
  /** It is a snapshot of that volume: read-only, and prune leaves it. */
  snapshotOf?: string;
  /** For whom a plugin has it mounted. */
  mountedFor?: string[];
}

export interface CopyOptions {
  /** Bytes of files so far, and of all as far as they are known. */
  onProgress?: (current: number, total: number) => void;
  signal?: AbortSignal;
}

export interface Volumes {
  /**
   * The existing one of the same driver, whatever its options and labels (as in Docker), else a new one. Without a name: anonymous, 64 hex digits.
   * @throws EngineError invalidArgument, conflict
   */
  create(options: {
    name?: string;
    anonymous?: boolean;
    driver?: string;
    labels?: Record<string, string>;
    options?: Record<string, string>;
  }): Promise<VolumeRecord>;
  list(): VolumeRecord[];
  /** With those that plugins know and the engine doesn't. A plugin that doesn't answer is told in `warnings`. */
  listAll(): Promise<{ volumes: VolumeRecord[]; warnings: string[] }>;
  /** @throws EngineError notFound `get x: no such volume` */
  get(name: string): VolumeRecord;
  /** As its driver knows it now, known to the engine or not. @throws EngineError notFound, unavailable */
  inspect(name: string): Promise<VolumeRecord & { status?: Record<string, unknown> }>;
  /** Names of the drivers in use. */
  drivers(): string[];
  /** @throws EngineError as of a create with this driver */
  checkDriver(name: string): Promise<void>;
  /** @throws EngineError conflict while a container uses it, unavailable where its files can't be removed: then it stays */
  remove(name: string, options?: { force?: boolean }): Promise<void>;
  /**
   * For a container's end: those of `names` that are anonymous and that no container refers to any more are being removed, as part of the running
   * transaction. Call what it returns after the commit, to remove their files, which never rejects: those whose files can't be removed stay. A crash before
   * that leaves the work to the next start.
   */
  discard(names: readonly string[]): () => Promise<void>;
  prune(options: { all?: boolean; filters?: Record<string, string[]> }): Promise<{ deleted: string[]; spaceReclaimed: number }>;
  /**
   * Gives it another name, and makes an anonymous one a named one. Who runs with it goes on. `follow` is called within the transaction: whoever else keeps
   * its name writes the new one. @throws EngineError notFound, conflict where the name is taken, invalidArgument
   */
  rename(name: string, to: string, follow: (before: VolumeRecord, after: VolumeRecord) => void): Promise<VolumeRecord>;
  /**
   * A plain volume with the same files and labels: owners, modes, times, extended attributes, links and holes as they are, blocks shared where the file
   * system can. It is there once it is whole. Who writes meanwhile isn't waited for. @throws EngineError notFound, conflict where the name is taken,
   * invalidArgument, unavailable where the disk is full, cancelled
   */
  clone(name: string, to: string, options?: CopyOptions & { labels?: Record<string, string> }): Promise<VolumeRecord>;
  /** As `clone`, but read-only, and known as a snapshot of the volume. Without a name: `volume.20261122-051500`. */
  snapshot(name: string, to: string, options?: CopyOptions & { labels?: Record<string, string> }): Promise<VolumeRecord>;
  /**
   * The volume (`to`: another) has the snapshot's files again, all in one step; a missing one is made. @throws EngineError as `clone`, conflict while a
   * container runs with it, invalidArgument where it is no snapshot
   */
  restoreSnapshot(name: string, options?: CopyOptions & { to?: string }): Promise<VolumeRecord>;
  /** Gives `work` all files as a tar archive, with the owners that containers know; the volume stays until it is done. */
  exportTo(name: string, options: { signal?: AbortSignal }, work: (tar: Download) => Promise<void>): Promise<void>;
  /**
   * A volume with the files of an archive (plain, gzip, zstd…), all or none of them. One that is there must be empty, or with `force` loses what is in it.
   * @throws EngineError as `restoreSnapshot`, invalidArgument for a bad archive
   */
  importFrom(name: string, archive: Upload, options: { force?: boolean; labels?: Record<string, string>; signal?: AbortSignal }): Promise<VolumeRecord>;
  /** Containers that refer to it (rows, never counters). */
  usersOf(name: string): string[];
  /** False where copyUp wouldn't fill it: it isn't empty. What must be mounted to be looked into may be. */
  mayFill(name: string): Promise<boolean>;
  /** Fills an empty volume from the image's directory, owners and modes included (done once, before its first mount). */
  copyUp(name: string, sourceDirectory: string): Promise<void>;
  /** Makes the volume usable for a container (mounts what `type`/`device`/`o` options say, once for all its users). Returns the path to bind. */
  mount(name: string, container: string, how?: { destination: string; readOnly: boolean }): Promise<string>;
  /** The container no longer runs. What `mount` mounted goes with its last user. */
  unmount(name: string, container: string): Promise<void>;
  /** After a restart of the engine: `container` still runs with the volume. */
  adopt(name: string, container: string): void;
  /** Bytes of its files; undefined where they can't be counted: it is gone, or lies elsewhere. */
  usage(name: string): Promise<number | undefined>;
  restore(): Promise<void>;
  /** After all who still run have been adopted: what is mounted for nobody is unmounted. */
  settle(): Promise<void>;
}
