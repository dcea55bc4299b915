import { internal, invalidArgument } from "../lib/errors.ts";
import { encodeHeader, endOfArchive, padding } from "../lib/tar-writer.ts";
import { bytesOf } from "../lib/tar.ts";
import { createPause } from "../lib/turns.ts";
import { digestOf, hexOf, isDigest, type Digest } from "../oci/digest.ts";
import { mediaTypes, type Descriptor, type Manifest, type Platform } from "../oci/image.ts";
import { platformOf } from "../oci/platform.ts";
import { familiarName, familiarReference, formatReference, parseReference, withDefaultTag, type Reference } from "../oci/reference.ts";
import { heldStream } from "./held.ts";
import { blobPath, nameAnnotation, refNameAnnotation, type ArchiveImage, type ArchiveIndex } from "./archive.ts";
import { layerType } from "./layer-type.ts";
import { summarize } from "./manifests.ts";
import { remadeLayer } from "./remade.ts";
import { resolveImage, resolveTarget } from "./resolve.ts";
import { hold } from "./touched.ts";
import type { ImageContext, ImageRecord, Lease } from "./types.ts";

/** One blob of the archive: from the content store, from memory, or made again from a snapshot. */
export interface Member {
  digest: Digest;
  size: number;
  open(): AsyncIterable<Uint8Array>;
}

/** What one name, or several of the same, come to. */
interface SavedImage {
  /** What they mean where no platform is said: for readers that know one platform a name. */
  image: ImageRecord;
  /** All platforms that are saved, `image` among them, with the manifest each came by. */
  variants: { image: ImageRecord; manifest?: Descriptor }[];
  /** The index they are members of, where it is saved as well. */
  index?: Descriptor;
  names: Reference[];
}

interface SaveOptions {
  platforms?: readonly Platform[];
  signal?: AbortSignal;
}

/**
 * `docker save`: one tar that is a docker-archive and an OCI layout. Everything is looked up before the first byte, so that errors come in time; the
 * images are held until the stream ends or is cancelled. @throws EngineError notFound
 */
export async function saveImages(ctx: ImageContext, texts: readonly string[], options: SaveOptions = {}): Promise<ReadableStream<Uint8Array>> {
  if (texts.length === 0) throw invalidArgument("no image to save was named");
  const lease = ctx.lease();
  let images: SavedImage[];
  try {
    images = await gather(ctx, lease, texts, options.platforms ?? []);
  } catch (error) {
    lease[Symbol.dispose]();
    throw error;
  }
  return heldStream(lease, write(ctx, images, options.signal), async () => {
    const pause = createPause();
    for (const { variants } of images) {
      for (const { image } of variants) ctx.emit("save", image, image.id);
      await pause();
    }
  });
}

/**
 * A name without a tag means all its tags, as Docker's save has it; what is named twice is saved once, with both names. There may be hundreds: others have
 * their turn meanwhile, and each is held from when it was looked up.
 */
async function gather(ctx: ImageContext, lease: Lease, texts: readonly string[], platforms: readonly Platform[]): Promise<SavedImage[]> {
  const pause = createPause();
  const found = new Map<Digest, SavedImage>();
  const add = (text: string, name?: Reference): void => {
    const { image, target } = resolveTarget(ctx, text);
    const index = target === undefined || ctx.membersOf(target).length === 0 ? undefined : target;
    const key = index ?? image.id;
    let saved = found.get(key);
    if (saved === undefined) {
      saved = { ...chosen(ctx, text, image, index, platforms), names: [] };
      for (const variant of saved.variants) holdLayers(ctx, lease, variant.image);
      found.set(key, saved);
    }
    if (name !== undefined && !saved.names.some((other) => formatReference(other) === formatReference(name))) saved.names.push(name);
  };
  for (const text of texts) {
    await pause();
    if (isDigest(text) || /^[a-f0-9]{64}$/.test(text)) {
      add(text);
      continue;
    }
    const reference = parseReference(text);
    const tags = reference.tag === undefined && reference.digest === undefined ? ctx.tagsOf(reference) : [];
    for (const tag of tags) add(formatReference(tag), tag);
    if (tags.length > 0) continue;
    const named = ctx.byReference(withDefaultTag(reference));
    add(text, named !== undefined && reference.digest === undefined ? withDefaultTag(reference) : undefined);
  }
  return [...found.values()];
}

