import { parseManifest } from "../distribution/manifest.ts";
import type { BlobSink, BlobTarget, RemoteManifest } from "../distribution/types.ts";
import { invalidArgument, notFound } from "../lib/errors.ts";
import { digestOf, isDigest, type Digest } from "../oci/digest.ts";
import { formatPlatform, platformOf } from "../oci/platform.ts";
import { formatReference, parseReference, withDefaultTag, type Reference } from "../oci/reference.ts";
import type { Descriptor, Platform } from "../oci/image.ts";
import { heldStream } from "./held.ts";
import { checkLayerCount, checkMountable } from "./layers.ts";
import { summarize } from "./manifests.ts";
import { resolveImage, resolveTarget } from "./resolve.ts";
import { cut } from "./remade.ts";
import { membersOf, type Member } from "./save.ts";
import type { ImageContext, ImageOffer, OfferedLayer, PullSource } from "./types.ts";

/**
 * Copies of images from engine to engine, without a registry: one offers what an image consists of, the other says which layers it lacks, somebody carries
 * these across, and the other then pulls the image out of what came. What came and wasn't used is kept for a day, as that of a broken pull is.
 */

/** Of one small part, and of all that is attested: they go over in one request of 4 MiB at the most. */
const MOST_DOCUMENT = 1 << 20;

/** @throws EngineError notFound, invalidArgument where the image is named by its id */
export async function offerImage(ctx: ImageContext, text: string, { platform }: { platform?: Platform } = {}): Promise<ImageOffer> {
  const { image: meant, target } = resolveTarget(ctx, text);
  if (ctx.byReference(nameOf(text)) === undefined) throw invalidArgument(`${text} is the id of an image: a copy needs a name, so tag it first`);
  const image = platform === undefined ? meant : resolveImage(ctx, text, { platform });
  const index = target !== undefined && ctx.membersOf(target).length > 0 ? ctx.describe(target) : undefined;
  const member = index && ctx.membersOf(index.digest).find(({ image: id }) => id === image.id)?.manifest;
  const came = member === undefined ? image.manifest : ctx.describe(member);
  using lease = ctx.lease();
  for (const resource of [image.id, ...image.layers]) lease.add(resource);
  const { members, manifest } = await membersOf(ctx, image, came);
  const bytesOf = new Map<Digest, Member>(members.map((each) => [each.digest, each]));
  const document = JSON.parse((await wholeOf(bytesOf.get(manifest.digest)!)).toString()) as { layers: Descriptor[] };
  // Named by the index only where the manifest in it is the one that goes.
  const asItCame = index !== undefined && manifest.digest === member;
  const root = asItCame ? index.digest : manifest.digest;
  const name = nameOf(text);
  const small = [bytesOf.get(manifest.digest)!, bytesOf.get(image.id)!, ...(asItCame ? await around(ctx, index, manifest.digest) : [])];
  const documents: string[] = [];
  for (const each of small) documents.push((await wholeOf(each)).toString("base64"));
  return {
    reference: formatReference(name),
    platform: formatPlatform(platformOf(image.config)),
    image: image.id,
    digested: ctx.byReference({ domain: name.domain, path: name.path, digest: root }) !== undefined,
    root,
    documents,
    diffIds: image.config.rootfs.diff_ids,
    layers: document.layers.map(({ digest, size }) => ({ digest, size })),
  };
}

function nameOf(text: string): Reference {
  return withDefaultTag(parseReference(text));
}

/** The indexes that lead to a manifest, and what is attested of it. */
async function around(ctx: ImageContext, top: Descriptor, manifest: Digest): Promise<Member[]> {
  const indexes: Descriptor[] = [];
  const attested: Descriptor[] = [];
  for (const { descriptor, kind, available, subject } of await summarize(ctx, top, indexes)) {
    if (kind !== "attestation" || !available || subject !== manifest) continue;
    const { config, layers } = await ctx.content.json<{ config: Descriptor; layers: Descriptor[] }>(descriptor.digest);
    attested.push(descriptor, config, ...layers);
  }
  // An image can be used without what is attested of it.
  const fits = attested.reduce((sum, { size }) => sum + size, 0) <= MOST_DOCUMENT;
  return [...indexes, ...(fits ? attested : [])].map(({ digest }) => ({
    digest,
    size: ctx.content.info(digest)?.size ?? 0,
    open: () => ctx.content.open(digest) as unknown as AsyncIterable<Uint8Array>,
  }));
}

async function wholeOf({ digest, size, open }: Member): Promise<Buffer> {
  if (size > MOST_DOCUMENT) throw invalidArgument(`${digest} has ${size} bytes: too many for a manifest or config`);
  const parts: Uint8Array[] = [];
  for await (const part of open()) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}

