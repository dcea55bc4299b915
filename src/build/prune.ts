import { statfs } from "node:fs/promises";
import { cachedSteps, matchesFilters, removeStep, type CachedStep } from "./cache-records.ts";
import type { BuildServices } from "./session.ts";
import { resultKey } from "./step-cache.ts";
import type { CacheBounds, CachePruneOptions } from "./types.ts";

type PruneServices = Pick<BuildServices, "store" | "images" | "snapshots" | "paths">;

/**
 * Forgets steps, those not used for longest first, and removes the images that only they kept; as BuildKit's cache manager does (moby/buildkit:
 * cache/manager.go). Without `all`, steps that an image is made of stay: they cost nothing. With bounds, no more goes than they ask for.
 */
export async function pruneSteps(services: PruneServices, options: CachePruneOptions): Promise<{ deleted: string[]; spaceReclaimed: number }> {
  const { store } = services;
  const steps = await cachedSteps(services);
  let held = steps.reduce((sum, { record }) => (record.shared ? sum : sum + record.size), 0);
  const keep = await bytesToKeep(services, options, held);
  const before = held;
  const isBounded = keep >= 0;
  const deleted: string[] = [];
  let left = steps.filter((step) => isCandidate(step, options) && !(isBounded && step.record.shared));
  const removed = new Map<string, number>();
  const isBare = ({ record, children }: CachedStep): boolean => record.shared || children === (removed.get(record.id) ?? 0);
  // A step goes once nothing stands on it; its children were used no earlier.
  for (let next = left.find(isBare); next !== undefined && held > keep; next = left.find(isBare)) {
    const { record, image } = next;
    left = left.filter((step) => step !== next);
    if (!record.shared && !(await removeStep(services, image.id))) continue;
    store.db.query("DELETE FROM build_cache WHERE image = ? AND key <> ?").run(image.id, resultKey);
    deleted.push(record.id);
    if (record.shared) continue;
    held -= record.size;
    for (const parent of record.parents) removed.set(parent, (removed.get(parent) ?? 0) + 1);
  }
  return { deleted, spaceReclaimed: before - held };
}

function isCandidate(step: CachedStep, { all, usedBefore, filters }: CachePruneOptions): boolean {
  const { record } = step;
  // a shared one is only forgotten
  if (record.shared ? !all : record.inUse) return false;
  return (usedBefore === undefined || record.lastUsedAt < usedBefore) && matchesFilters(step, filters);
}

/** Whether the bounds are met whatever the cache holds: told without looking at each of its steps. */
export async function isWithinBounds(services: PruneServices, { reservedSpace, maxUsedSpace, minFreeSpace }: CacheBounds): Promise<boolean> {
  const most = services.snapshots.layers().reduce((sum, { size }) => sum + size, 0);
  if (most <= reservedSpace) return true;
  if (maxUsedSpace === 0 && minFreeSpace === 0) return false;
  return (maxUsedSpace === 0 || most <= maxUsedSpace) && (minFreeSpace === 0 || (await freeBytes(services)) >= minFreeSpace);
}

async function freeBytes({ paths }: PruneServices): Promise<number> {
  const { bavail, bsize } = await statfs(paths.dataRoot);
  return bavail * bsize;
}

/** -1: nothing is worth keeping, steps without bytes neither. */
async function bytesToKeep(services: PruneServices, { reservedSpace, maxUsedSpace, minFreeSpace }: CachePruneOptions, held: number): Promise<number> {
  if (reservedSpace === 0 && maxUsedSpace === 0 && minFreeSpace === 0) return -1;
  // reserved space alone is what is kept, as `--keep-storage` has it
  let keep = maxUsedSpace > 0 ? maxUsedSpace : minFreeSpace > 0 ? held : 0;
  if (minFreeSpace > 0) keep = Math.min(keep, held - (minFreeSpace - (await freeBytes(services))));
  return Math.max(keep, reservedSpace);
}
