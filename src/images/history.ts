import { resolveImage } from "./resolve.ts";
import { createdAt } from "./list.ts";
import type { Digest } from "../oci/digest.ts";
import { parseRfc3339 } from "../lib/time.ts";
import type { ImageContext, ImageEntry, Images } from "./types.ts";

/** Newest first, as `docker history` shows it: the image's own id on top, its parents' below where it was built here. */
export function imageHistory(ctx: ImageContext, reference: string, options?: Parameters<Images["history"]>[1]): ReturnType<Images["history"]> {
  const image = resolveImage(ctx, reference, options);
  const layers = [...image.layers];
  const result: ReturnType<Images["history"]> = (image.config.history ?? []).map((entry) => {
    const layer = entry.empty_layer === true ? undefined : layers.shift();
    const created = parseRfc3339(entry.created ?? "") ?? 0n;
    return { ...entry, size: layer === undefined ? 0 : ctx.snapshots.size(layer), tags: [], createdSeconds: Number(created / 1_000_000_000n) };
  });
  // Layers without an entry (imported configs): shown all the same.
  for (const layer of layers) result.push({ size: ctx.snapshots.size(layer), tags: [], createdSeconds: Number(createdAt(image) / 1_000_000_000n) });
  result.reverse();
  let id: Digest | undefined = image.id;
  for (const entry of result) {
    const owner: ImageEntry | undefined = id === undefined ? undefined : ctx.entry(id);
    if (owner === undefined) break;
    entry.id = owner.id;
    entry.tags = owner.repoTags;
    id = owner.parent;
  }
  return result;
}
