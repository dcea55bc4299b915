import { createActives } from "./active.ts";
import { createCopies } from "./copies.ts";
import { createSnapshotContext, type SnapshotsDeps } from "./context.ts";
import { checkIdMap } from "./id-map-support.ts";
import { createLayers } from "./layers.ts";
import { createLimits } from "./limits.ts";
import { createMounts } from "./mounts.ts";
import { createRebuild, rebuildInit } from "./rebuild.ts";
import { restoreSnapshots } from "./restore.ts";
import { inventory, strays } from "./inventory.ts";
import type { ChunkControl } from "./workers.ts";
import type { Change, SnapshotId, Snapshots } from "./types.ts";

/** Overlay snapshots under `root`, an absolute path. Their Workers start with the first need; dispose ends them. */
export function createSnapshots(deps: SnapshotsDeps): Snapshots & Disposable {
  const ctx = createSnapshotContext(deps);
  const { path, workers, removals } = ctx;
  const { db } = deps.store;
  const counting = new Map<SnapshotId, Promise<number>>();
  const layers = createLayers(ctx);
  const mounts = createMounts(ctx);
  let idMapCheck: Promise<void> | undefined;
  const selectInUse = db.query<{ layers: string }, []>("SELECT DISTINCT layers FROM snapshots WHERE kind = 'active' AND state = 'ready'");
  const selectLayers = db.query<{ id: SnapshotId; size: number }, []>("SELECT id, size FROM snapshots WHERE kind = 'layer' AND state = 'ready'");
  /** Work on files that a removal may take away meanwhile: then the snapshot is not found, whatever the work says. */
  const whileThere = async <T>(id: SnapshotId, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      ctx.row(id);
      throw error;
    }
  };

  return {
    root: deps.root,
    path,
    ...layers,
    ...createActives(ctx),
    ...mounts,
    checkIdMap: async (idMap) => {
      // which ids doesn't matter; a failure may be mended and is tried again
      idMapCheck ??= checkIdMap(ctx, mounts, idMap).catch((error: unknown) => {
        idMapCheck = undefined;
        throw error;
      });
      await idMapCheck;
    },
    ...createCopies(ctx),
    ...createLimits(ctx),
    changes: async (id, below) => {
      const changes: Change[] = [];
      const job = { op: "changes" as const, tree: path(ctx.row(id).id), parents: below.map(path) };
      const onChunk = (bytes: Uint8Array, { credit }: ChunkControl): void => {
        changes.push(...(JSON.parse(new TextDecoder().decode(bytes)) as Change[]));
        credit();
      };
      await whileThere(id, () => workers.run(job, { onChunk }));
      return changes;
    },
    size: (id) => ctx.peek(id)?.size ?? 0,
    usage: async (id) => {
      const { size } = ctx.row(id);
      if (layers.diffIdOf(id) !== undefined) return size;
      // Several who ask at once (lists with sizes) share one walk, which may go over 100,000s of files.
      let counted = counting.get(id);
      if (counted === undefined) {
        counted = whileThere(id, () => workers.run({ op: "size", tree: path(id) })).finally(() => counting.delete(id));
        counting.set(id, counted);
      }
      return await counted;
    },
    remove: async (...ids) => {
      const present = ids.filter((id) => !["deleting", undefined].includes(ctx.peek(id)?.state));
      if (present.length > 0) await ctx.destroy(present);
    },
    rebuild: createRebuild(ctx),
    rebuildInit: (id) => rebuildInit(ctx, id),
    inventory: () => inventory(ctx),
    strays: (options) => strays(ctx, options),
    layersInUse: () => new Set(selectInUse.all().flatMap((row) => JSON.parse(row.layers) as SnapshotId[])),
    layers: () => selectLayers.all(),
    restore: () => restoreSnapshots(ctx),
    settled: async () => {
      await Promise.allSettled(removals);
    },
    [Symbol.dispose]: () => workers[Symbol.dispose](),
  };
}