/** With the blobs that its layers are stored in under other names. */
function holdLayers(ctx: ImageContext, lease: Lease, image: ImageRecord): void {
  hold(ctx, lease, [image]);
  for (const diffId of image.config.rootfs.diff_ids) for (const { digest } of ctx.layerBlobs(diffId)) lease.add(digest);
}

/** The platforms asked for, or all that are here; the index goes along where more than one of what it names does. */
function chosen(
  ctx: ImageContext,
  text: string,
  image: ImageRecord,
  index: Digest | undefined,
  platforms: readonly Platform[],
): Pick<SavedImage, "image" | "variants" | "index"> {
  const wanted = platforms.map((platform) => resolveImage(ctx, text, { platform }));
  if (index === undefined) return { image, variants: [{ image, ...(image.manifest && { manifest: image.manifest }) }] };
  const variants = ctx.membersOf(index).flatMap(({ manifest, image: id }) => {
    const member = ctx.byId(id);
    if (member === undefined || (wanted.length > 0 && !wanted.some((each) => each.id === id))) return [];
    const descriptor = ctx.describe(manifest);
    return [{ image: member, ...(descriptor && { manifest: descriptor }) }];
  });
  const main = variants.some((each) => each.image.id === image.id) ? image : (wanted[0] ?? image);
  const descriptor = platforms.length === 1 ? undefined : ctx.describe(index);
  return { image: main, variants, ...(descriptor && { index: descriptor }) };
}

async function* write(ctx: ImageContext, images: readonly SavedImage[], signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const written = new Set<Digest>();
  const index: ArchiveIndex = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] };
  const list: ArchiveImage[] = [];
  const repositories: Record<string, Record<string, string>> = {};
  const once = async function* (members: readonly Member[]): AsyncGenerator<Uint8Array, void, undefined> {
    for (const member of members) {
      if (written.has(member.digest)) continue;
      written.add(member.digest);
      yield* file(blobPath(member.digest), member);
    }
  };
  for (const directory of ["blobs/", "blobs/sha256/"]) yield encodeHeader({ name: directory, type: "directory" });
  for (const { image, names, variants, index: top } of images) {
    const descriptors: Descriptor[] = [];
    let asTheyCame = true;
    let listed = false;
    for (const { image: variant, manifest: came } of variants) {
      const { members, manifest, layers } = await membersOf(ctx, variant, came, signal);
      yield* once(members);
      asTheyCame &&= manifest.digest === came?.digest;
      descriptors.push({ ...manifest, platform: platformOf(variant.config) });
      // An index may name an image by two manifests.
      if (variant.id !== image.id || listed) continue;
      listed = true;
      list.push({ Config: blobPath(image.id), RepoTags: names.length === 0 ? null : names.map(familiarReference), Layers: layers.map(blobPath) });
    }
    const whole = top === undefined || !asTheyCame ? undefined : await indexMembers(ctx, top, variants);
    if (whole !== undefined) yield* once(whole);
    for (const descriptor of whole === undefined ? descriptors : [top!]) {
      for (const name of names)
        index.manifests.push({ ...descriptor, annotations: { [nameAnnotation]: formatReference(name), [refNameAnnotation]: name.tag! } });
      if (names.length === 0) index.manifests.push(descriptor);
    }
    const highest = image.config.rootfs.diff_ids.at(-1);
    if (highest !== undefined) for (const name of names) (repositories[familiarName(name)] ??= {})[name.tag!] = hexOf(highest);
  }
  yield* text("index.json", JSON.stringify(index));
  yield* text("manifest.json", JSON.stringify(list));
  yield* text("oci-layout", `{"imageLayoutVersion":"1.0.0"}`);
  if (Object.keys(repositories).length > 0) yield* text("repositories", JSON.stringify(repositories));
  yield endOfArchive;
}

