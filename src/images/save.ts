import { internal, invalidArgument } from "../lib/errors.ts";
import { encodeHeader, endOfArchive, padding } from "../lib/tar-writer.ts";
import { bytesOf } from "../lib/tar.ts";
import { digestOf, hexOf, isDigest, type Digest } from "../oci/digest.ts";
import { mediaTypes, type Descriptor, type Manifest } from "../oci/image.ts";
import { familiarName, familiarReference, formatReference, parseReference, withDefaultTag, type Reference } from "../oci/reference.ts";
import { blobPath, nameAnnotation, refNameAnnotation, type ArchiveImage, type ArchiveIndex } from "./archive.ts";
import { resolveImage } from "./resolve.ts";
import type { ImageContext, ImageRecord } from "./types.ts";

/** One blob of the archive: from the content store, from memory, or made again from a snapshot. */
interface Member {
  digest: Digest;
  size: number;
  open(): AsyncIterable<Uint8Array>;
}

interface SavedImage {
  image: ImageRecord;
  names: Reference[];
}

/**
 * `docker save`: one tar that is a docker-archive and an OCI layout. Everything is looked up before the first byte, so that errors come in time; the
 * images are held until the stream ends or is cancelled. @throws EngineError notFound
 */
export function saveImages(ctx: ImageContext, texts: readonly string[], options: { signal?: AbortSignal } = {}): ReadableStream<Uint8Array> {
  if (texts.length === 0) throw invalidArgument("no image to save was named");
  const images = gather(ctx, texts);
  const lease = ctx.lease();
  for (const { image } of images) {
    lease.add(image.id);
    for (const layer of image.layers) lease.add(layer);
    if (image.manifest !== undefined) lease.add(image.manifest.digest);
    for (const diffId of image.config.rootfs.diff_ids) for (const { digest } of ctx.layerBlobs(diffId)) lease.add(digest);
  }
  const parts = write(ctx, images, options.signal);
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const step = await parts.next();
          if (step.done !== true) return controller.enqueue(step.value);
          for (const { image } of images) ctx.emit("save", image, image.id);
          lease[Symbol.dispose]();
          controller.close();
        } catch (error) {
          lease[Symbol.dispose]();
          controller.error(error);
        }
      },
      cancel: async () => {
        lease[Symbol.dispose]();
        await parts.return();
      },
    },
    { highWaterMark: 0 },
  );
}

/** A name without a tag means all its tags, as Docker's save has it; an image named twice is saved once, with both names. */
function gather(ctx: ImageContext, texts: readonly string[]): SavedImage[] {
  const byId = new Map<Digest, SavedImage>();
  const add = (image: ImageRecord, name?: Reference): void => {
    const saved = byId.get(image.id) ?? { image, names: [] };
    byId.set(image.id, saved);
    if (name !== undefined && !saved.names.some((other) => formatReference(other) === formatReference(name))) saved.names.push(name);
  };
  for (const text of texts) {
    if (isDigest(text) || /^[a-f0-9]{64}$/.test(text)) {
      add(resolveImage(ctx, text));
      continue;
    }
    const reference = parseReference(text);
    const tags = reference.tag === undefined && reference.digest === undefined ? ctx.tagsOf(reference) : [];
    for (const tag of tags) add(ctx.byReference(tag)!, tag);
    if (tags.length > 0) continue;
    const named = ctx.byReference(withDefaultTag(reference));
    add(named ?? resolveImage(ctx, text), named !== undefined && reference.digest === undefined ? withDefaultTag(reference) : undefined);
  }
  return [...byId.values()];
}

