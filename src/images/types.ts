import type { ContentStore } from "../content/types.ts";
import type { RegistryClient, RemoteRepository } from "../distribution/types.ts";
import type { Events } from "../events/types.ts";
import type { Logger } from "../lib/log.ts";
import type { Digest } from "../oci/digest.ts";
import type { Descriptor, HistoryEntry, ImageConfig, Platform } from "../oci/image.ts";
import type { Reference } from "../oci/reference.ts";
import type { SnapshotId, Snapshots } from "../snapshots/types.ts";
import type { Store } from "../store/store.ts";
import type { CheckOptions, CheckReport } from "./check/types.ts";
import type { LastUses } from "./last-use.ts";

/** Of an image's config, what lists show and filter by. */
export interface ImageFacts {
  created: string | undefined;
  labels: Record<string, string> | null;
  platform: Platform;
  /** Its history's last entry. */
  step: HistoryEntry | undefined;
}

/** What is known of an image without reading its config, which may be tens of kilobytes. */
export interface ImageEntry {
  /** Digest of the config blob. */
  id: Digest;
  facts: ImageFacts;
  /** Lowest first: what a container's overlay stands on. */
  layers: SnapshotId[];
  /** Unpacked bytes of all layers. */
  size: number;
  /** `repo:tag`, in familiar form (`hello-world:latest`, `localhost:5000/x:1`): the names that mean this image where no platform is said. */
  repoTags: string[];
  /** `repo@sha256:…`, likewise. */
  repoDigests: string[];
  /** Digests of the indexes and manifests that its names stand for, as far as they are known: the first name's first. */
  targets: Digest[];
  /** Those of them that are indexes; other platforms of them may be here as well. */
  indexes: Digest[];
  /** Names of indexes that mean another image, which is of another platform, unless this one's platform is said. */
  variantOf: { tags: string[]; digests: string[] };
  /** The manifest it came with, or was pushed as, if any. */
  manifest?: Descriptor;
  parent?: Digest;
}

export interface ImageRecord extends ImageEntry {
  config: ImageConfig;
  /** Unix nanoseconds of the last tagging, for inspect's Metadata.LastTagTime. */
  lastTagged?: bigint;
}

