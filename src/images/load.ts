import type { Staged } from "../content/types.ts";
import { compressionOf, decompressed, decompressionError, MAGIC_BYTES } from "../lib/compression.ts";
import { indexTypes, manifestTypes } from "../distribution/manifest.ts";
import { cancelled, EngineError, invalidArgument, notFound } from "../lib/errors.ts";
import { cleanParts, textOf } from "../lib/tar.ts";
import { readTar, type TarEntry } from "../lib/tar-reader.ts";
import type { Digest } from "../oci/digest.ts";
import { mediaTypes, type Descriptor, type ImageConfig, type Platform } from "../oci/image.ts";
import { formatPlatform, normalizePlatform } from "../oci/platform.ts";
import { familiarReference, parseReference, withDefaultTag, type Reference } from "../oci/reference.ts";
import { hasRareCompression, withoutRareCompression } from "../snapshots/archive.ts";
import { blobPath, nameAnnotation, refNameAnnotation, type ArchiveImage } from "./archive.ts";
import { EarlyLayers } from "./early-layers.ts";
import { checkLayerCount, checkMountable, unpackLayers, type LayerSource } from "./layers.ts";
import { attestationSubject, isAttestation } from "./manifests.ts";
import { layerProgress } from "./progress.ts";
import { isSamePlatform, shortId } from "./resolve.ts";
import { checkedConfig, checkedManifest } from "./shapes.ts";
import { Touched } from "./touched.ts";
import type { ImageContext, ImageRecord, Images, Lease, NewImage } from "./types.ts";

/** Entries and bytes of JSON that an archive may have before it is no image archive any more. */
const MOST_ENTRIES = 100_000;
const MOST_JSON = 8 << 20;
/** Files at the archive's root that describe it; everything else is content. */
const descriptions = new Set(["manifest.json", "index.json", "oci-layout", "repositories"]);

type LoadOptions = Parameters<Images["load"]>[1];

/** What the archive held: content by path, and the descriptions. */
interface Archive {
  blobs: Map<string, Digest>;
  /** The content, of which an image's parts are published with it. */
  staged: Map<Digest, Staged>;
  links: Map<string, string>;
  json: Map<string, unknown>;
}

interface FoundImage {
  config: Digest;
  layers: Digest[];
  names: Reference[];
  manifest?: Descriptor;
  /** The index that it is a member of, for which the names stand. */
  index?: Digest;
  /** Indexes within that, and what is attested of the image. */
  attached?: Digest[];
}

/**
 * `docker load`: a docker-archive of any age since 1.10, or an OCI layout; plain, gzip, zstd, xz or bzip2. Content goes into the store as it comes, since the
 * description may be the last entry. What no image needs is removed again.
 */
export async function loadImages(ctx: ImageContext, source: ReadableStream<Uint8Array>, options: LoadOptions): Promise<void> {
  const touched = new Touched();
  using lease = touched.watch(ctx.lease());
  const archive: Archive = { blobs: new Map(), staged: new Map(), links: new Map(), json: new Map() };
  // of those that aren't for the platforms asked for nothing is unpacked
  const early = options.platforms?.length ? undefined : new EarlyLayers(ctx, lease, options.signal);
  try {
    await readArchive(ctx, lease, source, { archive, early }, options.signal);
    const found = await forPlatforms(ctx, archive, await imagesOf(ctx, archive), options.platforms ?? []);
    if (found.length === 0) throw invalidArgument("the archive holds no image");
    const told = new Set<string>();
    for (const [i, image] of found.entries()) {
      const later = new Set(found.slice(i + 1).flatMap(({ layers }) => layers));
      await loadOne(ctx, lease, { archive, early, later }, image, told, options);
    }
  } finally {
    await early?.[Symbol.asyncDispose]();
    for (const blob of archive.staged.values()) await blob[Symbol.asyncDispose]();
    lease[Symbol.dispose]();
    await ctx.collectLayers(touched.snapshots);
    await ctx.collectBlobs(touched.blobs);
  }
}

