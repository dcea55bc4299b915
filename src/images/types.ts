import type { ContentStore } from "../content/types.ts";
import type { RegistryClient } from "../distribution/types.ts";
import type { Events } from "../events/types.ts";
import type { Logger } from "../lib/log.ts";
import type { Digest } from "../oci/digest.ts";
import type { Descriptor, HistoryEntry, ImageConfig } from "../oci/image.ts";
import type { Reference } from "../oci/reference.ts";
import type { SnapshotId, Snapshots } from "../snapshots/types.ts";
import type { Store } from "../store/store.ts";

export interface ImageRecord {
  /** Digest of the config blob. */
  id: Digest;
  config: ImageConfig;
  /** Lowest first: what a container's overlay stands on. */
  layers: SnapshotId[];
  /** Unpacked bytes of all layers. */
  size: number;
  /** `repo:tag`, in familiar form (`hello-world:latest`, `localhost:5000/x:1`). */
  repoTags: string[];
  /** `repo@sha256:…`. */
  repoDigests: string[];
  /** The manifest it came with, or was pushed as, if any. */
  manifest?: Descriptor;
  parent?: Digest;
  /** Unix nanoseconds of the last tagging, for inspect's Metadata.LastTagTime. */
  lastTagged?: bigint;
}

/** One line of the JSON stream that pull, push, load, import and build answer with; Docker's names (jsonmessage). */
export interface ProgressMessage {
  stream?: string;
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  progress?: string;
  aux?: unknown;
  error?: string;
  errorDetail?: { code?: number; message: string };
}
/** Gives a promise where the client is slower than we are: await it where back-pressure matters. It never rejects. */
export type ProgressSink = (message: ProgressMessage) => void | Promise<void>;

export interface RegistryAuth {
  username?: string;
  password?: string;
  auth?: string;
  serveraddress?: string;
  identitytoken?: string;
  registrytoken?: string;
}

export interface RemovedImage {
  Untagged?: string;
  Deleted?: string;
}

export interface ImageListOptions {
  all?: boolean;
  /** reference, label, dangling, before, since, until. */
  filters?: Record<string, string[]>;
}

/** Who uses an image, asked before it is removed: given by daemon/, since images/ lies below containers/. */
export interface ImageUsers {
  /** Containers that stand on the image, or have its files among their mounts: those need it though they don't run. */
  containersOf(image: Digest): { id: string; name: string; running: boolean; mounted?: boolean }[];
}

export interface Images {
  /** By name, digest reference, id or unique id prefix. @throws EngineError notFound (`No such image: x:latest`), invalidArgument, conflict (ambiguous prefix) */
  resolve(reference: string, options?: { platform?: string }): ImageRecord;
  list(options?: ImageListOptions): ImageRecord[];
  /** A reference without tag and digest means `latest`, or with `allTags` every tag of the repository (the last one's image is returned). */
  pull(
    reference: string,
    options: { auth?: RegistryAuth; platform?: string; allTags?: boolean; onProgress: ProgressSink; signal?: AbortSignal },
  ): Promise<ImageRecord>;
  /** A reference without tag means every tag of the repository that is here. */
  push(reference: string, options: { auth?: RegistryAuth; onProgress: ProgressSink; signal?: AbortSignal }): Promise<void>;
  /** @throws EngineError invalidArgument for a bad target, notFound for the source */
  tag(source: string, target: string): void;
  remove(reference: string, options?: { force?: boolean; noPrune?: boolean }): Promise<RemovedImage[]>;
  prune(options: { filters?: Record<string, string[]> }): Promise<{ deleted: RemovedImage[]; spaceReclaimed: number }>;
  history(reference: string): (HistoryEntry & { id?: Digest; size: number; tags: string[]; createdSeconds: number })[];
  /** docker-archive and OCI layout, plain or compressed. */
  load(source: ReadableStream<Uint8Array>, options: { onProgress: ProgressSink; quiet?: boolean; signal?: AbortSignal }): Promise<void>;
  /** docker-archive that is also an OCI layout. */
  save(references: readonly string[], options?: { signal?: AbortSignal }): ReadableStream<Uint8Array>;
  /** A root file system as a one-layer image (`docker import`). `changes` are Dockerfile instructions, applied by the caller's function. */
  import(
    source: ReadableStream<Uint8Array>,
    options: { reference?: string; message?: string; platform?: string; config?: ImageConfig["config"]; onProgress: ProgressSink; signal?: AbortSignal },
  ): Promise<ImageRecord>;
  /**
   * A new image: `layers` of the parent plus, where `snapshot` is given, that committed snapshot on top (its tar and diff id are made now).
   * Used by the builder and by commit. Emits no event but tags where `reference` is given.
   */
  create(options: { parent?: ImageRecord; snapshot?: SnapshotId; config: Omit<ImageConfig, "rootfs">; reference?: string }): Promise<ImageRecord>;
  /** Keeps an image's content until disposed. */
  lease(image: ImageRecord): Disposable;
  /** Bytes of all unpacked layers, each once. */
  layersSize(): number;
  /** Of each image: bytes of the unpacked layers that other images have too. */
  sharedSizes(): ReadonlyMap<Digest, number>;
  /** At start, after snapshots and content: collects what unfinished pulls, loads and builds left. */
  restore(): Promise<void>;
}

