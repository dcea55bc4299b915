import { basename, dirname } from "node:path";
import type { Download } from "../lib/lent.ts";
import type { SnapshotContext } from "./context.ts";
import { packStream } from "./pack-stream.ts";
import type { Snapshots } from "./types.ts";
import type { JobOptions } from "./workers.ts";

export type Copies = Pick<
  Snapshots,
  "statPath" | "realDirectory" | "pathTar" | "treeTar" | "extractInto" | "cloneTree" | "removeTree" | "treeSize" | "wholeTar" | "extractWhole"
>;

/** Files into and out of trees that belong to others, in the Workers. */
export function createCopies({ workers }: Pick<SnapshotContext, "workers">): Copies {
  return {
    statPath: (root, path) => workers.run({ op: "stat", root, path }),
    realDirectory: (root, path) => workers.run({ op: "resolve", root, path }),
    pathTar: (root, path, { idMap, signal } = {}) =>
      reading((options) => workers.run({ op: "copyOut", root, path, ...(idMap !== undefined && { idMap }) }, options), signal),
    treeTar: (tree, { idMap, signal } = {}) =>
      reading((options) => workers.run({ op: "treeTar", tree, whole: false, ...(idMap !== undefined && { idMap }) }, options), signal),
    removeTree: async (tree) => {
      await workers.run({ op: "remove", directory: dirname(tree), name: basename(tree), isAwaited: true });
    },
    treeSize: (tree) => workers.run({ op: "size", tree }),
    cloneTree: async (from, to, options) => await workers.run({ op: "clone", from, to }, options),
    wholeTar: (tree, { idMap, signal }) =>
      reading((options) => workers.run({ op: "treeTar", tree, whole: true, ...(idMap !== undefined && { idMap }) }, options), signal),
    extractWhole: async (tree, archive, { idMap, signal }) => {
      await workers.run(
        { op: "copyIn", root: tree, path: "/", keepKinds: false, whole: true, ...(idMap !== undefined && { idMap }) },
        { input: archive, ...(signal !== undefined && { signal }) },
      );
    },
    extractInto: async (root, path, archive, { owner, idMap, keepKinds, signal }) => {
      await workers.run(
        { op: "copyIn", root, path, keepKinds, ...(owner !== undefined && { owner }), ...(idMap !== undefined && { idMap }) },
        { input: archive, ...(signal !== undefined && { signal }) },
      );
    },
  };
}

/** A job's chunks as a stream, and when the job is over. */
function reading(run: (options: JobOptions) => Promise<unknown>, signal?: AbortSignal): { tar: Download; settled: () => Promise<void> } {
  let job: Promise<unknown> = Promise.resolve();
  const tar = packStream((options) => (job = run(options)), signal);
  return { tar, settled: async () => void (await Promise.allSettled([job])) };
}