async function readArchive(
  ctx: ImageContext,
  lease: Lease,
  source: ReadableStream<Uint8Array>,
  { archive, early }: { archive: Archive; early: EarlyLayers | undefined },
  signal?: AbortSignal,
): Promise<void> {
  let entries = 0;
  let jsonLeft = MOST_JSON;
  const stopped = (): boolean => signal?.aborted ?? false;
  try {
    const { stream } = await decompressed(await withoutRareCompression(source));
    for await (const entry of readTar(stream as unknown as AsyncIterable<Uint8Array>)) {
      if (stopped()) throw cancelled("loading images was cancelled");
      if (++entries > MOST_ENTRIES) throw invalidArgument(`the archive has more than ${MOST_ENTRIES} entries`);
      const { header, body } = entry;
      const parts = cleanParts(header.name);
      if (parts === undefined) throw invalidArgument(`archive entry ${JSON.stringify(textOf(header.name))} leaves the archive`);
      const path = parts.join("/");
      if (header.type === "symlink" || header.type === "hardlink") {
        // Old docker save: a layer that was there already is a link to its file.
        const target = cleanParts(header.type === "symlink" ? [...parts.slice(0, -1), header.linkName].join("/") : header.linkName);
        if (target !== undefined) archive.links.set(path, target.join("/"));
      } else if (header.type === "file" && descriptions.has(path)) {
        if (header.size > jsonLeft) throw invalidArgument(`${path} of the archive is too big`);
        jsonLeft -= header.size;
        archive.json.set(path, parseJson(path, await bytesOfBody(body)));
      } else if (header.type === "file" && header.size > 0) {
        const came = await staged(ctx, body, stopped);
        // blobs of an OCI layout are named by their digests, and stay as they are
        const blob = path.startsWith("blobs/") ? came : await stagedPlain(ctx, came, stopped);
        lease.add(blob.digest);
        archive.blobs.set(path, blob.digest);
        if (archive.staged.has(blob.digest)) await blob[Symbol.asyncDispose]();
        else {
          archive.staged.set(blob.digest, blob);
          await early?.offer(blob);
        }
      }
    }
  } catch (error) {
    throw decompressionError(error);
  }
}

/** What comes, in a file. */
async function staged(ctx: ImageContext, source: AsyncIterable<Uint8Array>, stopped: () => boolean): Promise<Staged> {
  await using ingest = await ctx.content.ingest();
  for await (const chunk of source) {
    if (stopped()) throw cancelled("loading images was cancelled");
    await ingest.write(chunk);
  }
  return await ingest.seal();
}

/** A layer that is xz or bzip2 compressed, as Docker takes it in archives, but no registry does: its tar takes its place. Anything else as it is. */
async function stagedPlain(ctx: ImageContext, blob: Staged, stopped: () => boolean): Promise<Staged> {
  if (!hasRareCompression(await Bun.file(blob.path).slice(0, MAGIC_BYTES).bytes())) return blob;
  await using _packed = blob;
  return await staged(ctx, (await withoutRareCompression(Bun.file(blob.path).stream())) as unknown as AsyncIterable<Uint8Array>, stopped);
}

/** Where content of the archive lies: by itself, or in the store once an image that has it was loaded. */
function fileOf(ctx: ImageContext, { staged }: Archive, digest: Digest): string {
  return ctx.content.info(digest) === undefined ? staged.get(digest)!.path : ctx.content.path(digest);
}

/** A description among the content. */
async function jsonAt<T>(ctx: ImageContext, archive: Archive, digest: Digest): Promise<T> {
  const { size } = archive.staged.get(digest)!;
  if (size > MOST_JSON) throw invalidArgument(`blob ${digest} of the archive has ${size} bytes: too many for what it should be`);
  return parseJson(`blob ${digest}`, await Bun.file(fileOf(ctx, archive, digest)).bytes()) as T;
}

