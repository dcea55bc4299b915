import type { SnapshotContext } from "./context.ts";
import { packStream } from "./pack-stream.ts";
import type { Snapshots } from "./types.ts";

export type Copies = Pick<Snapshots, "statPath" | "realDirectory" | "pathTar" | "extractInto">;

/** Files into and out of trees that belong to others, in the Workers. */
export function createCopies({ workers }: Pick<SnapshotContext, "workers">): Copies {
  return {
    statPath: (root, path) => workers.run({ op: "stat", root, path }),
    realDirectory: (root, path) => workers.run({ op: "resolve", root, path }),
    pathTar: (root, path, { idMap, signal } = {}) => {
      let job: Promise<unknown> = Promise.resolve();
      const tar = packStream((options) => (job = workers.run({ op: "copyOut", root, path, ...(idMap !== undefined && { idMap }) }, options)), signal);
      return { tar, settled: async () => void (await Promise.allSettled([job])) };
    },
    extractInto: async (root, path, archive, { owner, idMap, keepKinds, signal }) => {
      await workers.run(
        { op: "copyIn", root, path, keepKinds, ...(owner !== undefined && { owner }), ...(idMap !== undefined && { idMap }) },
        { input: archive, ...(signal !== undefined && { signal }) },
      );
    },
  };
}