/** An image that is ready to be recorded: its config blob is in the content store, its layers are unpacked. */
export interface NewImage {
  /** Digest of the config blob. */
  id: Digest;
  config: ImageConfig;
  /** Lowest first. */
  layers: readonly SnapshotId[];
  /** The image manifest it came with; its bytes are in the content store. */
  manifest?: Descriptor;
  parent?: Digest;
  /** Blobs that hold layers (compressed or not) which `manifest` doesn't name. */
  layerBlobs?: readonly { diffId: Digest; digest: Digest; mediaType: string }[];
}

/** Keeps blobs and snapshots from collection until it is disposed: for work whose result no image names yet. */
export interface Lease extends Disposable {
  add(resource: Digest | SnapshotId): void;
}

/** Blobs moved at once, over all pulls and over all pushes. Read at each transfer: a reload of the settings changes them. */
export interface TransferLimits {
  readonly maxConcurrentDownloads: number;
  readonly maxConcurrentUploads: number;
}

/** What the verbs of images/ (one file each) work on; made by createImages. */
export interface ImageContext {
  readonly store: Store;
  readonly content: ContentStore;
  readonly snapshots: Snapshots;
  readonly registry: RegistryClient;
  readonly events: Events;
  readonly limits: TransferLimits;
  readonly log: Logger;
  byId(id: Digest): ImageRecord | undefined;
  /** What a normalised reference (with tag or digest) points to. */
  byReference(reference: Reference): ImageRecord | undefined;
  /** Tags that are here of a repository, in order. */
  tagsOf(repository: Reference): Reference[];
  /**
   * Records the image if it isn't yet, gives it `manifest` if it has none, and lets each of `references` (normalised, with tag or digest) point to it.
   * One transaction, no event. A digest reference is also a repository digest.
   */
  register(image: NewImage, references?: readonly Reference[]): ImageRecord;
  lease(): Lease;
  /** Blobs in the content store that hold the layer. */
  layerBlobs(diffId: Digest): { digest: Digest; mediaType: string }[];
  /** Children of an image that was built step by step. */
  childrenOf(id: Digest): Digest[];
  /** Forgets one reference (normalised). */
  dropReference(reference: Reference): void;
  /** Deletes the image's row and its references, then whatever only it kept. Returns the snapshots that went. */
  deleteImage(id: Digest): Promise<SnapshotId[]>;
  /** Removes those of the blobs that no image and no lease keeps. */
  collectBlobs(digests: Iterable<Digest>): Promise<void>;
  /** Removes those of the layers that no image, no container and no lease keeps. Returns them. */
  collectLayers(ids: Iterable<SnapshotId>): Promise<SnapshotId[]>;
  /** All images. */
  all(): ImageRecord[];
  /** An image event; the image's labels are its attributes, as Docker has it. */
  emit(action: string, image: ImageRecord, name: string): void;
}
