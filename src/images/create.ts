import { conflict } from "../lib/errors.ts";
import type { ImageConfig } from "../oci/image.ts";
import { tagRecord } from "./tag.ts";
import type { ImageContext, ImageRecord, Images } from "./types.ts";

/**
 * A new image from a parent and a committed snapshot. Only the snapshot's diff id is worked out, as the config names it; a blob of the layer is made when
 * somebody pushes or saves it.
 */
export async function createImage(ctx: ImageContext, options: Parameters<Images["create"]>[0]): Promise<ImageRecord> {
  const { parent, snapshot, reference } = options;
  using lease = ctx.lease();
  const layers = [...(parent?.layers ?? [])];
  const diffIds = [...(parent?.config.rootfs.diff_ids ?? [])];
  for (const layer of layers) lease.add(layer);
  if (parent !== undefined && ctx.byId(parent.id) === undefined) throw conflict(`image ${parent.id} was removed while an image was made from it`);
  if (snapshot !== undefined) {
    lease.add(snapshot);
    const identified = await ctx.snapshots.identify(snapshot);
    lease.add(identified.snapshot);
    layers.push(identified.snapshot);
    diffIds.push(identified.diffId);
  }
  const config: ImageConfig = { ...options.config, rootfs: { type: "layers", diff_ids: diffIds } };
  const { digest } = await ctx.content.put(JSON.stringify(config));
  lease.add(digest);
  return ctx.store.tx(() => {
    const image = ctx.register({ id: digest, config, layers, ...(parent === undefined ? {} : { parent: parent.id }) });
    if (reference !== undefined) tagRecord(ctx, image, reference);
    return ctx.byId(digest)!;
  });
}
