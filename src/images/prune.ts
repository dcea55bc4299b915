import { invalidArgument } from "../lib/errors.ts";
import { EngineError } from "../lib/errors.ts";
import { parseTimestamp } from "../lib/time.ts";
import { booleanFilter, createdAt, entriesOf, isDangling, isVariant, matchesLabels } from "./list.ts";
import { removeImage } from "./remove.ts";
import { layersSize } from "./usage.ts";
import type { ImageContext, ImageUsers, RemovedImage } from "./types.ts";

const known = new Set(["dangling", "label", "label!", "until"]);

/** Removes what is left of broken-off pulls, and dangling images, or with `dangling=false` every image that no container uses. */
export async function pruneImages(
  ctx: ImageContext,
  users: ImageUsers,
  { filters = {} }: { filters?: Record<string, string[]> },
): Promise<{ deleted: RemovedImage[]; spaceReclaimed: number }> {
  for (const name of Object.keys(filters)) if (!known.has(name)) throw invalidArgument(`invalid filter '${name}'`);
  const danglingOnly = booleanFilter("dangling", filters["dangling"], true);
  const now = BigInt(Date.now()) * 1_000_000n;
  const until = (filters["until"] ?? []).map((value) => parseTimestamp(value, now));
  const before = layersSize(ctx);
  const deleted: RemovedImage[] = [];
  for await (const image of entriesOf(ctx)) {
    if (isVariant(ctx, image)) continue;
    if (danglingOnly ? !isDangling(ctx, image) : ctx.childrenOf(image.id).length > 0 && image.repoTags.length === 0) continue;
    if (until.some((time) => createdAt(image) >= time) || !matchesLabels(image, filters["label"] ?? [])) continue;
    if ((filters["label!"] ?? []).some((label) => matchesLabels(image, [label]))) continue;
    if (users.containersOf(image.id).length > 0) continue;
    const names = [...image.repoTags, ...image.repoDigests];
    for (const name of names.length === 0 ? [image.id] : names) {
      // An earlier name may have taken this one, or the whole image, with it.
      if (ctx.byId(image.id) === undefined) break;
      try {
        deleted.push(...(await removeImage(ctx, users, name)));
      } catch (error) {
        if (!(error instanceof EngineError) || (error.kind !== "conflict" && error.kind !== "notFound")) throw error;
        ctx.log.debug("prune leaves an image that came into use", { image: image.id, error });
      }
    }
  }
  // Nobody can tell what labels they would have had.
  const partial = filters["label"] === undefined && filters["label!"] === undefined && until.length === 0 ? await ctx.content.collectDownloads(0) : 0;
  const spaceReclaimed = before - layersSize(ctx) + partial;
  ctx.events.emit("image", "prune", "", { reclaimed: String(spaceReclaimed) });
  return { deleted, spaceReclaimed };
}
