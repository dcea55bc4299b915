import { isDeepStrictEqual } from "node:util";
import type { ImageRecord, Images } from "../images/types.ts";
import { EngineError } from "../lib/errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { HistoryEntry } from "../oci/image.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { Store } from "../store/store.ts";

/** Which images a step gave: cache keys to images, in table build_cache. The one used last is taken; one that is gone is no hit. `record` tells each use. */
export interface StepCache {
  find(key: string): ImageRecord | undefined;
  /** A step that --cache-from's images took, known by their history: they were pulled, so that the images of their steps aren't here. */
  inHistory(parent: ImageRecord | undefined, description: string): PastStep | undefined;
  record(key: string, image: ImageRecord): void;
  /** `image` is what a build gave its user: pruning the cache leaves it, named or not. */
  result(image: ImageRecord): void;
}

/** Stands in the key's place for images that are results; keys of steps are digests. */
export const resultKey = "result";

export interface PastStep {
  entry: HistoryEntry;
  /** The layer it made; shared with the image it was found in. */
  layer?: SnapshotId;
  /** Where it was the image's last step: the image itself. */
  image?: ImageRecord;
}

export interface StepCacheOptions {
  noCache: boolean;
  /** Where given, only images in the history of these count. One that isn't here gives no hits, and no error. */
  cacheFrom: readonly string[];
}

export function createStepCache({ store, images }: { store: Store; images: Images }, options: StepCacheOptions): StepCache {
  const sources = options.cacheFrom.map((reference) => resolveHere(images, reference)).filter((image) => image !== undefined);
  const allowed = options.cacheFrom.length === 0 ? undefined : ancestors(images, sources);
  const record = (key: string, image: ImageRecord): void => {
    store.db
      .query(
        "INSERT INTO build_cache (key, image, used_at) VALUES (?, ?, ?) ON CONFLICT (key, image) DO UPDATE SET used_at = excluded.used_at, uses = uses + 1",
      )
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
        return image;
      }
      return undefined;
    },
    inHistory: (parent, description) => {
      if (options.noCache) return undefined;
      for (const source of sources) {
        const step = stepAfter(source, parent, description);
        if (step !== undefined) return step;
      }
      return undefined;
    },
    record,
    result: (image) => record(resultKey, image),
  };
}

/** The step of `source` that follows `parent`, where `source` began as `parent` did and went on with `description`. */
function stepAfter(source: ImageRecord, parent: ImageRecord | undefined, description: string): PastStep | undefined {
  const past = parent?.config.history ?? [];
  const history = source.config.history ?? [];
  const entry = history[past.length];
  if (entry === undefined || entry.created_by !== description) return undefined;
  const layers = parent?.config.rootfs.diff_ids ?? [];
  const same = past.every((each, index) => isDeepStrictEqual(each, history[index])) && layers.every((id, index) => id === source.config.rootfs.diff_ids[index]);
  if (!same) return undefined;
  const layer = entry.empty_layer === true ? undefined : source.layers[layers.length];
  if (entry.empty_layer !== true && layer === undefined) return undefined;
  return { entry, layer, image: history.length === past.length + 1 ? source : undefined };
}

function resolveHere(images: Images, reference: string): ImageRecord | undefined {
  try {
    return images.resolve(reference);
  } catch (error) {
    if (error instanceof EngineError && (error.kind === "notFound" || error.kind === "invalidArgument")) return undefined;
    throw error;
  }
}

function ancestors(images: Images, sources: readonly ImageRecord[]): Set<Digest> {
  const found = new Set<Digest>();
  for (const source of sources) {
    let image: ImageRecord | undefined = source;
    while (image !== undefined && !found.has(image.id)) {
      found.add(image.id);
      image = image.parent === undefined ? undefined : resolveHere(images, image.parent);
    }
  }
  return found;
}