async function* write(ctx: ImageContext, images: readonly SavedImage[], signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const written = new Set<Digest>();
  const index: ArchiveIndex = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] };
  const list: ArchiveImage[] = [];
  const repositories: Record<string, Record<string, string>> = {};
  for (const directory of ["blobs/", "blobs/sha256/"]) yield encodeHeader({ name: directory, type: "directory" });
  for (const { image, names } of images) {
    const { members, manifest, layers } = await membersOf(ctx, image, signal);
    for (const member of members) {
      if (written.has(member.digest)) continue;
      written.add(member.digest);
      yield* file(blobPath(member.digest), member);
    }
    const { os, architecture, variant } = image.config;
    const descriptor = { ...manifest, platform: { architecture, os, ...(variant === undefined ? {} : { variant }) } };
    for (const name of names) index.manifests.push({ ...descriptor, annotations: { [nameAnnotation]: formatReference(name), [refNameAnnotation]: name.tag! } });
    if (names.length === 0) index.manifests.push(descriptor);
    list.push({ Config: blobPath(image.id), RepoTags: names.length === 0 ? null : names.map(familiarReference), Layers: layers.map(blobPath) });
    const top = image.config.rootfs.diff_ids.at(-1);
    if (top !== undefined) for (const name of names) (repositories[familiarName(name)] ??= {})[name.tag!] = hexOf(top);
  }
  yield* text("index.json", JSON.stringify(index));
  yield* text("manifest.json", JSON.stringify(list));
  yield* text("oci-layout", `{"imageLayoutVersion":"1.0.0"}`);
  if (Object.keys(repositories).length > 0) yield* text("repositories", JSON.stringify(repositories));
  yield endOfArchive;
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

async function membersOf(ctx: ImageContext, image: ImageRecord, signal?: AbortSignal): Promise<{ members: Member[]; manifest: Descriptor; layers: Digest[] }> {
  const stored = (digest: Digest): Member => ({
    digest,
    size: ctx.content.info(digest)!.size,
    open: () => ctx.content.open(digest) as unknown as AsyncIterable<Uint8Array>,
  });
  const config = stored(image.id);
  if (image.manifest !== undefined && ctx.content.info(image.manifest.digest) !== undefined) {
    const { layers } = await ctx.content.json<Manifest>(image.manifest.digest);
    const digests = layers.map((layer) => layer.digest);
    // As it came, if all of it is here: then it can be pushed again under the same digest.
    if (digests.every((digest) => ctx.content.info(digest) !== undefined)) {
      return { members: [...digests.map(stored), config, stored(image.manifest.digest)], manifest: image.manifest, layers: digests };
    }
  }
  const layers = image.config.rootfs.diff_ids.map((diffId, i) => {
    const blob = ctx.layerBlobs(diffId)[0];
    if (blob !== undefined) return { member: stored(blob.digest), mediaType: blob.mediaType };
    const size = ctx.snapshots.tarSize(diffId);
    const snapshot = image.layers[i];
    if (size === undefined || snapshot === undefined) throw internal(`layer ${diffId} of image ${image.id} is not here`);
    return { member: { digest: diffId, size, open: () => remade(ctx, snapshot, diffId, signal) }, mediaType: mediaTypes.ociLayer };
  });
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, digest: config.digest, size: config.size },
    layers: layers.map(({ member, mediaType }) => ({ mediaType, digest: member.digest, size: member.size })),
  };
  const bytes = inMemory(Buffer.from(JSON.stringify(manifest)));
  const descriptor = { mediaType: mediaTypes.ociManifest, digest: bytes.digest, size: bytes.size };
  return { members: [...layers.map(({ member }) => member), config, bytes], manifest: descriptor, layers: layers.map(({ member }) => member.digest) };
}

/** The layer's tar out of its snapshot, checked on the way: it must be what the image's config says. */
async function* remade(
  ctx: ImageContext,
  snapshot: ImageRecord["layers"][number],
  diffId: Digest,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of ctx.snapshots.diffTar(snapshot, signal === undefined ? {} : { signal }) as unknown as AsyncIterable<Uint8Array>) {
    hasher.update(chunk);
    yield chunk;
  }
  const digest = `sha256:${hasher.digest("hex")}`;
  if (digest !== diffId) throw internal(`layer ${diffId} came out of its snapshot as ${digest}: the snapshot was changed`);
}
