import { blobBytes } from "../distribution/blob-bytes.ts";
import { isTemporary, misbehaviour, pullError } from "../distribution/errors.ts";
import type { RemoteManifest } from "../distribution/types.ts";
import { type EngineError, invalidArgument, kindOf, notFound } from "../lib/errors.ts";
import { isDigest, type Digest } from "../oci/digest.ts";
import { mediaTypes, type Descriptor, type ImageConfig, type Manifest, type Platform } from "../oci/image.ts";
import { formatPlatform, hostPlatform, parsePlatform, platformRank, selectPlatform } from "../oci/platform.ts";
import { familiarName, familiarReference, formatReference, parseReference, withDefaultTag, type Reference } from "../oci/reference.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { fetchAttestations } from "./attestations.ts";
import { createFetchLayer, type LayerWork } from "./fetch-layer.ts";
import { checkMountable, unpackLayers, type LayerSource } from "./layers.ts";
import { layerProgress } from "./progress.ts";
import { imageFor } from "./resolve.ts";
import { leased } from "./touched.ts";
import type { ImageContext, ImageRecord, Images, Lease, NewImage, ProgressMessage, ProgressSink, PullSource } from "./types.ts";

const maxConfigSize = 4 * 1024 * 1024;
/** An index may name an index, but not for ever. */
const maxIndexDepth = 3;

const configTypes: readonly string[] = [mediaTypes.ociConfig, mediaTypes.dockerConfig, "application/octet-stream", ""];
const layerTypes: readonly string[] = [
  mediaTypes.ociLayer,
  mediaTypes.ociLayerGzip,
  mediaTypes.ociLayerZstd,
  mediaTypes.dockerLayer,
  mediaTypes.dockerLayerGzip,
  "application/vnd.docker.image.rootfs.diff.tar.zstd",
  "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  "application/vnd.oci.image.layer.nondistributable.v1.tar",
  "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
];

/** `source`: where it comes from, if from no registry. With `undigested` the image isn't known by its digest in the repository: it may never have been there. */
type PullOptions = Parameters<Images["pull"]>[1] & { source?: PullSource; undigested?: boolean };

/** What the parts of one pull share. */
interface Pull extends LayerWork {
  sink: ProgressSink;
  /** Blobs that are to belong to the image besides its manifest, config and layers. */
  attached: Digest[];
  signal?: AbortSignal;
}