/** One layer as `offerImage` tells of it, from byte `start` on. @throws EngineError notFound */
export async function offeredLayer(
  ctx: ImageContext,
  id: Digest,
  digest: Digest,
  start: number,
): Promise<{ size: number; stream: ReadableStream<Uint8Array> }> {
  const image = ctx.byId(id);
  if (image === undefined) throw notFound(`No such image: ${id}`);
  const manifest = ctx.content.info(digest) === undefined ? undefined : image.manifest;
  const { members } = await membersOf(ctx, image, manifest);
  const layer = members.find((each) => each.digest === digest) ?? storedLayer(ctx, image.config.rootfs.diff_ids, digest);
  if (layer === undefined) throw notFound(`image ${id} has no layer ${digest}`);
  const lease = ctx.lease();
  for (const resource of [image.id, digest, ...image.layers]) lease.add(resource);
  const stream = heldStream(lease, layer.open());
  return { size: layer.size, stream: start === 0 ? stream : cut(stream, { start, end: layer.size }) };
}

/** By another manifest than the image's own, which an index names. */
function storedLayer(ctx: ImageContext, diffIds: readonly Digest[], digest: Digest): Member | undefined {
  const blob = diffIds.flatMap((diffId) => ctx.layerBlobs(diffId)).find((each) => each.digest === digest);
  const info = blob && ctx.content.info(blob.digest);
  return info && { ...info, open: () => ctx.content.open(digest) as unknown as AsyncIterable<Uint8Array> };
}

/** The layers of an offer that aren't here, with the bytes of each that haven't come yet. */
export async function missingLayers(
  ctx: ImageContext,
  { diffIds, layers }: Pick<ImageOffer, "diffIds" | "layers">,
): Promise<(OfferedLayer & { ranges: { start: number; end: number }[] })[]> {
  checkMountable("the image", layers.length);
  checkLayerCount(diffIds, layers.length);
  const present = ctx.snapshots.findAll(diffIds);
  const missing = new Map<Digest, OfferedLayer & { ranges: { start: number; end: number }[] }>();
  for (const [i, layer] of layers.entries()) {
    if (present[i] !== undefined || ctx.content.info(layer.digest) !== undefined) continue;
    await using download = await ctx.content.download(layer);
    const ranges = download.missing();
    if (download.received > 0) download.keep();
    if (ranges.length > 0) missing.set(layer.digest, { ...layer, ranges });
  }
  return [...missing.values()];
}

/** Takes bytes of a layer from `start` on, as many as come. What came is kept for a day, also where the rest doesn't. @throws EngineError invalidArgument */
export async function receiveLayer(ctx: ImageContext, layer: OfferedLayer, start: number, source: AsyncIterable<Uint8Array>): Promise<void> {
  if (start > layer.size) throw invalidArgument(`byte ${start} of layer ${layer.digest}, which has ${layer.size}`);
  await using download = await ctx.content.download(layer);
  download.keep();
  let at = start;
  for await (const chunk of source) {
    if (at + chunk.length > layer.size) throw invalidArgument(`more than the ${layer.size} bytes of layer ${layer.digest}`);
    await download.write(at, [chunk]);
    at += chunk.length;
  }
}

/** What a pull reads instead of a registry: the small parts as the offer has them, and layers that came before. */
export function offeredSource(text: string, root: Digest, documents: readonly Uint8Array[]): PullSource {
  const byDigest = new Map(documents.map((bytes) => [digestOf(bytes), bytes]));
  const bytesOf = (digest: string): Uint8Array => {
    const bytes = byDigest.get(digest as Digest);
    if (bytes === undefined) throw invalidArgument(`the copy of ${text} lacks ${digest}`);
    return bytes;
  };
  const manifest = (version: string): Promise<RemoteManifest> => {
    const digest = isDigest(version) ? version : root;
    const bytes = bytesOf(digest);
    const { mediaType, document } = parseManifest(bytes, null, text);
    return Promise.resolve({ descriptor: { mediaType, digest, size: bytes.length }, bytes, document });
  };
  return {
    manifest,
    head: async () => (await manifest(root)).descriptor,
    blob: async ({ digest }: Descriptor, sink: BlobSink) => await sink.write(bytesOf(digest)),
    download: (descriptor: Descriptor, target: BlobTarget) => {
      const left = target.missing().reduce((sum, { start, end }) => sum + end - start, 0);
      if (left > 0)
        throw invalidArgument(`${left} of ${descriptor.size} bytes of layer ${descriptor.digest} haven't come, or came damaged: copy the image again`);
      return Promise.resolve();
    },
  };
}
