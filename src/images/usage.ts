import type { Digest } from "../oci/digest.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { createPause } from "../lib/turns.ts";
import type { ImageContext, ImageEntry, Images, ImageUsers, ListedImage } from "./types.ts";

/** Unpacked bytes of the layers of some images, each layer once. */
export function unpackedSize(ctx: ImageContext, images: readonly ImageEntry[]): number {
  let size = 0;
  for (const layer of new Set(images.flatMap((image) => image.layers))) size += ctx.snapshots.size(layer);
  return size;
}

/** Unpacked bytes of the layers of all images, each layer once. */
export function layersSize(ctx: ImageContext): number {
  const layers = ctx.layersOfImages();
  if (layers === undefined)
    return unpackedSize(
      ctx,
      ctx.ids().flatMap((id) => ctx.entry(id) ?? []),
    );
  let size = 0;
  for (const layer of layers) size += ctx.snapshots.size(layer);
  return size;
}

/** Of each of all images as they are listed: unpacked bytes of the layers that others have too. */
export async function sharedSizes(ctx: ImageContext, listed: readonly ListedImage[]): Promise<Map<Digest, number>> {
  const pause = createPause();
  const layers = new Map<Digest, Set<SnapshotId>>();
  const users = new Map<SnapshotId, number>();
  for (const image of listed) {
    await pause();
    const own = layersOf(image);
    layers.set(image.id, own);
    for (const layer of own) users.set(layer, (users.get(layer) ?? 0) + 1);
  }
  const sizes = new Map<Digest, number>();
  for (const [id, own] of layers) {
    await pause();
    sizes.set(
      id,
      [...own].reduce((sum, layer) => (users.get(layer)! > 1 ? sum + ctx.snapshots.size(layer) : sum), 0),
    );
  }
  return sizes;
}

/** Of all its platforms, each once. */
function layersOf({ layers, variants }: ListedImage): Set<SnapshotId> {
  return new Set([...layers, ...variants.flatMap((variant) => variant.layers)]);
}

/** Bytes of all layers and blobs that are here. */
export function storedBytes({ snapshots, content }: ImageContext): number {
  const sum = (all: readonly { size: number }[]): number => all.reduce((total, { size }) => total + size, 0);
  return sum(snapshots.layers()) + sum(content.list());
}

/** See Images.diskUsage. */
export async function diskUsage(ctx: ImageContext, users: ImageUsers, listed: readonly ListedImage[]): ReturnType<Images["diskUsage"]> {
  const sizes = new Map(ctx.snapshots.layers().map(({ id, size }) => [id, size]));
  const sum = (ids: Iterable<SnapshotId>): number => [...ids].reduce((total, id) => total + (sizes.get(id) ?? 0), 0);
  const pause = createPause();
  const all = new Set<SnapshotId>();
  const needed = new Set<SnapshotId>();
  for (const image of listed) {
    await pause();
    const isNeeded = [image, ...image.variants].some(({ id }) => users.containersOf(id).length > 0);
    for (const layer of layersOf(image)) {
      all.add(layer);
      if (isNeeded) needed.add(layer);
    }
  }
  return {
    layers: sum(sizes.keys()),
    blobs: ctx.store.db
      .query<{ bytes: number }, []>("SELECT coalesce(sum(size), 0) AS bytes FROM blobs WHERE digest IN (SELECT digest FROM image_blobs)")
      .get()!.bytes,
    reclaimable: sum(all.difference(needed)),
    shared: await sharedSizes(ctx, listed),
  };
}
