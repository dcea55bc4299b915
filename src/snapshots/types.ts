import type { Download, Upload } from "../lib/lent.ts";
import type { Digest } from "../oci/digest.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { PathStat } from "./path.ts";

export type { PathStat } from "./path.ts";

/** At most 6 characters of [0-9a-z]: mount options end at one page, so that lowers are named relative to the snapshots folder, into which `mount` changes. */
export type SnapshotId = string & { readonly __snapshot: true };

export type ChangeKind = "modify" | "add" | "delete";
export interface Change {
  path: string;
  kind: ChangeKind;
}

/** What one layer may hold, where the administrator bounds that. */
export interface LayerLimits {
  /** Bytes of the tar, and of the files in it. */
  bytes: number;
  entries: number;
}

/** What a tar of a layer was found to be while it was unpacked. */
export interface UnpackResult {
  diffId: Digest;
  /** Sum of the files' bytes. */
  size: number;
}

/** What `unpack` reads: a blob's file, one that still grows (its `more` tells how far it is there, once that is more than `beyond`), or a stream. */
export type LayerSource = string | { path: string; size: number; more: (beyond: number) => Promise<number> } | ReadableStream<Uint8Array>;

/**
 * Layers and writable directories as overlay directories: `<root>/<id>` (the tree: a mount with 500 lowers has no room for more than the id) and, for
 * writable ones, `<root>/.work/<id>`. Rows come first (intent, files, ready), so that whatever a crash leaves is found and removed at start.
 */
