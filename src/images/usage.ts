import type { Digest } from "../oci/digest.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { ImageContext } from "./types.ts";

/** Unpacked bytes of the layers of all images, each layer once. */
export function layersSize(ctx: ImageContext): number {
  const layers = new Set(ctx.all().flatMap((image) => image.layers));
  let size = 0;
  for (const layer of layers) size += ctx.snapshots.size(layer);
  return size;
}

/** Of each image: unpacked bytes of the layers that other images have too. */
export function sharedSizes(ctx: ImageContext): Map<Digest, number> {
  const images = ctx.all();
  const users = new Map<SnapshotId, number>();
  for (const image of images) for (const layer of new Set(image.layers)) users.set(layer, (users.get(layer) ?? 0) + 1);
  return new Map(images.map((image) => [image.id, image.layers.reduce((sum, layer) => (users.get(layer)! > 1 ? sum + ctx.snapshots.size(layer) : sum), 0)]));
}
