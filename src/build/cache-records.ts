import { createdAt, matchesLabels } from "../images/list.ts";
import type { ImageEntry } from "../images/types.ts";
import { EngineError } from "../lib/errors.ts";
import { createPause } from "../lib/turns.ts";
import type { Digest } from "../oci/digest.ts";
import { hexOf } from "../oci/digest.ts";
import type { BuildServices } from "./session.ts";
import { resultKey } from "./step-cache.ts";
import type { CacheRecord } from "./types.ts";

type CacheServices = Pick<BuildServices, "store" | "images" | "snapshots">;

/** One step that a later build may take over: a record, the image that it gave, and the step's own children. */
export interface CachedStep {
  record: CacheRecord;
  image: ImageEntry;
  /** Images that stand on this one's. */
  children: number;
}

/**
 * All steps that builds may take from the cache, the one not used for longest first. A step is shared where an image that has a name, or is what a build gave
 * its user, is made of it: its bytes are that image's.
 */
export async function cachedSteps({ store, images, snapshots }: CacheServices): Promise<CachedStep[]> {
  const rows = store.db
    .query<{ image: Digest; used_at: number; uses: number }, [string]>(
      "SELECT image, max(used_at) AS used_at, sum(uses) AS uses FROM build_cache WHERE key <> ? GROUP BY image ORDER BY max(used_at), image",
    )
    .all(resultKey);
  if (rows.length === 0) return [];
  const results = store.db.query<{ image: Digest }, [string]>("SELECT image FROM build_cache WHERE key = ?").all(resultKey);
  const all = new Map((await images.list({ all: true })).flatMap((image) => [image, ...image.variants].map((each) => [each.id, each] as const)));
  const children = new Map<Digest, number>();
  for (const { parent } of all.values()) if (parent !== undefined) children.set(parent, (children.get(parent) ?? 0) + 1);
  const isNamed = ({ repoTags, repoDigests, variantOf }: ImageEntry): boolean =>
    repoTags.length + repoDigests.length + variantOf.tags.length + variantOf.digests.length > 0;
  const shared = withAncestors(all, [...[...all.values()].filter(isNamed).map(({ id }) => id), ...results.map(({ image }) => image)]);
  const used: Digest[] = [];
  const pause = createPause();
  for (const id of all.keys()) {
    await pause();
    if (images.isInUse(id)) used.push(id);
  }
  const inUse = withAncestors(all, used);
  return rows.flatMap(({ image: id, used_at: lastUsedAt, uses }) => {
    const image = all.get(id);
    if (image === undefined) return [];
    const { step } = image.facts;
    const layer = image.layers.at(-1);
    const record: CacheRecord = {
      id: hexOf(id),
      parents: image.parent === undefined ? [] : [hexOf(image.parent)],
      type: "regular",
      description: step?.created_by ?? "",
      inUse: inUse.has(id),
      shared: shared.has(id),
      size: step?.empty_layer === true || layer === undefined ? 0 : snapshots.size(layer),
      createdAt: Number(createdAt(image) / 1_000_000n),
      lastUsedAt,
      usageCount: uses,
    };
    return [{ record, image, children: children.get(id) ?? 0 }];
  });
}

function withAncestors(all: ReadonlyMap<Digest, ImageEntry>, start: readonly Digest[]): Set<Digest> {
  const found = new Set<Digest>();
  for (const first of start) {
    for (let id: Digest | undefined = first; id !== undefined && !found.has(id); id = all.get(id)?.parent) if (all.has(id)) found.add(id);
  }
  return found;
}

/** BuildKit's filters of records (moby: builder-next, cacheFields), and labels of the step's image. `until` is the caller's. */
export function matchesFilters({ record, image }: CachedStep, filters: Readonly<Record<string, readonly string[]>>): boolean {
  const { id, parents, type, description, inUse, shared } = record;
  const tests: Record<string, (value: string) => boolean> = {
    id: (value) => id.startsWith(value.replace(/^sha256:/, "")),
    parent: (value) => parents.includes(value.replace(/^sha256:/, "")),
    type: (value) => type === value,
    description: (value) => description === value,
    label: (value) => matchesLabels(image, [value]),
    "label!": (value) => !matchesLabels(image, [value]),
  };
  const switches: Record<string, boolean> = { inuse: inUse, shared, private: !shared };
  return Object.entries(filters).every(([name, values]) => {
    if (name in switches) return values.every((value) => switches[name] === !["0", "false"].includes(value));
    return values.every((value) => tests[name]?.(value) ?? true);
  });
}

/** True where it is gone. An image that has come into use stays. */
export async function removeStep({ images }: Pick<CacheServices, "images">, id: Digest): Promise<boolean> {
  if (images.isInUse(id)) return false;
  try {
    await images.remove(id, { noPrune: true });
    return true;
  } catch (error) {
    if (error instanceof EngineError && (error.kind === "conflict" || error.kind === "notFound")) return error.kind === "notFound";
    throw error;
  }
}
