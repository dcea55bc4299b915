import type { Digest } from "../oci/digest.ts";
import type { ImageContext } from "./types.ts";

/** What pulls, loads and builds of an earlier life left without an image to name it. Nothing is leased yet. */
export async function restoreImages(ctx: ImageContext): Promise<void> {
  const blobs = ctx.store.db.query<{ digest: Digest }, []>("SELECT digest FROM blobs WHERE digest NOT IN (SELECT digest FROM image_blobs)").all();
  await ctx.collectBlobs(blobs.map(({ digest }) => digest));
  const layers = await ctx.collectLayers(ctx.snapshots.layers().map(({ id }) => id));
  if (blobs.length + layers.length > 0) ctx.log.info("removed content that no image names", { blobs: blobs.length, layers: layers.length });
}
