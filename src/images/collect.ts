import { EngineError } from "../lib/errors.ts";
import { createTurns } from "../lib/turns.ts";
import { listImages, matchesReference } from "./list.ts";
import { removeImage } from "./remove.ts";
import { storedBytes } from "./usage.ts";
import type { ImageContext, ImageEntry, Images, ImageUsers, ListedImage } from "./types.ts";

/**
 * Removes images that nobody uses, names and all, those not used for longest first, until so many bytes are free. This is what an administrator asked for by
 * setting a budget: nothing calls it otherwise.
 */
export async function collectImages(ctx: ImageContext, users: ImageUsers, options: Parameters<Images["collect"]>[0]): ReturnType<Images["collect"]> {
  const { bytes, unusedFor, keep } = options;
  const before = storedBytes(ctx);
  const lastUse = (image: ListedImage): number => Math.max(...[image, ...image.variants].map(({ id }) => ctx.lastUses.at(id)));
  const candidates = (await listImages(ctx))
    .map((image) => ({ image, at: lastUse(image) }))
    .filter(({ image, at }) => at < Date.now() - unusedFor && !isKept(image, keep))
    .sort((a, b) => a.at - b.at);
  const removed: string[] = [];
  const turns = createTurns();
  let freed = 0;
  // Again, as long as some went: what others were built on can go after them.
  for (let left = candidates, tried = -1; left.length > 0 && left.length !== tried && freed < bytes;) {
    tried = left.length;
    const stay: typeof left = [];
    for (const candidate of left) {
      const { image, at } = candidate;
      if (freed >= bytes) break;
      await turns();
      const all = [image, ...image.variants];
      if (all.some(({ id }) => ctx.isLeased(id) || users.containersOf(id).length > 0)) continue;
      if (all.some(({ id }) => ctx.childrenOf(id).length > 0) || !(await removeAll(ctx, users, image))) {
        stay.push(candidate);
        continue;
      }
      const name = image.repoTags[0] ?? image.repoDigests[0] ?? image.id;
      removed.push(name);
      freed = before - storedBytes(ctx);
      ctx.log.info("removed an image to stay within the budget", { image: name, lastUsed: new Date(at).toISOString() });
    }
    left = stay;
  }
  return { removed, freed };
}

function isKept(image: ImageEntry, patterns: readonly string[]): boolean {
  return [...image.repoTags, ...image.repoDigests].some((name) => matchesReference(name, patterns));
}

/** True where the image is gone. */
async function removeAll(ctx: ImageContext, users: ImageUsers, image: ImageEntry): Promise<boolean> {
  for (const name of [...image.repoTags, ...image.repoDigests, image.id]) {
    if (ctx.byId(image.id) === undefined) break;
    try {
      await removeImage(ctx, users, name);
    } catch (error) {
      if (!(error instanceof EngineError) || (error.kind !== "conflict" && error.kind !== "notFound")) throw error;
      ctx.log.debug("an image that came into use stays", { image: image.id, error });
    }
  }
  return ctx.byId(image.id) === undefined;
}