/** An image as it is listed: with the other platforms of its names, and the size of all. */
export interface ListedImage extends ImageEntry {
  variants: ImageEntry[];
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
  /**
   * By name, digest reference, id or unique id prefix; of several platforms the one asked for, else the one that suits this host best.
   * @throws EngineError notFound (`No such image: x:latest`, or not for that platform), invalidArgument, conflict (ambiguous prefix)
   */
  resolve(reference: string, options?: { platform?: string | Platform | undefined }): ImageRecord;
  /** Every platform that a name stands for, the one that is meant without a platform first. @throws as `resolve` */
  named(reference: string): ImageRecord[];
  /** As they are at one moment, in turns with everything else: there may be thousands. */
  list(options?: ImageListOptions): Promise<ListedImage[]>;
  /** How many `list` has with `all`, at a price that hardly grows with them. */
  count(): number;
  /** What an image's name, or its id, stands for: an index or a manifest; undefined for one that was made here and has no manifest yet. */
  descriptor(image: ImageEntry): Descriptor | undefined;
  /** The manifests of what an image's name stands for, those that aren't here too. */
  manifests(image: ImageEntry): Promise<ManifestSummary[]>;
  /** A reference without tag and digest means `latest`, or with `allTags` every tag of the repository (the last one's image is returned). */
  pull(
    reference: string,
    options: { auth?: RegistryAuth; platform?: string; allTags?: boolean; onProgress: ProgressSink; signal?: AbortSignal },
  ): Promise<ImageRecord>;
  /** What another engine needs to have the image too; its own platform's, or `platform`'s. @throws EngineError notFound, invalidArgument */
  offer(reference: string, options?: { platform?: Platform }): Promise<ImageOffer>;
  /** One layer of an offer, from byte `start` on. @throws EngineError notFound */
  offeredLayer(image: Digest, layer: Digest, start: number): Promise<{ size: number; stream: ReadableStream<Uint8Array> }>;
  /** The layers of another engine's offer that aren't here, with the ranges of bytes that haven't come yet. */
  missingLayers(offer: Pick<ImageOffer, "diffIds" | "layers">): Promise<(OfferedLayer & { ranges: { start: number; end: number }[] })[]>;
  /** Takes bytes of such a layer, and keeps them for `copy`. @throws EngineError invalidArgument */
  receiveLayer(layer: OfferedLayer, start: number, source: AsyncIterable<Uint8Array>): Promise<void>;
  /** Takes an offered image whose layers came. Digests are checked. @throws EngineError invalidArgument */
  copy(
    offer: Pick<ImageOffer, "reference" | "platform" | "root" | "digested"> & { documents: readonly Uint8Array[] },
    options: { onProgress: ProgressSink; signal?: AbortSignal },
  ): Promise<ImageRecord>;
  /** A reference without tag means every tag of the repository that is here. Of an index: the `platform`, or all of it, or what push-target.ts chooses. */
  push(reference: string, options: { auth?: RegistryAuth; platform?: Platform; onProgress: ProgressSink; signal?: AbortSignal }): Promise<void>;
  /** @throws EngineError invalidArgument for a bad target, notFound for the source */
  tag(source: string, target: string): void;
  /** What was attested of the image for `platform` (this host's); of the `types` of predicate, or of all; with the statements themselves where asked. */
  attestations(reference: string, options: { platform?: Platform | undefined; types: readonly string[]; statement: boolean }): Promise<Attestation[]>;
  /** With `platforms`, only these are taken from the name (and from others that share them); needs `force`. */
  remove(reference: string, options?: { force?: boolean; noPrune?: boolean; platforms?: readonly Platform[] }): Promise<RemovedImage[]>;
  prune(options: { filters?: Record<string, string[]> }): Promise<{ deleted: RemovedImage[]; spaceReclaimed: number }>;
  history(
    reference: string,
    options?: { platform?: Platform | undefined },
  ): (HistoryEntry & { id?: Digest; size: number; tags: string[]; createdSeconds: number })[];
  /** docker-archive and OCI layout, plain or compressed. Of an index: the `platforms`, or all that are there. */
  load(
    source: ReadableStream<Uint8Array>,
    options: { platforms?: readonly Platform[]; onProgress: ProgressSink; quiet?: boolean; signal?: AbortSignal },
  ): Promise<void>;
  /** docker-archive that is also an OCI layout. Of an index: the `platforms`, or all that are here. */
  save(references: readonly string[], options?: { platforms?: readonly Platform[]; signal?: AbortSignal }): Promise<ReadableStream<Uint8Array>>;
  /** A root file system as a one-layer image (`docker import`). `changes` are Dockerfile instructions, applied by the caller's function. */
  import(
    source: ReadableStream<Uint8Array>,
    options: { reference?: string; message?: string; platform?: string; config?: ImageConfig["config"]; onProgress: ProgressSink; signal?: AbortSignal },
  ): Promise<ImageRecord>;
  /**
   * A new image: `layers` of the parent plus, where `snapshot` is given, that committed snapshot on top (its diff id is worked out now). Used by the builder
   * and by commit. A function makes the snapshot and tells its id in the turn in which it is found or made: the same layer may be another image's, which goes.
   * A snapshot that changes nothing is no layer (it goes), and the last entry of the history says so, as with Docker; unless `keepEmpty`, for one that
   * another image has as its layer.
   */
  create(options: {
    parent?: ImageRecord;
    snapshot?: SnapshotId | ((keep: (id: SnapshotId) => void) => Promise<SnapshotId>);
    keepEmpty?: boolean;
    config: Omit<ImageConfig, "rootfs">;
    reference?: string;
  }): Promise<ImageRecord>;
  /** Looks at everything that is stored, and mends it where asked. @throws EngineError conflict where a check is under way, cancelled */
  check(options: CheckOptions): Promise<CheckReport>;
  /** Keeps an image's content until disposed; counts as a use of it. */
  lease(image: ImageRecord): Disposable;
  /** A container stands on it, or somebody holds a lease. */
  isInUse(image: Digest): boolean;
  /** Bytes of all unpacked layers, each once. */
  layersSize(): number;
  /**
   * Bytes on the disk: of all unpacked layers, each once; of the blobs that images have, which come besides; of the layers that would go with all listed
   * images on which no container stands; and of each listed image's layers those that other listed ones have too.
   */
  diskUsage(listed: readonly ListedImage[]): Promise<{ layers: number; blobs: number; reclaimable: number; shared: ReadonlyMap<Digest, number> }>;
  /** Bytes of all layers and blobs, those of a registry that shares the store among them. */
  storedBytes(): number;
  /** Removes images, names and all, that no container uses and nobody used for `unusedFor` milliseconds, but for names that match `keep`, until `bytes` are freed. */
  collect(options: { bytes: number; unusedFor: number; keep: readonly string[] }): Promise<{ removed: string[]; freed: number }>;
  /** An image is in use just now: notes are kept in memory until `writeUses`. */
  noteUse(image: Digest): void;
  writeUses(): void;
  /** Of each image as it is listed: bytes of the unpacked layers that others have too. */
  sharedSizes(): Promise<ReadonlyMap<Digest, number>>;
  /** At start, after snapshots and content: collects what unfinished pulls, loads and builds left. */
  restore(): Promise<void>;
}

