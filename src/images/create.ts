import { conflict } from "../lib/errors.ts";
import { digestOf } from "../oci/digest.ts";
import type { ImageConfig } from "../oci/image.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { tagRecord } from "./tag.ts";
import { leased } from "./touched.ts";
import type { ImageContext, ImageRecord, Images, Lease } from "./types.ts";

type CreateOptions = Parameters<Images["create"]>[0];

/** The diff id of a layer that changes nothing: of a tar without entries, two blocks of zeros. */
const nothing = digestOf(new Uint8Array(1024));

/**
 * A new image from a parent and a committed snapshot. Only the snapshot's diff id is worked out, as the config names it; a blob of the layer is made when
 * somebody pushes or saves it. Where it fails the snapshot goes too.
 */
export async function createImage(ctx: ImageContext, options: CreateOptions): Promise<ImageRecord> {
  const { image, spare } = await leased(ctx, (lease) => create(ctx, lease, options));
  await ctx.collectLayers(spare);
  return image;
}

async function create(ctx: ImageContext, lease: Lease, options: CreateOptions): Promise<{ image: ImageRecord; spare: SnapshotId[] }> {
  const { parent, snapshot, reference, config: given } = options;
  const made = typeof snapshot === "function" ? await snapshot(lease.add) : snapshot;
  if (made !== undefined) lease.add(made);
  const layers = [...(parent?.layers ?? [])];
  const diffIds = [...(parent?.config.rootfs.diff_ids ?? [])];
  for (const layer of layers) lease.add(layer);
  if (parent !== undefined && ctx.byId(parent.id) === undefined) throw conflict(`image ${parent.id} was removed while an image was made from it`);
  const spare: SnapshotId[] = [];
  if (made !== undefined) {
    const identified = await ctx.snapshots.identify(made);
    lease.add(identified.snapshot);
    if (identified.diffId === nothing && options.keepEmpty !== true) {
      spare.push(identified.snapshot);
    } else {
      layers.push(identified.snapshot);
      diffIds.push(identified.diffId);
    }
  }
  const config: ImageConfig = { ...given, rootfs: { type: "layers", diff_ids: diffIds } };
  const step = config.history?.at(-1);
  if (step !== undefined && spare.length > 0) config.history = [...config.history!.slice(0, -1), { ...step, empty_layer: true }];
  const { digest } = await ctx.content.put(JSON.stringify(config));
  lease.add(digest);
  const image = ctx.store.tx(() => {
    const image = ctx.register({ id: digest, config, layers, ...(parent === undefined ? {} : { parent: parent.id }) });
    ctx.emit("create", image, image.id);
    if (reference !== undefined) tagRecord(ctx, image, reference);
    return ctx.byId(digest)!;
  });
  return { image, spare };
}
