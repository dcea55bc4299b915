import type { Digest } from "../oci/digest.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { ImageContext, ImageRecord, Images, ImageUsers, ListedImage } from "./types.ts";

/** Unpacked bytes of the layers of some images, each layer once. */
export function unpackedSize(ctx: ImageContext, images: readonly ImageRecord[]): number {
  let size = 0;
  for (const layer of new Set(images.flatMap((image) => image.layers))) size += ctx.snapshots.size(layer);
  return size;
}

/** Unpacked bytes of the layers of all images, each layer once. */
export function layersSize(ctx: ImageContext): number {
  const layers = ctx.layersOfImages();
  if (layers === undefined) return unpackedSize(ctx, ctx.all());
  let size = 0;
  for (const layer of layers) size += ctx.snapshots.size(layer);
  return size;
}

/** Of each of all images as they are listed: unpacked bytes of the layers that others have too. */
export function sharedSizes(ctx: ImageContext, listed: readonly ListedImage[]): Map<Digest, number> {
  const layersOf = ({ layers, variants }: ListedImage): Set<SnapshotId> => new Set([...layers, ...variants.flatMap((variant) => variant.layers)]);
  const users = new Map<SnapshotId, number>();
  for (const image of listed) for (const layer of layersOf(image)) users.set(layer, (users.get(layer) ?? 0) + 1);
  const shared = (image: ListedImage): number =>
    [...layersOf(image)].reduce((sum, layer) => (users.get(layer)! > 1 ? sum + ctx.snapshots.size(layer) : sum), 0);
  return new Map(listed.map((image) => [image.id, shared(image)]));
}

/** Bytes of all layers and blobs that are here. */
export function storedBytes({ snapshots, content }: ImageContext): number {
  const sum = (all: readonly { size: number }[]): number => all.reduce((total, { size }) => total + size, 0);
  return sum(snapshots.layers()) + sum(content.list());
}

/** See Images.diskUsage. */
export function diskUsage(ctx: ImageContext, users: ImageUsers, listed: readonly ListedImage[]): ReturnType<Images["diskUsage"]> {
  const layers = ctx.snapshots.layers();
  const sizes = new Map(layers.map(({ id, size }) => [id, size]));
  const sum = (ids: Iterable<SnapshotId>): number => [...ids].reduce((total, id) => total + (sizes.get(id) ?? 0), 0);
  const owned = listed.map((image) => ({ image, own: new Set([image, ...image.variants].flatMap((each) => each.layers)) }));
  const owners = new Map<SnapshotId, number>();
  for (const { own } of owned) for (const id of own) owners.set(id, (owners.get(id) ?? 0) + 1);
  const active = owned.filter(({ image }) => [image, ...image.variants].some(({ id }) => users.containersOf(id).length > 0));
  const needed = new Set(active.flatMap(({ own }) => [...own]));
  return {
    layers: sum(sizes.keys()),
    blobs: ctx.store.db
      .query<{ bytes: number }, []>("SELECT coalesce(sum(size), 0) AS bytes FROM blobs WHERE digest IN (SELECT digest FROM image_blobs)")
      .get()!.bytes,
    reclaimable: sum(new Set(owned.flatMap(({ own }) => [...own])).difference(needed)),
    shared: new Map(owned.map(({ image, own }) => [image.id, sum([...own].filter((id) => owners.get(id)! > 1))])),
  };
}
