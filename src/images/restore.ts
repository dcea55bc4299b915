import type { ImageContext } from "./types.ts";

/** What pulls, loads and builds of an earlier life left without anybody to name it. Nothing is leased yet. */
export async function restoreImages(ctx: ImageContext): Promise<void> {
  const { store, content, snapshots, log } = ctx;
  const blobs = await ctx.collectBlobs(content.list().map(({ digest }) => digest));
  // what is told of a blob goes after it
  store.db.query("DELETE FROM layer_blobs WHERE digest NOT IN (SELECT digest FROM blobs)").run();
  const layers = await ctx.collectLayers(snapshots.layers().map(({ id }) => id));
  if (blobs.length + layers.length > 0) log.info("removed content that nobody names", { blobs: blobs.length, layers: layers.length });
}