async function bytesOfBody(body: TarEntry["body"]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of body) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

function parseJson(path: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
  } catch (error) {
    throw invalidArgument(`${path} of the archive is not JSON`, error);
  }
}

async function imagesOf(ctx: ImageContext, archive: Archive): Promise<FoundImage[]> {
  const list = archive.json.get("manifest.json");
  const index = archive.json.get("index.json");
  const manifests = index === undefined ? [] : await manifestsOf(ctx, archive, index);
  if (list === undefined && index === undefined) throw invalidArgument("unrecognized image format: the archive has neither manifest.json nor index.json");
  if (list === undefined) return manifests;
  if (!Array.isArray(list)) throw invalidArgument("manifest.json of the archive is no list");
  const listed = list.map((item: ArchiveImage): FoundImage => {
    if (typeof item?.Config !== "string" || !Array.isArray(item.Layers)) throw invalidArgument("manifest.json of the archive lacks Config or Layers");
    const config = blobAt(archive, item.Config);
    const names = (item.RepoTags ?? []).map(taggedName);
    // The same image may stand in the OCI index as well: then its manifest is kept, so that a push gives the same digest again.
    const twin = manifests.find((image) => image.config === config);
    const layers = item.Layers.map((path) => blobAt(archive, String(path)));
    const same = twin !== undefined && twin.layers.length === layers.length && twin.layers.every((layer, i) => layer === layers[i]);
    return same ? { ...twin, names } : { config, layers, names };
  });
  // manifest.json has one platform of each name: the index knows the others.
  const others = manifests.flatMap((image) => {
    if (image.index === undefined || listed.some(({ config }) => config === image.config)) return [];
    const names = listed.filter(({ index: same }) => same === image.index).flatMap((twin) => twin.names);
    return listed.some(({ index: same }) => same === image.index) ? [{ ...image, names }] : [];
  });
  return [...listed, ...others];
}

/**
 * Those for the platforms asked for, of which each must be there; all where none was, but for those of an index that are for other systems.
 * @throws EngineError notFound, invalidArgument
 */
async function forPlatforms(ctx: ImageContext, archive: Archive, found: FoundImage[], wanted: readonly Platform[]): Promise<FoundImage[]> {
  const platforms = wanted.map(normalizePlatform);
  const configs = new Map<FoundImage, ImageConfig>();
  for (const image of found) {
    const config = await jsonAt<Partial<ImageConfig> | null>(ctx, archive, image.config);
    if (image.index !== undefined && (config?.os ?? "linux") !== "linux") continue;
    configs.set(image, checkedConfig(config, `image ${shortId(image.config)}`));
  }
  if (wanted.length === 0) return [...configs.keys()];
  const missing = platforms.filter((platform) => ![...configs.values()].some((config) => isSamePlatform(platform, config)));
  if (missing.length > 0) throw notFound(`requested platform(s) (${missing.map(formatPlatform).join(", ")}) not found in the archive`);
  return [...configs].filter(([, config]) => platforms.some((platform) => isSamePlatform(platform, config))).map(([image]) => image);
}

function taggedName(text: unknown): Reference {
  const reference = parseReference(String(text));
  if (reference.tag === undefined || reference.digest !== undefined) throw invalidArgument(`invalid tag ${JSON.stringify(text)}`);
  return reference;
}

/** The content at a path of the archive, links followed. */
function blobAt(archive: Archive, path: string): Digest {
  let at = cleanParts(path)?.join("/") ?? "";
  for (let hops = 0; hops < 10; hops++) {
    const digest = archive.blobs.get(at);
    if (digest !== undefined) return digest;
    const target = archive.links.get(at);
    if (target === undefined) break;
    at = target;
  }
  throw invalidArgument(`invalid archive: ${JSON.stringify(path)} is not in it`);
}

