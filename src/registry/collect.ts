import type { Logger } from "../lib/log.ts";
import { nextTurn } from "../lib/turns.ts";
import type { Digest } from "../oci/digest.ts";
import type { Entry, Records } from "./records.ts";

export interface CollectConfig {
  /** Milliseconds between collections; 0: none by itself. */
  interval: number;
  /** Milliseconds in which what nothing names is kept: a push stores blobs first, and what names them later. */
  grace: number;
  /** Whether manifests without a tag go, too. */
  untagged: boolean;
}

export interface Collector extends Disposable {
  configure(config: CollectConfig): void;
  /** Collects once; joins a collection under way. */
  collect(): Promise<{ blobs: number; manifests: number }>;
  /** Since the start. */
  figures(): { runs: number; blobs: number; manifests: number };
}

/** Entries looked at in one go: about a millisecond. */
const pageSize = 200;
const first: Entry = { repository: "", digest: "" as Digest };

/**
 * Removes, while the registry serves, what no manifest names. Looking and removing is one transaction for each page, and whoever pushes notes the
 * use of a blob before he relies on it: so a push in flight loses nothing that is younger than the grace time.
 */
export function createCollector(deps: {
  records: Records;
  /** Deletes bytes that nothing uses any more. */
  release: (digest: Digest) => Promise<void>;
  /** What else is to be done each time, first. */
  tidy: readonly (() => Promise<unknown>)[];
  config: CollectConfig;
  log: Logger;
}): Collector {
  const { records, release, tidy, log } = deps;
  let config = deps.config;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<{ blobs: number; manifests: number }> | undefined;
  let isClosed = false;
  const figures = { runs: 0, blobs: 0, manifests: 0 };

  const sweep = async (removePage: (last: Entry) => { removed: Digest[]; next: Entry | undefined }): Promise<number> => {
    let count = 0;
    for (let last: Entry | undefined = first; last !== undefined && !isClosed;) {
      const page: { removed: Digest[]; next: Entry | undefined } = removePage(last);
      for (const digest of page.removed) await release(digest);
      count += page.removed.length;
      last = page.next;
      await nextTurn();
    }
    return count;
  };

  const collect = async (): Promise<{ blobs: number; manifests: number }> => {
    const before = Date.now() - config.grace;
    for (const each of tidy) await each();
    let manifests = 0;
    // An index that goes makes its manifests loose, and a subject its referrers.
    for (let found = config.untagged ? 1 : 0; found > 0; manifests += found) {
      found = await sweep((last) => records.removeLooseManifests(before, last, pageSize));
    }
    const blobs = await sweep((last) => records.removeLooseBlobs(before, last, pageSize));
    figures.runs++;
    figures.blobs += blobs;
    figures.manifests += manifests;
    if (blobs + manifests > 0) log.info("registry collected what nothing names", { blobs, manifests });
    return { blobs, manifests };
  };

  const start = (): void => {
    clearInterval(timer);
    if (config.interval === 0) return;
    const attempt = (): void => void once().catch((error: unknown) => log.error("registry collection failed", { error }));
    timer = setInterval(attempt, config.interval);
    timer.unref();
  };
  const once = (): ReturnType<Collector["collect"]> => (running ??= collect().finally(() => (running = undefined)));
  start();

  return {
    configure: (next) => {
      config = next;
      start();
    },
    collect: once,
    figures: () => ({ ...figures }),
    [Symbol.dispose]: () => {
      isClosed = true;
      clearInterval(timer);
    },
  };
}
