import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { conflict, invalidArgument, notFound } from "../lib/errors.ts";
import { chainId } from "../oci/chain.ts";
import type { Digest } from "../oci/digest.ts";
import { APART, diskError, TARS, TRASH, type SnapshotContext } from "./context.ts";
import { makeInitLayer, type InitLayerShape } from "./init-layer.ts";
import type { SnapshotId, Snapshots } from "./types.ts";

/** Gives a layer its files anew. It keeps its id, so that whoever stands on it needn't be told; a mount that is there goes on showing the old ones. */
export function createRebuild(ctx: SnapshotContext): Snapshots["rebuild"] {
  const { store, path, workers, disk, root } = ctx;
  const selectKeys = store.db.query<{ key: string; diff_id: Digest }, [string]>("SELECT key, diff_id FROM layer_keys WHERE snapshot = ?");
  const noteSize = store.db.query("UPDATE snapshots SET size = ?, lists_root = ? WHERE id = ?");
  const forgetRow = store.db.query("DELETE FROM snapshots WHERE id = ?");

  return async (id, { source, parentIds, parents, signal }) => {
    const [known] = selectKeys.all(id);
    if (known === undefined) throw conflict(`layer ${id} has no digest that an archive could be told by`);
    const fresh = store.tx(() => ctx.allocate("layer"));
    try {
      const found = await workers.run({ op: "unpack", target: path(fresh), apart: join(root, APART, fresh), source, parents: parents.map(path) }, { signal });
      const key = found.leans ? `chain:${chainId([...parentIds, found.diffId as Digest])}` : found.diffId;
      if (key !== known.key) throw invalidArgument(`the archive's tar has digest ${found.diffId}, not ${known.diff_id} as layer ${id} says`);
      await disk.sync(root);
      ctx.row(id);
      const old = `${id}.${fresh}`;
      if (existsSync(path(id))) renameSync(path(id), join(root, TRASH, old));
      renameSync(path(fresh), path(id));
      // It has a blob now; a recipe that led nowhere must not stand in its way.
      rmSync(join(root, TARS, id), { force: true });
      store.tx(() => {
        noteSize.run(found.size, found.listsRoot ? 1 : 0, id);
        forgetRow.run(fresh);
      });
      await workers.run({ op: "remove", directory: join(root, TRASH), name: old });
    } catch (error) {
      if (ctx.peek(fresh) !== undefined) await ctx.abandon(fresh);
      throw diskError(`unpacking layer ${id} again`, error);
    }
  };
}

/** Its key says what it holds. */
export function rebuildInit({ store, path }: SnapshotContext, id: SnapshotId): void {
  const row = store.db.query<{ key: string }, [string]>("SELECT key FROM init_layers WHERE snapshot = ?").get(id);
  if (row === null) throw notFound(`init layer ${id} is not here`);
  rmSync(path(id), { recursive: true, force: true });
  mkdirSync(path(id));
  makeInitLayer(path(id), JSON.parse(row.key) as InitLayerShape);
}