/** What a pull asks of a registry. */
export type PullSource = Pick<RemoteRepository, "manifest" | "head" | "blob" | "download">;

export interface OfferedLayer {
  digest: Digest;
  /** Bytes. */
  size: number;
}

/** One platform of an image, as one engine offers it to another. */
export interface ImageOffer {
  /** In full, with tag. */
  reference: string;
  /** `linux/arm64` */
  platform: string;
  image: Digest;
  /** The index or manifest that the name stands for. */
  root: Digest;
  /** A registry has it under that digest. */
  digested: boolean;
  /** In base64: that, all below it that isn't a layer, the config, and what is attested of the image. */
  documents: string[];
  diffIds: readonly Digest[];
  /** As the manifest names them, lowest first. */
  layers: OfferedLayer[];
}

/** One manifest of what a name stands for. Sizes are bytes. */
export interface ManifestSummary {
  descriptor: Descriptor;
  kind: "image" | "attestation" | "unknown";
  /** It can be used: of an image, its layers are here. */
  available: boolean;
  /** All blobs that it names are here as they came. */
  whole: boolean;
  /** Blobs that are here, of those that it names and itself. */
  contentSize: number;
  platform?: Platform;
  /** Of an image that is here. */
  image?: ImageEntry;
  /** Of an attestation: the manifest that it is about. */
  subject?: Digest;
}

/** One in-toto statement about an image. */
export interface Attestation {
  descriptor: Descriptor;
  /** URI of its predicate's type. */
  type: string;
  /** Its JSON. */
  statement?: unknown;
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
  /** The index that names `manifest`, where the image's names stand for that index; its bytes are in the content store. */
  index?: Digest;
  /** Further blobs that go with the image (indexes on the way to its manifest, attestations). */
  attached?: readonly Digest[];
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
  /** The same image without its config, which isn't read. */
  entry(id: Digest): ImageEntry | undefined;
  /** Of all images. */
  ids(): Digest[];
  /** Another number whenever something about any image has changed. */
  readonly revision: number;
  /** How many there are, without reading any of them. */
  count(): number;
  /** Those among the platforms of some name that have no tag of their own. */
  untaggedMembers(): ImageEntry[];
  /** Layers that any image stands on, without reading configs. Undefined where a damaged record hides which it needs: nothing can be called unused then. */
  layersOfImages(): Set<SnapshotId> | undefined;
  /** What a normalised reference (with tag or digest) points to: of several platforms the one that suits this host, or the last that came. */
  byReference(reference: Reference): ImageRecord | undefined;
  /** Digest of the index or manifest that a reference stands for, where it is known. */
  targetOf(reference: Reference): Digest | undefined;
  /** Of a manifest or an index whose bytes are here. */
  describe(digest: Digest): Descriptor | undefined;
  /** The manifests of an index that are here. */
  membersOf(index: Digest): { manifest: Digest; image: Digest }[];
  /** The indexes that name an image. */
  indexesOf(image: Digest): Digest[];
  /** Tags that are here of a repository, in order. */
  tagsOf(repository: Reference): Reference[];
  /**
   * Records the image if it isn't yet, gives it `manifest` if it has none, and lets each of `references` (normalised, with tag or digest) point to it.
   * One transaction, no event. A digest reference is also a repository digest. Where the image has an `index`, the references stand for that.
   */
  register(image: NewImage, references?: readonly Reference[]): ImageRecord;
  lease(): Lease;
  /** All blobs that belong to an image. */
  blobsOf(id: Digest): Digest[];
  isLeased(resource: Digest | SnapshotId): boolean;
  readonly lastUses: LastUses;
  /** Blobs in the content store that hold the layer. */
  layerBlobs(diffId: Digest): { digest: Digest; mediaType: string }[];
  /** Children of an image that was built step by step. */
  childrenOf(id: Digest): Digest[];
  /** Forgets one reference (normalised). */
  dropReference(reference: Reference): void;
  /**
   * Deletes the image's row and its references, then whatever only it kept. References to an index go on to mean another of its images, where one is here.
   * Returns the snapshots that went.
   */
  deleteImage(id: Digest): Promise<SnapshotId[]>;
  /** Removes those of the blobs that no image, no lease and no other owner keeps. Returns them. */
  collectBlobs(digests: Iterable<Digest>): Promise<Digest[]>;
  /** Removes those of the layers that no image, no container and no lease keeps. Returns them. */
  collectLayers(ids: Iterable<SnapshotId>): Promise<SnapshotId[]>;
  /** An image event; the image's labels are its attributes, as Docker has it. */
  emit(action: string, image: ImageRecord, name: string): void;
}
