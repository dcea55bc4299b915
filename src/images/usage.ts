import type { ImageContext } from "./types.ts";

/** Unpacked bytes of the layers of all images, each layer once. */
export function layersSize(ctx: ImageContext): number {
  const layers = new Set(ctx.all().flatMap((image) => image.layers));
  let size = 0;
  for (const layer of layers) size += ctx.snapshots.size(layer);
  return size;
}
