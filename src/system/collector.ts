import { statfs } from "node:fs/promises";
import type { Builder, CacheRule } from "../build/types.ts";
import type { Containers } from "../containers/types.ts";
import type { Images } from "../images/types.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { Digest } from "../oci/digest.ts";
import type { Snapshots } from "../snapshots/types.ts";

/** Of the data root's file system, or in bytes. */
export type Amount = { percent: number } | { bytes: number };

/** A rule for the build cache as the settings have it. */
export interface CacheRuleSetting extends Pick<CacheRule, "all" | "unusedFor" | "filters"> {
  reservedSpace: Amount;
  maxUsedSpace: Amount;
  minFreeSpace: Amount;
}

/** Read at each collection: a reload changes them. */
export interface CollectorSettings {
  /** Above this, images are removed; undefined: never. A percentage of the file system in use, or bytes that images and build cache take. */
  readonly imageGcHigh: Amount | undefined;
  /** Down to this. */
  readonly imageGcLow: Amount | undefined;
  /** Milliseconds: what was used since stays. */
  readonly imageGcMinAge: number;
  /** Patterns of names that stay. */
  readonly imageGcKeep: readonly string[];
  /** None: the build cache isn't collected. */
  readonly buildCacheRules: readonly CacheRuleSetting[];
}

export interface CollectorDeps {
  images: Images;
  builder: Pick<Builder, "cache" | "collectCache">;
  containers: Pick<Containers, "list">;
  snapshots: Pick<Snapshots, "settled">;
  dataRoot: string;
  settings: CollectorSettings;
  log: Logger;
}

/** Milliseconds from the start to the first collection, and from one to the next. */
const firstAfter = 5_000;
const interval = 60_000;

/** Collects once a minute, and writes down which images were used; also at its end. */
export function startCollector(deps: CollectorDeps): Disposable {
  const collect = createCollection(deps);
  let isRunning = false;
  const attempt = async (): Promise<void> => {
    if (isRunning) return;
    isRunning = true;
    try {
      await collect();
    } catch (error) {
      deps.log.error("collecting what nobody uses failed; it is tried again in a minute", { error: messageOf(error) });
    } finally {
      isRunning = false;
    }
  };
  const first = setTimeout(() => void attempt(), firstAfter);
  const timer = setInterval(() => void attempt(), interval);
  first.unref();
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearTimeout(first);
      clearInterval(timer);
      deps.images.writeUses();
    },
  };
}

/** One collection: the build cache by its rules, then, above the high watermark, what is left of the cache and images, those not used for longest first. */
export function createCollection(deps: CollectorDeps): () => Promise<void> {
  const { images, builder, containers, snapshots, dataRoot, settings, log } = deps;
  let isShort = false;
  let inUse: ReadonlySet<Digest> = new Set();

  return async () => {
    // An image is used for as long as a container stands on it; nothing is written while that goes on.
    const standing = new Set(containers.list({ all: true }).map(({ imageId }) => imageId));
    for (const image of inUse.difference(standing)) images.noteUse(image);
    inUse = standing;
    images.writeUses();
    const { blocks, bavail, bsize } = await statfs(dataRoot);
    const size = blocks * bsize;
    const bytesOf = (amount: Amount): number => ("bytes" in amount ? amount.bytes : Math.floor((size * amount.percent) / 100));
    const rules = settings.buildCacheRules.map((rule) => ({
      ...rule,
      reservedSpace: bytesOf(rule.reservedSpace),
      maxUsedSpace: bytesOf(rule.maxUsedSpace),
      minFreeSpace: bytesOf(rule.minFreeSpace),
    }));
    await builder.collectCache(rules);

    const { imageGcHigh: high, imageGcLow: low = high, imageGcMinAge: unusedFor, imageGcKeep: keep } = settings;
    if (high === undefined || low === undefined) return;
    // after what was removed just now, the file system may count it still
    await snapshots.settled();
    const used = "bytes" in high ? images.storedBytes() : size - bavail * bsize;
    if (used <= bytesOf(high)) {
      isShort = false;
      return;
    }
    const wanted = used - bytesOf(low);
    const held = (await builder.cache()).reduce((sum, { shared, size: bytes }) => (shared ? sum : sum + bytes), 0);
    const bounds = { reservedSpace: 0, maxUsedSpace: Math.max(1, held - wanted), minFreeSpace: 0 };
    const cache = await builder.collectCache([{ all: false, unusedFor, filters: {}, ...bounds }]);
    const { removed, freed } = await images.collect({ bytes: wanted - cache.spaceReclaimed, unusedFor, keep });
    await snapshots.settled();
    const left = wanted - cache.spaceReclaimed - freed;
    if (left > 0 && !isShort) log.warn("more is stored than the image-gc watermark allows, and the rest is in use, kept or too young to go", { bytes: left });
    isShort = left > 0;
    if (removed.length + cache.deleted.length > 0)
      log.info("collected images and build cache", { images: removed.length, steps: cache.deleted.length, bytes: wanted - left });
  };
}
