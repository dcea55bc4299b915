import type { BlobSource, RemoteRepository } from "../distribution/types.ts";
import { cancelled, conflict, internal, invalidArgument, notFound } from "../lib/errors.ts";
import { createGzip } from "../lib/gzip.ts";
import { createLimiter } from "../lib/limiter.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import type { Digest } from "../oci/digest.ts";
import { mediaTypes, type Descriptor, type Manifest } from "../oci/image.ts";
import { formatPlatform } from "../oci/platform.ts";
import { familiarName, familiarReference, parseReference, repositoryOf, type Reference } from "../oci/reference.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { blobSources, recordBlobSource } from "./blob-sources.ts";
import { layerType } from "./layer-type.ts";
import { layerProgress, type LayerProgress } from "./progress.ts";
import { pushTarget } from "./push-target.ts";
import { variantsOf } from "./resolve.ts";
import { hold } from "./touched.ts";
import { cut, remadeLayer } from "./remade.ts";
import type { ImageContext, ImageRecord, Images, Lease, ManifestSummary, ProgressSink } from "./types.ts";

/** Repositories tried as the source of a mount. */
const maxMountTries = 3;

type PushOptions = Parameters<Images["push"]>[1];

interface Push {
  reference: Reference;
  remote: RemoteRepository;
  image: ImageRecord;
  /** The manifest it is pushed by, if it has one. */
  sent?: Descriptor;
  lease: Lease;
  sink: ProgressSink;
  signal?: AbortSignal;
}