export interface Snapshots {
  readonly root: string;
  /** Absolute path of the tree. For a view of several layers, mount. */
  path(id: SnapshotId): string;
  /** The snapshot that holds `diffId` on top of `parents` (chain of diff ids, lowest first), if it is unpacked. */
  find(parents: readonly Digest[], diffId: Digest): SnapshotId | undefined;
  /** The same for each layer of an image, lowest first. */
  findAll(diffIds: readonly Digest[]): (SnapshotId | undefined)[];
  /**
   * Unpacks one layer (gzip, zstd or plain tar, told by its first bytes) in a Worker. Never leaves its root.
   * `parentIds` (diff ids) and `parents` (snapshots) are what is under it, lowest first, for layers that lean on them. Where the snapshots aren't there
   * yet, because they unpack at the same time, give a promise: it is awaited only by a layer that needs it, and only where `source` is no stream.
   *
   * With `unsynced` the layer need not be on the disk yet: nothing may name it before `settle` has been called. `blob` in the answer is the digest of
   * the source (by the algorithm `hash`), unless the layer was here already. `onSnapshot` hears of the snapshot in the turn in which it is found or
   * made: for leases.
   * @throws EngineError invalidArgument for a bad archive (with `hash` a BadLayer), or where the tar's digest isn't `expect`.
   */
  unpack(options: {
    source: LayerSource;
    parentIds: readonly Digest[];
    parents: readonly SnapshotId[] | Promise<readonly SnapshotId[]>;
    expect?: Digest;
    /** Of the source, of which the caller has hashed just these bytes: a plain tar isn't hashed again. */
    digest?: Digest;
    hash?: "sha256" | "sha512";
    unsynced?: boolean;
    /** Have its tar made again by `diffTar`, bit by bit; see `recipe` below. */
    recipe?: boolean;
    onSnapshot?: (id: SnapshotId) => void;
    onProgress?: (bytes: number) => void;
    signal?: AbortSignal;
  }): Promise<UnpackResult & { snapshot: SnapshotId; blob?: Digest }>;
  /**
   * Makes layers that were unpacked with `unsynced` as good as the others, after one sync for all of them; others may be among them. Returns what to name
   * in their place: a layer that was made twice is there once.
   */
  settle(ids: readonly SnapshotId[]): Promise<SnapshotId[]>;
  /** Path of the file by which the layer's tar can be made again whoever wrote it, so that no blob need be kept of it; undefined where it has none. */
  recipe(id: SnapshotId): string | undefined;
  /** A new writable snapshot. Its row is in state `intent` until `ready`. Call inside the creator's transaction. */
  createActive(): SnapshotId;
  /** Makes the directories of an active snapshot, with the mode and owner that `/` has in `layers`. */
  prepareActive(id: SnapshotId, layers: readonly SnapshotId[]): Promise<void>;
  /** Asks whether `limit` works here. @throws EngineError invalidArgument, with the reason */
  checkLimit(): void;
  /** An active snapshot that has just been prepared may hold so many bytes. */
  limit(id: SnapshotId, bytes: number): void;
  /** Before a limited snapshot is removed: its limit goes. Never throws. */
  unlimit(id: SnapshotId): void;
  /** The shared layer with /etc/hosts, /etc/hostname, /etc/resolv.conf, /dev, /proc, /sys … as mount points, matching `layers`. */
  initLayer(layers: readonly SnapshotId[]): Promise<SnapshotId>;
  /** Mounts overlay at `target` (which exists). `layers` lowest first, without the init layer unless the caller adds it. `upper` undefined gives a read-only view. @throws EngineError */
  mount(options: {
    target: string;
    layers: readonly SnapshotId[];
    upper?: SnapshotId;
    volatile?: boolean;
    /** Of the container: files have the owners on disk that they have for it, and those of its map for the host. */
    idMap?: IdMap;
  }): Promise<void>;
  /** Whether `mount` can do `idMap`. @throws EngineError unavailable, saying why not */
  checkIdMap(idMap: IdMap): Promise<void>;
  /**
   * Unmounts, in a Worker, whatever mount of the engine's it is; `lazy` detaches at once; `file` takes away all that is mounted on a file, and the file
   * (removeMountedFile of kernel/mount.ts). No error where nothing is mounted.
   */
  unmount(target: string, options?: { lazy?: boolean; file?: boolean }): Promise<void>;
  /** Turns the active snapshot, unmounted, into a layer without a diff id yet (its work directory goes). */
  commit(id: SnapshotId): Promise<void>;
  /**
   * The diff id of a layer, found by making its tar (deterministic, not kept) where it isn't known, after its files have been synced. Where the same
   * layer was here already, `snapshot` is that one and `id` is removed.
   */
  identify(id: SnapshotId, options?: { signal?: AbortSignal }): Promise<UnpackResult & { snapshot: SnapshotId }>;
  /** The diff id, if it is known. */
  diffIdOf(id: SnapshotId): Digest | undefined;
  /** Bytes of the layer's uncompressed tar, known for layers that were unpacked or identified. */
  tarSize(diffId: Digest): number | undefined;
  /**
   * Tar of the changes that `id` makes (whiteouts in OCI form), made in a Worker. With `expect` the stream fails at its end where that isn't the tar's
   * digest.
   */
  diffTar(id: SnapshotId, options?: { expect?: Digest; signal?: AbortSignal }): ReadableStream<Uint8Array>;
  /** Tar of a directory as the host sees it, e.g. of a mounted overlay; made in a Worker. `idMap`: of the container whose owners go into the tar. `settled` as for `pathTar`. */
  treeTar(directory: string, options?: { idMap?: IdMap; signal?: AbortSignal }): { tar: Download; settled: () => Promise<void> };
  /**
   * What stands at `path` in a directory as the host can open it, e.g. a container's root: nothing there leads out of it, whatever somebody changes
   * meanwhile. A symlink is looked at itself unless the path ends in `/` or `/.`. Relative paths count from the root. Here and below, paths within a root are bytes
   * as latin1 (lib/tar.ts).
   * @throws EngineError notFound, invalidArgument
   */
  statPath(root: string, path: string): Promise<PathStat>;
  /** The directory that `path` leads to within `root`, symlinks followed, as an absolute path without any. @throws EngineError notFound, invalidArgument */
  realDirectory(root: string, path: string): Promise<string>;
  /**
   * Tar of what stands at `path` within `root`, as Docker copies it: the first entry has the path's last part as its name. `settled` resolves once
   * nothing reads the tree any more: at the archive's end, or soon after `signal`, though somebody still holds the stream. `idMap`: of the container
   * whose owners go into the tar.
   */
  pathTar(root: string, path: string, options?: { idMap?: IdMap; signal?: AbortSignal }): { tar: Download; settled: () => Promise<void> };
  /**
   * Unpacks an archive (plain or compressed) into the directory `path` within `root`, both as above. `owner`: of everything, instead of the archive's.
   * `idMap`: of the container whose owners those are. `keepKinds`: a directory must not take the place of anything else, nor the other way round. @throws EngineError invalidArgument, permissionDenied
   * where it is read-only, unavailable where the disk is full
   */
  extractInto(
    root: string,
    path: string,
    archive: Upload,
    options: { owner?: { uid: number; gid: number }; idMap?: IdMap; keepKinds: boolean; signal?: AbortSignal },
  ): Promise<void>;
  /**
   * Copies what is in directory `from` into the empty directory `to`, with the attributes of both: owners, modes, times, extended attributes and ACLs, hard links, holes, devices.
   * Files share their blocks with the copy where the file system can. `onProgress`: bytes of files so far. @throws EngineError unavailable where the
   * disk is full, cancelled
   */
  cloneTree(from: string, to: string, options?: { onProgress?: (bytes: number) => void; signal?: AbortSignal }): Promise<void>;
  /**
   * Removes a directory with all in it, however deep, without leaving it; what isn't there is no error. The directory that it is in must be there.
   * @throws EngineError where something can't be removed: the rest stays
   */
  removeTree(tree: string): Promise<void>;
  /** Bytes of the files in a directory and below, each hard-linked file once. What vanishes meanwhile counts nothing. @throws SysError where there is no directory */
  treeSize(tree: string): Promise<number>;
  /**
   * Tar of all in a directory, itself first: times, ACLs, extended attributes of users and holes as they are. What others take away meanwhile is left out.
   * `settled` and `idMap` as for `pathTar`.
   */
  wholeTar(tree: string, options: { idMap?: IdMap; signal?: AbortSignal }): { tar: Download; settled: () => Promise<void> };
  /** The opposite, into an empty directory; synced. `idMap` and errors as for `extractInto`. */
  extractWhole(tree: string, archive: Upload, options: { idMap?: IdMap; signal?: AbortSignal }): Promise<void>;
  /** Changes of an active snapshot as `docker diff` shows them; the init layer's paths are left out. */
  changes(id: SnapshotId, layers: readonly SnapshotId[]): Promise<Change[]>;
  /** Recorded bytes of a layer's files; 0 for active ones. */
  size(id: SnapshotId): number;
  /** Bytes of the files in it: recorded for layers, counted for active ones. */
  usage(id: SnapshotId): Promise<number>;
  /** Marks deleting; the files go in the background, then the row. Settles once nothing is at their paths. No error for one that is gone. */
  remove(...ids: SnapshotId[]): Promise<void>;
  /**
   * Gives a layer, which keeps its id, its files anew: unpacked from the file `source` as by `unpack`. @throws EngineError invalidArgument where that
   * holds another layer
   */
  rebuild(
    id: SnapshotId,
    options: { source: string; parentIds: readonly Digest[]; parents: readonly SnapshotId[]; signal?: AbortSignal | undefined },
  ): Promise<void>;
  /** Makes an init layer's files anew. */
  rebuildInit(id: SnapshotId): void;
  /** All that are ready, whether their directories are there, and whether the layer's tar names its root. */
  inventory(): { id: SnapshotId; kind: "layer" | "active" | "init"; present: boolean; listsRoot: boolean }[];
  /** Names in the folder that no record explains; with `remove` they go. */
  strays(options?: { remove?: boolean }): Promise<string[]>;
  /** Layers that active snapshots stand on. */
  layersInUse(): Set<SnapshotId>;
  /** Layers (not active ones, not init layers) that are ready. */
  layers(): { id: SnapshotId; size: number }[];
  /** Resolves when all removals begun so far are done: for shutdown and tests. */
  settled(): Promise<void>;
  /** At start: clears `intent` and `deleting` rows and directories without a row. */
  restore(): Promise<void>;
}