/** The index, the indexes in it and the attestations of what is saved; undefined where only one of its manifests is. */
async function indexMembers(ctx: ImageContext, top: Descriptor, variants: SavedImage["variants"]): Promise<Member[] | undefined> {
  const indexes: Descriptor[] = [];
  const digests: Digest[] = [];
  for (const { descriptor, kind, available, subject } of await summarize(ctx, top, indexes)) {
    if (kind !== "attestation" || !available || !variants.some(({ manifest }) => manifest?.digest === subject)) continue;
    const { config, layers } = await ctx.content.json<Manifest>(descriptor.digest);
    digests.push(...[config, ...layers].map(({ digest }) => digest), descriptor.digest);
  }
  if (variants.length + digests.length < 2) return undefined;
  return [...digests, ...indexes.map(({ digest }) => digest)].map((digest) => stored(ctx, digest));
}

async function* file(path: string, { size, open }: Pick<Member, "size" | "open">): AsyncGenerator<Uint8Array, void, undefined> {
  yield encodeHeader({ name: bytesOf(path), type: "file", size });
  yield* open();
  if (size % 512 !== 0) yield padding(size);
}

function text(path: string, content: string): AsyncGenerator<Uint8Array, void, undefined> {
  return file(path, inMemory(Buffer.from(content)));
}

function inMemory(bytes: Buffer): Member {
  return {
    digest: digestOf(bytes),
    size: bytes.length,
    open: async function* () {
      yield bytes;
    },
  };
}

function stored(ctx: ImageContext, digest: Digest): Member {
  return { digest, size: ctx.content.info(digest)!.size, open: () => ctx.content.open(digest) as unknown as AsyncIterable<Uint8Array> };
}

/** `came`: the manifest that is to be kept, if it can be. */
export async function membersOf(
  ctx: ImageContext,
  image: ImageRecord,
  came: Descriptor | undefined,
  signal?: AbortSignal,
): Promise<{ members: Member[]; manifest: Descriptor; layers: Digest[] }> {
  const config = stored(ctx, image.id);
  if (came !== undefined && ctx.content.info(came.digest) !== undefined) {
    const { layers } = await ctx.content.json<Manifest>(came.digest);
    const digests = layers.map((layer) => layer.digest);
    const members = digests.flatMap((digest) => (ctx.content.info(digest) === undefined ? (remade(ctx, image, digest, signal) ?? []) : stored(ctx, digest)));
    // As it came, if all of it is here: then it can be pushed again under the same digest.
    if (members.length === digests.length) return { members: [...members, stored(ctx, came.digest), config], manifest: came, layers: digests };
  }
  const layers = image.config.rootfs.diff_ids.map((diffId) => {
    const blob = ctx.layerBlobs(diffId)[0];
    if (blob !== undefined) return { member: stored(ctx, blob.digest), mediaType: blob.mediaType };
    const member = remade(ctx, image, diffId, signal);
    if (member === undefined) throw internal(`layer ${diffId} of image ${image.id} is not here`);
    return { member, mediaType: mediaTypes.ociLayer };
  });
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest: config.digest, size: config.size },
    layers: layers.map(({ member, mediaType }) => ({ mediaType: layerType(mediaType, true), digest: member.digest, size: member.size })),
  };
  const bytes = inMemory(Buffer.from(JSON.stringify(manifest)));
  const descriptor = { mediaType: mediaTypes.ociManifest, digest: bytes.digest, size: bytes.size };
  return { members: [...layers.map(({ member }) => member), config, bytes], manifest: descriptor, layers: layers.map(({ member }) => member.digest) };
}

function remade(ctx: ImageContext, image: ImageRecord, digest: Digest, signal?: AbortSignal): Member | undefined {
  const layer = remadeLayer(ctx, image, digest);
  return layer && { digest, size: layer.size, open: () => layer.open(signal) as unknown as AsyncIterable<Uint8Array> };
}