/** `docker push`: one for the engine, since pushes that need the same layer packed wait for each other. */
export function createPush(context: ImageContext): Images["push"] {
  const { content, snapshots, registry, store, events } = context;
  const uploads = createLimiter(() => context.limits.maxConcurrentUploads);
  const packing = new KeyedMutex();
  const gzip = createGzip();
  /** One layer is packed by all processors; the next one's first bytes are there when they run out of the first one's. */
  const packs = createLimiter(() => 2);

  const push: Images["push"] = async (text, options) => {
    const reference = parseReference(text);
    if (reference.digest !== undefined) throw invalidArgument("cannot push a digest reference");
    // Docker says this before it looks for the image, so that a missing one is told in the stream: clients rely on the 200.
    options.onProgress({ status: `The push refers to repository [${repositoryOf(reference)}]` });
    const tags = context.tagsOf(reference);
    if (tags.length === 0) throw notFound(`An image does not exist locally with the tag: ${familiarName(reference)}`);
    const found = (reference.tag === undefined ? tags : [reference]).map((tagged) => {
      const image = context.byReference(tagged);
      if (image === undefined) throw notFound(`tag does not exist: ${familiarReference(tagged)}`);
      return { tagged, image };
    });
    const remote = registry.repository(reference, { push: true, ...(options.auth && { credentials: options.auth }) });
    for (const { tagged, image } of found) await pushOne(tagged, image, remote, options);
  };

  const pushOne = async (reference: Reference, named: ImageRecord, remote: RemoteRepository, options: PushOptions): Promise<void> => {
    const { onProgress: sink, signal, platform } = options;
    using lease = context.lease();
    hold(context, lease, variantsOf(context, named, context.targetOf(reference)));
    const target = await pushTarget(context, reference, named, platform);
    const { image, manifest: sent, indexes, members = [] } = target;
    const work: Push = { reference, remote, image, lease, sink, ...(sent && { sent }), ...(signal && { signal }) };
    const { bytes, mediaType } = indexes === undefined ? ((await pushAsItCame(work)) ?? (await pushAnew(work))) : await pushIndex(work, members, indexes);
    const digest = await remote.putManifest(reference.tag!, bytes, mediaType, signal === undefined ? {} : { signal });
    await content.put(bytes, digest);
    const manifest: Descriptor = { mediaType, digest, size: bytes.length };
    store.tx(() => {
      const { id, config, layers } = image;
      const digested: Reference = { domain: reference.domain, path: reference.path, digest };
      // The tag may have moved on while we were pushing; the digest is this image's all the same.
      context.register({ id, config, layers, ...(indexes === undefined ? { manifest } : { index: digest }) }, [digested]);
      const labels = image.config.config?.Labels ?? {};
      events.emit("image", "push", familiarReference(reference), { ...labels, name: familiarName(reference) });
    });
    sink({ status: `${reference.tag}: digest: ${digest} size: ${bytes.length}` });
    sink({ progressDetail: {}, aux: { Tag: reference.tag, Digest: digest, Size: bytes.length } });
    const { insteadOf } = target;
    if (insteadOf !== undefined)
      sink({ progressDetail: {}, aux: { manifestPushedInsteadOfIndex: true, originalIndex: insteadOf, selectedManifest: manifest } });
  };

  /** Everything that the indexes name, then they themselves from the inside out; the outermost is left to the caller. */
  const pushIndex = async (
    work: Push,
    members: readonly ManifestSummary[],
    indexes: readonly Descriptor[],
  ): Promise<{ bytes: Uint8Array; mediaType: string }> => {
    const { remote, signal, sink } = work;
    const options = signal === undefined ? {} : { signal };
    for (const { descriptor, image: entry } of members) {
      const image = entry && context.byId(entry.id);
      if (image === undefined) {
        const { config, layers } = await content.json<Manifest>(descriptor.digest);
        for (const blob of [config, ...layers]) await pushBlob(work, blob, layerProgress(sink, blob.digest));
      } else if ((await pushAsItCame({ ...work, image, sent: descriptor })) === undefined) {
        throw conflict(
          `the layers of ${formatPlatform(image.config)} aren't here as they came, so that the index can't be pushed as a whole: push one platform with --platform`,
        );
      }
      await remote.putManifest(descriptor.digest, await content.bytes(descriptor.digest), descriptor.mediaType, options);
    }
    for (const { digest, mediaType } of indexes.slice(0, -1)) await remote.putManifest(digest, await content.bytes(digest), mediaType, options);
    const top = indexes.at(-1)!;
    return { bytes: await content.bytes(top.digest), mediaType: top.mediaType };
  };

  /** An image that came with a manifest keeps it, so that its digest stays, as long as its blobs are here or over there. */
  const pushAsItCame = async (work: Push): Promise<{ bytes: Uint8Array; mediaType: string } | undefined> => {
    const { sent: descriptor } = work;
    if (descriptor === undefined || content.info(descriptor.digest) === undefined) return undefined;
    const manifest = await content.json<Manifest>(descriptor.digest);
    const missing = manifest.layers.filter(
      ({ digest, mediaType }) => !isForeign(mediaType) && content.info(digest) === undefined && remadeLayer(context, work.image, digest) === undefined,
    );
    for (const { digest } of missing) {
      if ((await offered(work, digest)) === undefined) return undefined;
    }
    const layers = manifest.layers.map((layer, index) => ({ layer: () => Promise.resolve(layer), diffId: work.image.config.rootfs.diff_ids[index]! }));
    await pushLayers(work, layers);
    await pushConfig(work, manifest.config);
    return { bytes: await content.bytes(descriptor.digest), mediaType: descriptor.mediaType };
  };

  /** Built, committed, imported and loaded images: a manifest is made, in Docker's own types as Docker does. */
  const pushAnew = async (work: Push): Promise<{ bytes: Uint8Array; mediaType: string }> => {
    const { image } = work;
    const diffIds = image.config.rootfs.diff_ids;
    const plans = diffIds.map((diffId, index) => ({
      diffId,
      layer: (progress: LayerProgress, signal: AbortSignal) => compressedLayer({ ...work, signal }, diffId, image.layers[index]!, progress),
    }));
    const layers = await pushLayers(work, plans);
    const info = content.info(image.id);
    if (info === undefined) throw internal(`the config of image ${image.id} is not in the content store`);
    const oci = layers.some(({ mediaType }) => mediaType.endsWith("zstd"));
    const config: Descriptor = { mediaType: oci ? mediaTypes.ociConfig : mediaTypes.dockerConfig, size: info.size, digest: image.id };
    await pushConfig(work, config);
    const mediaType = oci ? mediaTypes.ociManifest : mediaTypes.dockerManifest;
    const manifest: Manifest = {
      schemaVersion: 2,
      mediaType,
      config,
      layers: layers.map(({ digest, size, mediaType: type }) => ({ mediaType: layerType(type, oci), size, digest })),
    };
    return { bytes: new TextEncoder().encode(JSON.stringify(manifest, null, 3)), mediaType };
  };

  interface LayerPlan {
    diffId: Digest;
    /** Finds or makes the blob. */
    layer: (progress: LayerProgress, signal: AbortSignal) => Promise<Descriptor>;
  }

  /** All layers at once, within the limit of uploads; told from the top down, as Docker does. */
  const pushLayers = async (work: Push, plans: readonly LayerPlan[]): Promise<Descriptor[]> => {
    const stop = new AbortController();
    const signal = work.signal === undefined ? stop.signal : AbortSignal.any([work.signal, stop.signal]);
    const told = plans.map(({ diffId }) => layerProgress(work.sink, diffId));
    for (const progress of told.toReversed()) progress.status("Preparing");
    const running = plans.map(async ({ layer }, index) => {
      const progress = told[index]!;
      const descriptor = await layer(progress, signal);
      work.lease.add(descriptor.digest);
      using _place = await uploads.enter({ signal, onWait: () => progress.status("Waiting") });
      await pushBlob({ ...work, signal }, descriptor, progress);
      return descriptor;
    });
    try {
      return await Promise.all(running);
    } finally {
      stop.abort();
      await Promise.allSettled(running);
    }
  };

  /** How the registry comes by a blob without our sending it, if it does: there already, or taken over from a neighbour. */
  const offered = async ({ remote, reference, signal }: Push, digest: Digest): Promise<string | undefined> => {
    const options = signal === undefined ? {} : { signal };
    if (await remote.hasBlob(digest, options)) return "Layer already exists";
    for (const from of blobSources(store, digest, reference.domain, maxMountTries)) {
      if (from !== reference.path && (await remote.mount(digest, from, options))) return `Mounted from ${from}`;
    }
    return undefined;
  };

  const pushBlob = async (work: Push, { digest, size, mediaType }: Descriptor, progress: LayerProgress): Promise<void> => {
    if (isForeign(mediaType)) return progress.status("Skipped foreign layer");
    const { remote, reference, image, signal } = work;
    let status = await offered(work, digest);
    if (status === undefined) {
      const made = content.info(digest) === undefined ? remadeLayer(context, image, digest) : undefined;
      const open: BlobSource["open"] = (range) => (made === undefined ? content.open(digest, range) : cut(made.open(signal), range));
      await remote.upload(
        { digest, size, open },
        {
          ...(signal && { signal }),
          onProgress: (bytes) => progress.bytes("Pushing", bytes, size),
          onRetry: (seconds) => progress.status(retryStatus(seconds)),
        },
      );
      status = "Pushed";
    }
    recordBlobSource(store, digest, repositoryOf(reference));
    progress.status(status);
  };

  const pushConfig = async ({ remote, signal }: Push, { digest, size }: Descriptor): Promise<void> => {
    const options = signal === undefined ? {} : { signal };
    if (!(await remote.hasBlob(digest, options))) await remote.upload({ digest, size, open: (range) => content.open(digest, range) }, options);
  };

  /** A compressed blob of the layer: one that is here, or one made from its tar, which the image then keeps. */
  const compressedLayer = async ({ image, signal }: Push, diffId: Digest, snapshot: SnapshotId, progress: LayerProgress): Promise<Descriptor> =>
    await packing.run(diffId, async () => {
      const blobs = context.layerBlobs(diffId);
      const ready = blobs.find(({ digest }) => digest !== diffId);
      if (ready !== undefined) return { ...ready, size: content.info(ready.digest)!.size };
      const plain = blobs.find(({ digest }) => digest === diffId);
      const tar = (): AsyncIterable<Uint8Array> =>
        plain === undefined
          ? (snapshots.diffTar(snapshot, { expect: diffId, ...(signal && { signal }) }) as unknown as AsyncIterable<Uint8Array>)
          : hashed(content.open(plain.digest), diffId);
      const packed = await gzipLayer(tar, progress, signal);
      const { id, config, layers } = image;
      context.register({ id, config, layers, layerBlobs: [{ diffId, digest: packed.digest, mediaType: packed.mediaType }] });
      return packed;
    });

  const gzipLayer = async (tar: () => AsyncIterable<Uint8Array>, progress: LayerProgress, signal?: AbortSignal): Promise<Descriptor> => {
    const place = await packs.enter(signal === undefined ? {} : { signal });
    using _place = place;
    await using ingest = await content.ingest();
    const told = async function* (): AsyncGenerator<Uint8Array> {
      let bytes = 0;
      for await (const chunk of tar()) {
        if (signal?.aborted === true) throw cancelled("the push was cancelled", signal.reason);
        bytes += chunk.length;
        yield chunk;
        progress.bytes("Preparing", bytes, 0);
      }
    };
    for await (const piece of gzip.pack(told())) await ingest.write(piece);
    // While the disk takes this one the processors have the next.
    place[Symbol.dispose]();
    return { mediaType: mediaTypes.dockerLayerGzip, ...(await ingest.commit()) };
  };

  return push;
}

/** Checked on the way, since the image's config promises it. */
async function* hashed(tar: ReadableStream<Uint8Array>, diffId: Digest): AsyncGenerator<Uint8Array> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of tar as unknown as AsyncIterable<Uint8Array>) {
    hasher.update(chunk);
    yield chunk;
  }
  const actual = `sha256:${hasher.digest("hex")}`;
  if (actual !== diffId) throw internal(`layer ${diffId} can't be pushed: its blob is damaged, and has digest ${actual}`);
}

/** May not be given on: whoever pulls it has it from the addresses in its descriptor (image-spec, "Non-Distributable Layers"). */
function isForeign(mediaType: string): boolean {
  return mediaType.includes(".foreign.") || mediaType.includes(".nondistributable.");
}

function retryStatus(seconds: number): string {
  return `Retrying in ${seconds} second${seconds === 1 ? "" : "s"}`;
}