/** The images that an OCI index names; of an index of platforms those that are there. */
async function manifestsOf(ctx: ImageContext, archive: Archive, document: unknown): Promise<FoundImage[]> {
  const top = checkedManifest(document, "index.json of the archive");
  if (top.kind !== "index") throw invalidArgument("index.json of the archive has no list of manifests");
  const found = new Map<string, FoundImage>();
  for (const entry of top.index.manifests) {
    const name = nameOf(entry);
    for (const image of await imagesAt(ctx, archive, entry)) {
      const key = `${image.index} ${image.manifest!.digest}`;
      const known = found.get(key) ?? image;
      if (name !== undefined) known.names.push(name);
      found.set(key, known);
    }
  }
  return [...found.values()];
}

/** The images that an entry of index.json leads to; none for what is no image. */
async function imagesAt(ctx: ImageContext, archive: Archive, entry: Descriptor): Promise<FoundImage[]> {
  const found: FoundImage[] = [];
  const indexes: Digest[] = [];
  const attestations = new Map<string, Digest[]>();
  const walk = async (at: Descriptor, depth: number): Promise<void> => {
    // An index may name what we don't know: that is no error (image-spec, image-index.md, on mediaType).
    if (at.mediaType && ![...manifestTypes, ...indexTypes].includes(at.mediaType)) return;
    const digest = blobAt(archive, blobPath(at.digest));
    if (digest !== at.digest) throw invalidArgument(`blob ${at.digest} of the archive has digest ${digest}`);
    const document = checkedManifest(await jsonAt(ctx, archive, digest), `blob ${digest} of the archive`);
    if (document.kind === "index") {
      if (depth > 2) throw invalidArgument("the archive's index is nested too deep");
      indexes.push(digest);
      // Platforms that were not saved are missing from the archive.
      for (const child of document.index.manifests) if (archive.blobs.has(blobPath(child.digest))) await walk(child, depth + 1);
      return;
    }
    const { manifest } = document;
    const subject = at.annotations?.[attestationSubject];
    if (isAttestation(at) && subject !== undefined) {
      const blobs = [digest, ...[manifest.config, ...manifest.layers].map((blob) => blob.digest)].filter((blob) => archive.blobs.has(blobPath(blob)));
      attestations.set(subject, [...(attestations.get(subject) ?? []), ...blobs]);
    }
    // Attestations and other artifacts stand beside images; they can't be run.
    if (isAttestation(at) || ![mediaTypes.ociConfig, mediaTypes.dockerConfig].includes(manifest.config.mediaType as typeof mediaTypes.ociConfig)) return;
    found.push({
      config: blobAt(archive, blobPath(manifest.config.digest)),
      layers: manifest.layers.map((layer) => blobAt(archive, blobPath(layer.digest))),
      names: [],
      manifest: { mediaType: manifest.mediaType ?? at.mediaType ?? mediaTypes.ociManifest, digest, size: archive.staged.get(digest)!.size },
    });
  };
  await walk(entry, 0);
  const [index, ...nested] = indexes;
  if (index === undefined) return found;
  return found.map((image) => ({ ...image, index, attached: [...nested, ...(attestations.get(image.manifest!.digest) ?? [])] }));
}

