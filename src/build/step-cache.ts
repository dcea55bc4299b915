import type { ImageRecord, Images } from "../images/types.ts";
import { EngineError } from "../lib/errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Store } from "../store/store.ts";

/** Which images a step gave: cache keys to images, in table build_cache. The one used last is taken; one that is gone is no hit. */
export interface StepCache {
  find(key: string): ImageRecord | undefined;
  record(key: string, image: ImageRecord): void;
}

export interface StepCacheOptions {
  noCache: boolean;
  /** Where given, only images in the history of these count. One that isn't here gives no hits, and no error. */
  cacheFrom: readonly string[];
}

export function createStepCache({ store, images }: { store: Store; images: Images }, options: StepCacheOptions): StepCache {
  const allowed = options.cacheFrom.length === 0 ? undefined : ancestors(images, options.cacheFrom);
  const record = (key: string, image: ImageRecord): void => {
    store.db
      .query("INSERT INTO build_cache (key, image, used_at) VALUES (?, ?, ?) ON CONFLICT (key, image) DO UPDATE SET used_at = excluded.used_at")
      .run(key, image.id, Date.now());
  };
  return {
    find: (key) => {
      if (options.noCache) return undefined;
      const rows = store.db.query<{ image: Digest }, [string]>("SELECT image FROM build_cache WHERE key = ? ORDER BY used_at DESC").all(key);
      for (const { image: id } of rows) {
        if (allowed !== undefined && !allowed.has(id)) continue;
        const image = resolveHere(images, id);
        if (image === undefined) {
          store.db.query("DELETE FROM build_cache WHERE key = ? AND image = ?").run(key, id);
          continue;
        }
        record(key, image);
        return image;
      }
      return undefined;
    },
    record,
  };
}

function resolveHere(images: Images, reference: string): ImageRecord | undefined {
  try {
    return images.resolve(reference);
  } catch (error) {
    if (error instanceof EngineError && (error.kind === "notFound" || error.kind === "invalidArgument")) return undefined;
    throw error;
  }
}

function ancestors(images: Images, references: readonly string[]): Set<Digest> {
  const found = new Set<Digest>();
  for (const reference of references) {
    let image = resolveHere(images, reference);
    while (image !== undefined && !found.has(image.id)) {
      found.add(image.id);
      image = image.parent === undefined ? undefined : resolveHere(images, image.parent);
    }
  }
  return found;
}

/** Forgets all steps and removes the images only the cache kept. */
export async function pruneSteps({ store, images }: { store: Store; images: Images }): Promise<{ deleted: string[]; spaceReclaimed: number }> {
  const rows = store.db.query<{ key: string; image: Digest }, []>("SELECT key, image FROM build_cache ORDER BY used_at DESC").all();
  const before = images.layersSize();
  let left = [...new Set(rows.map((row) => row.image))];
  // Children first: an image that others stand on is refused, and tried again when they are gone.
  for (let progress = true; progress;) {
    const kept: Digest[] = [];
    for (const id of left) if (!(await removeUnused(images, id))) kept.push(id);
    progress = kept.length < left.length;
    left = kept;
  }
  store.db.query("DELETE FROM build_cache").run();
  return { deleted: [...new Set(rows.map((row) => row.key))], spaceReclaimed: Math.max(0, before - images.layersSize()) };
}

/** True where it is gone. A tagged image, or one that containers or others use, stays. */
async function removeUnused(images: Images, id: Digest): Promise<boolean> {
  const image = resolveHere(images, id);
  if (image === undefined) return true;
  if (image.repoTags.length > 0 || image.repoDigests.length > 0) return false;
  try {
    await images.remove(id, { noPrune: true });
    return true;
  } catch (error) {
    if (error instanceof EngineError && (error.kind === "conflict" || error.kind === "notFound")) return error.kind === "notFound";
    throw error;
  }
}
