import { realtimeNano } from "../kernel/clock.ts";
import { familiarReference, parseReference, withDefaultTag } from "../oci/reference.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { ImageConfig } from "../oci/image.ts";
import { hostPlatform, parsePlatform } from "../oci/platform.ts";
import { formatNano } from "../lib/time.ts";
import { withoutRareCompression } from "../snapshots/archive.ts";
import { layerTypeOf } from "./load.ts";
import { leased } from "./touched.ts";
import type { ImageContext, ImageRecord, Images } from "./types.ts";

/** `docker import`: a root file system as an image of one layer. Its tar is kept where it can't be made again from the layer. */
export async function importImage(ctx: ImageContext, source: ReadableStream<Uint8Array>, options: Parameters<Images["import"]>[1]): Promise<ImageRecord> {
  const platform = options.platform ? parsePlatform(options.platform) : hostPlatform();
  const reference = options.reference === undefined || options.reference === "" ? undefined : withDefaultTag(parseReference(options.reference));
  if (reference?.digest !== undefined) throw invalidArgument("cannot import digest reference");
  await using ingest = await ctx.content.ingest();
  for await (const chunk of (await withoutRareCompression(source)) as unknown as AsyncIterable<Uint8Array>) {
    options.signal?.throwIfAborted();
    await ingest.write(chunk);
  }
  return await leased(ctx, async (lease) => {
    await using blob = await ingest.seal();
    lease.add(blob.digest);
    const total = blob.size;
    const { snapshot, diffId } = await ctx.snapshots.unpack({
      source: blob.path,
      parentIds: [],
      parents: [],
      recipe: true,
      onSnapshot: lease.add,
      signal: options.signal,
      onProgress: (current) => options.onProgress({ status: "Importing", progressDetail: { current, total } }),
    });
    const created = formatNano(realtimeNano());
    const config: ImageConfig = {
      ...platform,
      config: options.config ?? {},
      created,
      history: [{ created, comment: options.message ?? "" }],
      rootfs: { type: "layers", diff_ids: [diffId] },
    };
    const { digest } = await ctx.content.put(JSON.stringify(config));
    lease.add(digest);
    const layerBlobs = [{ diffId, digest: blob.digest, mediaType: await layerTypeOf(blob.path) }];
    if (ctx.snapshots.recipe(snapshot) === undefined) await ctx.content.publish([blob]);
    const image = ctx.store.tx(() => {
      const record = ctx.register({ id: digest, config, layers: [snapshot], layerBlobs }, reference === undefined ? [] : [reference]);
      if (reference !== undefined) ctx.emit("tag", record, familiarReference(reference));
      ctx.emit("import", record, record.id);
      return record;
    });
    options.onProgress({ status: image.id });
    return image;
  });
}