function nameOf(entry: Descriptor): Reference | undefined {
  const text = entry.annotations?.[nameAnnotation] ?? entry.annotations?.[refNameAnnotation];
  // A bare tag (skopeo writes "latest") names no repository.
  if (text === undefined || !/[:/]/.test(text)) return undefined;
  try {
    const reference = withDefaultTag(parseReference(text));
    return reference.digest === undefined ? reference : undefined;
  } catch (error) {
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

/** `later`: layers that other images of the archive need yet. `told`: the names that were said to be loaded already, with another platform. */
async function loadOne(
  ctx: ImageContext,
  lease: Lease,
  { archive, early, later }: { archive: Archive; early: EarlyLayers | undefined; later: ReadonlySet<Digest> },
  found: FoundImage,
  told: Set<string>,
  { onProgress, quiet = false, signal }: LoadOptions,
): Promise<void> {
  const config = checkedConfig(await jsonAt(ctx, archive, found.config), `image ${shortId(found.config)}`);
  const diffIds = config.rootfs.diff_ids;
  checkLayerCount(diffIds, found.layers.length);
  checkMountable(`image ${shortId(found.config)}`, diffIds.length);
  const types = await Promise.all(found.layers.map((blob) => layerTypeOf(fileOf(ctx, archive, blob))));
  const sources = found.layers.map((blob, i): LayerSource => {
    const diffId = diffIds[i]!;
    const { size } = archive.staged.get(blob)!;
    const progress = layerProgress(onProgress, diffId);
    const tell = quiet ? undefined : (current: number): void => progress.bytes("Loading layer", current, size);
    return {
      diffId,
      unpack: async (rest) => {
        await early?.finished(blob, tell);
        return (await ctx.snapshots.unpack({ ...rest, source: fileOf(ctx, archive, blob), digest: blob, recipe: types[i] === mediaTypes.ociLayer })).snapshot;
      },
      ...(tell && { onProgress: tell }),
    };
  });
  const unpacked = await unpackLayers(ctx, lease, sources, signal);
  // An uncompressed layer needs no blob where its tar can be made from what it was unpacked to; without its file there is less to sync.
  const isSpare = (blob: Digest, i: number): boolean => blob === diffIds[i] && ctx.snapshots.recipe(unpacked[i]!) !== undefined;
  const spare = found.layers.filter((blob, i) => isSpare(blob, i));
  for (const blob of spare) if (!later.has(blob)) await archive.staged.get(blob)![Symbol.asyncDispose]();
  const needed = new Set([...attachedTo(found), ...found.layers]).difference(new Set(spare));
  const blobs = [...needed].flatMap((blob) => archive.staged.get(blob) ?? []);
  const [layers] = await Promise.all([ctx.snapshots.settle(unpacked), ctx.content.publish(blobs)]);
  for (const layer of layers) lease.add(layer);
  const layerBlobs = found.layers.map((digest, i) => ({ diffId: diffIds[i]!, digest, mediaType: types[i]! }));
  const { manifest, index, attached = [] } = found;
  const image: NewImage = { id: found.config, config, layers, layerBlobs, attached, ...(manifest && { manifest }), ...(index && { index }) };
  const lines = ctx.store.tx(() => {
    const renamed = found.names.flatMap((name) => {
      const before = ctx.byReference(name);
      return before === undefined || before.id === found.config || (index !== undefined && ctx.targetOf(name) === index)
        ? []
        : [`The image ${familiarReference(name)} already exists, renaming the old one with ID ${before.id} to empty string\n`];
    });
    const record: ImageRecord = ctx.register(image, found.names);
    ctx.emit("load", record, record.id);
    const loaded = found.names.map((name) => `Loaded image: ${familiarReference(name)}\n`).filter((line) => !told.has(line));
    for (const line of loaded) told.add(line);
    return [...renamed, ...(found.names.length === 0 ? [`Loaded image ID: ${record.id}\n`] : loaded)];
  });
  for (const stream of lines) onProgress({ stream });
}

/** What an image consists of beside its layers. */
function attachedTo({ config, manifest, index, attached = [] }: FoundImage): Digest[] {
  return [config, ...attached, ...(manifest === undefined ? [] : [manifest.digest]), ...(index === undefined ? [] : [index])];
}

/** A layer's media type, told by the first bytes of its file: docker-archives don't say. */
export async function layerTypeOf(path: string): Promise<string> {
  const first = await Bun.file(path).slice(0, MAGIC_BYTES).bytes();
  return { none: mediaTypes.ociLayer, gzip: mediaTypes.ociLayerGzip, zstd: mediaTypes.ociLayerZstd }[compressionOf(first)];
}