/** `docker pull`: one for the engine, since pulls that want the same layer share its download. */
export function createPull(context: ImageContext): (reference: string, options: PullOptions) => Promise<ImageRecord> {
  const { content, snapshots, registry, store, events } = context;
  const fetchLayer = createFetchLayer(context);

  const pull = async (text: string, options: PullOptions): Promise<ImageRecord> => {
    const reference = parseReference(text);
    if (!options.allTags || reference.tag !== undefined || reference.digest !== undefined) {
      const { image, changed } = await pullOne(withDefaultTag(reference), options);
      options.onProgress({ status: statusOf(withDefaultTag(reference), changed) });
      return image;
    }
    return await pullAll(reference, options);
  };

  const pullAll = async (repository: Reference, options: PullOptions): Promise<ImageRecord> => {
    const remote = registry.repository(repository, options.auth === undefined ? {} : { credentials: options.auth });
    const tags = await remote.tags(signalOf(options)).catch((error: unknown) => {
      throw pullError(error, repository);
    });
    let last: ImageRecord | undefined;
    let anyChanged = false;
    for (const tag of tags) {
      const { image, changed } = await pullOne({ ...repository, tag }, options);
      last = image;
      anyChanged ||= changed;
    }
    if (last === undefined) throw notFound(`repository ${familiarName(repository)} has no tags`);
    options.onProgress({ status: statusOf(repository, anyChanged) });
    return last;
  };

  const pullOne = async (reference: Reference, options: PullOptions): Promise<{ image: ImageRecord; changed: boolean }> => {
    try {
      return await leased(context, (lease) => pullLeased(reference, options, lease));
    } catch (error) {
      throw pullError(error, reference);
    }
  };

  const pullLeased = async (reference: Reference, options: PullOptions, lease: Lease): Promise<{ image: ImageRecord; changed: boolean }> => {
    const wanted = options.platform ? parsePlatform(options.platform) : hostPlatform();
    const fromRegistry = options.source === undefined;
    const remote = options.source ?? registry.repository(reference, options.auth === undefined ? {} : { credentials: options.auth });
    await using stack = new AsyncDisposableStack();
    const work: Pull = {
      reference,
      remote,
      fromRegistry,
      lease,
      sink: options.onProgress,
      blobs: [],
      attached: [],
      downloads: [],
      stack,
      ...signalOf(options),
    };
    const version = reference.digest ?? reference.tag!;
    const current = await upToDate(work, version, wanted);
    if (current !== undefined) return { image: current, changed: false };
    try {
      return await pullHere(work, options, wanted);
    } catch (error) {
      // Then it is worth trying again, and what has come is kept for that.
      if (kindOf(error) === "cancelled" || isTemporary(error)) for (const blob of work.downloads) blob.keep();
      throw error;
    } finally {
      // of others, long ago
      await content.collectDownloads();
    }
  };

  const pullHere = async (work: Pull, options: PullOptions, wanted: Platform): Promise<{ image: ImageRecord; changed: boolean }> => {
    const { reference, remote } = work;
    const version = reference.digest ?? reference.tag!;
    const top = await remote.manifest(version, signalOf(work));
    work.sink(pullingFrom(reference));
    const { image: fetched, platform } = await fetchImage(work, top, wanted);
    await fetchAttestations(context, work, top, fetched.manifest!.digest, (bytes, digest) => keep(work, bytes, digest));
    const image = { ...(await settled(work, fetched)), attached: work.attached };
    work.sink({ status: `Digest: ${top.descriptor.digest}` });
    if (options.platform && platformRank(wanted, platform) === undefined) work.sink({ status: `WARNING: ${mismatch(reference, platform, wanted)}` });
    const digested: Reference = { domain: reference.domain, path: reference.path, digest: top.descriptor.digest };
    const names = [...(reference.digest === undefined ? [reference] : []), ...(options.undigested === true ? [] : [digested])];
    return store.tx(() => {
      const changed = names.some((name) => imageFor(context, name, wanted)?.id !== image.id);
      const record = context.register(image, names);
      tellPulled(reference, record);
      return { image: record, changed };
    });
  };

  /** All that the image consists of, on the disk and visible, after one sync. */
  const settled = async (work: Pull, image: NewImage): Promise<NewImage> => {
    let layers = image.layers;
    await content.publish(work.blobs, async () => {
      layers = await snapshots.settle(image.layers);
      for (const layer of layers) work.lease.add(layer);
    });
    return { ...image, layers };
  };

  /** A small blob, for which `settled` makes a place. */
  const keep = async (work: Pull, bytes: Uint8Array, digest: Digest): Promise<void> => {
    work.lease.add(digest);
    if (content.info(digest) === undefined) work.blobs.push(work.stack.use(await content.stage(bytes, digest)));
  };

  const tellPulled = (reference: Reference, image: ImageRecord): void => {
    context.lastUses.note(image.id);
    events.emit("image", "pull", familiarReference(reference), { ...image.config.config?.Labels, name: familiarName(reference) });
  };

  /** A HEAD tells whether what is here is what the registry has now: registries that limit pulls don't count it. */
  const upToDate = async (work: Pull, version: string, wanted: Platform): Promise<ImageRecord | undefined> => {
    const { reference, remote, sink } = work;
    const here = imageFor(context, reference, wanted);
    if (here === undefined || platformRank(wanted, here.config) !== 0) return undefined;
    // Whatever goes wrong here goes wrong again in the GET, which says so better.
    const head = await remote.head(version, signalOf(work)).catch(() => undefined);
    if (head === undefined) return undefined;
    const same = imageFor(context, { domain: reference.domain, path: reference.path, digest: head.digest }, wanted);
    if (same?.id !== here.id) return undefined;
    sink(pullingFrom(reference));
    sink({ status: `Digest: ${head.digest}` });
    tellPulled(reference, here);
    return here;
  };

  /** From the manifest or index that the reference names to an image whose layers are unpacked. */
  const fetchImage = async (work: Pull, top: RemoteManifest, wanted: Platform): Promise<{ image: NewImage; platform: Platform }> => {
    const { descriptor, manifest } = await choose(work, top, wanted);
    const index = top.document.kind === "index" ? { index: top.descriptor.digest } : {};
    const { digest: id } = manifest.config;
    if (!configTypes.includes(manifest.config.mediaType)) {
      const quoted = (type: unknown): string => JSON.stringify(String(type).slice(0, 200));
      const what = manifest.artifactType ? `it is an artifact of type ${quoted(manifest.artifactType)}` : `its config is ${quoted(manifest.config.mediaType)}`;
      throw invalidArgument(`${familiarReference(work.reference)} is no container image: ${what}`);
    }
    const known = context.byId(id);
    if (known !== undefined) {
      for (const resource of [...context.blobsOf(id), ...known.layers]) work.lease.add(resource);
      return { image: { id, config: known.config, layers: known.layers, manifest: descriptor, ...index }, platform: known.config };
    }
    const config = await fetchConfig(work, manifest);
    const layers = await fetchLayers(work, manifest, config);
    return { image: { id, config, layers, manifest: descriptor, ...index }, platform: config };
  };

  /** Walks down from an index to the manifest for `wanted`; keeps the bytes of each. */
  const choose = async (work: Pull, top: RemoteManifest, wanted: Platform): Promise<{ descriptor: Descriptor; manifest: Manifest }> => {
    let found = top;
    for (let depth = 0; depth <= maxIndexDepth; depth++) {
      await keep(work, found.bytes, found.descriptor.digest);
      if (found.document.kind === "manifest") return { descriptor: found.descriptor, manifest: found.document.manifest };
      work.attached.push(found.descriptor.digest);
      const { manifests } = found.document.index;
      const next = selectPlatform(manifests, ({ platform }) => platform ?? undefined, wanted);
      if (next === undefined) throw notFound(`no matching manifest for ${formatPlatform(wanted)} in the manifest list entries`);
      found = await work.remote.manifest(next.digest, signalOf(work));
      if (found.descriptor.size !== next.size)
        throw misbehaviour(`manifest ${next.digest} has ${found.descriptor.size} bytes, where the index says ${next.size}`);
    }
    throw misbehaviour(`${familiarReference(work.reference)} is an index of indexes, more than ${maxIndexDepth} deep`);
  };

  const fetchConfig = async (work: Pull, { config: descriptor, layers }: Manifest): Promise<ImageConfig> => {
    if (descriptor.size > maxConfigSize)
      throw misbehaviour(`the config of ${familiarReference(work.reference)} has ${descriptor.size} bytes; ${maxConfigSize} are allowed`);
    let bytes: Uint8Array;
    if (content.info(descriptor.digest) === undefined) {
      bytes = await blobBytes(work.remote, descriptor, signalOf(work));
      await keep(work, bytes, descriptor.digest);
    } else {
      work.lease.add(descriptor.digest);
      bytes = await content.bytes(descriptor.digest);
    }
    const config = parseConfig(bytes, descriptor.digest);
    checkConfig(config, layers.length, familiarReference(work.reference));
    return config;
  };

  /** Downloads and unpacks in parallel; layers that are here take no time. */
  const fetchLayers = async (work: Pull, manifest: Manifest, config: ImageConfig): Promise<SnapshotId[]> => {
    const diffIds = config.rootfs.diff_ids;
    checkLayers(manifest, familiarReference(work.reference));
    const present = snapshots.findAll(diffIds);
    const plans = manifest.layers.map((descriptor, index) => {
      const progress = layerProgress(work.sink, descriptor.digest);
      const snapshot = present[index];
      if (snapshot !== undefined) work.lease.add(snapshot);
      progress.status(snapshot === undefined ? "Pulling fs layer" : "Already exists");
      return { descriptor, progress, snapshot, diffId: diffIds[index]! };
    });
    const sources = plans.map(({ descriptor, progress, snapshot, diffId }): LayerSource => {
      if (snapshot !== undefined) return { diffId, snapshot };
      const { size } = descriptor;
      return {
        diffId,
        unpack: (layer) => fetchLayer(work, descriptor, progress, layer),
        onProgress: (bytes) => progress.bytes("Extracting", Math.min(bytes, size), size),
        onDone: () => progress.status("Pull complete"),
      };
    });
    return await unpackLayers(context, work.lease, sources, work.signal);
  };

  return pull;
}

