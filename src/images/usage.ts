import type { Digest } from "../oci/digest.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { ImageContext, ImageRecord, ListedImage } from "./types.ts";

/** Unpacked bytes of the layers of some images, each layer once. */
export function unpackedSize(ctx: ImageContext, images: readonly ImageRecord[]): number {
  let size = 0;
  for (const layer of new Set(images.flatMap((image) => image.layers))) size += ctx.snapshots.size(layer);
  return size;
}

/** Unpacked bytes of the layers of all images, each layer once. */
export function layersSize(ctx: ImageContext): number {
  return unpackedSize(ctx, ctx.all());
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