function signalOf({ signal }: { signal?: AbortSignal }): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** The first line of a pull. A digest is told with its repository, a tag alone, as Docker does (moby: pull_v2.go, tagOrDigest). */
function pullingFrom({ domain, path, tag, digest }: Reference): ProgressMessage {
  return { status: `Pulling from ${path}`, id: digest === undefined ? tag! : formatReference({ domain, path, digest }) };
}

function statusOf(reference: Reference, changed: boolean): string {
  return `Status: ${changed ? "Downloaded newer image" : "Image is up to date"} for ${familiarReference(reference)}`;
}

function mismatch(reference: Reference, actual: Platform, wanted: Platform): string {
  return `image with reference ${familiarReference(reference)} was found but its platform (${formatPlatform(actual)}) does not match the specified platform (${formatPlatform(wanted)})`;
}

function checkLayers({ layers }: Manifest, name: string): void {
  checkMountable(name, layers.length);
  for (const { mediaType, digest } of layers) {
    if (!layerTypes.includes(mediaType))
      throw invalidArgument(`${name}: layer ${digest} has the unsupported media type ${JSON.stringify(mediaType.slice(0, 100))}`);
  }
}

function parseConfig(bytes: Uint8Array, digest: Digest): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw invalidArgument(`blob ${digest} is not JSON`, error);
  }
}

/** @throws EngineError invalidArgument where the config isn't that of a Linux image with as many layers as its manifest */
function checkConfig(config: unknown, layers: number, name: string): asserts config is ImageConfig {
  const bad = (why: string): EngineError => invalidArgument(`${name}: the image's config ${why}`);
  if (typeof config !== "object" || config === null) throw bad("is no JSON object");
  const { rootfs, os, architecture } = config as Record<string, unknown>;
  const ids = (rootfs as { diff_ids?: unknown } | null | undefined)?.diff_ids ?? [];
  if (!Array.isArray(ids) || !ids.every((id) => typeof id === "string" && isDigest(id))) throw bad("has bad diff_ids");
  if (ids.length !== layers) throw bad(`names ${ids.length} layers, its manifest ${layers}`);
  if (os !== undefined && os !== "" && os !== "linux") throw bad(`is for operating system ${JSON.stringify(os)}: operating system is not supported`);
  if (architecture !== undefined && typeof architecture !== "string") throw bad("has a bad architecture");
}
