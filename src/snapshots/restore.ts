import { readdirSync } from "node:fs";
import { join } from "node:path";
import { APART, forgetKeys, TARS, TRASH, WORK, type SnapshotContext, type SnapshotRow } from "./context.ts";

/** Everything goes that no ready row names, files and then rows, in the background: no name of theirs is given out again. */
export async function restoreSnapshots(ctx: SnapshotContext): Promise<void> {
  const { root, store, workers, removals, log } = ctx;
  const rows = store.db.query<Pick<SnapshotRow, "id" | "kind" | "state">, []>("SELECT id, kind, state FROM snapshots").all();
  const keep = new Map(rows.filter(({ state }) => state === "ready").map(({ id, kind }) => [id as string, kind]));
  const stray = readdirSync(root).filter((name) => !name.startsWith(".") && !keep.has(name));
  const works = readdirSync(join(root, WORK)).filter((name) => keep.get(name) !== "active");
  const tars = readdirSync(join(root, TARS)).filter((name) => keep.get(name) !== "layer");
  const apart = readdirSync(join(root, APART));
  const trash = readdirSync(join(root, TRASH));
  const forgetRows = (): void =>
    store.tx(() => {
      for (const { id, state } of rows) {
        if (state === "ready") continue;
        forgetKeys(store, id);
        store.db.query("DELETE FROM snapshots WHERE id = ?").run(id);
      }
    });
  const removal = Promise.all([
    ctx.discard([...stray, ...works.map((name) => `${WORK}/${name}`), ...tars.map((name) => `${TARS}/${name}`), ...apart.map((name) => `${APART}/${name}`)]),
    ...trash.map((name) => workers.run({ op: "remove", directory: join(root, TRASH), name })),
  ])
    .then(forgetRows)
    .catch((error: unknown) => log.error("removing leftovers of snapshots failed; the next start tries again", { error }))
    .finally(() => removals.delete(removal));
  removals.add(removal);
  const count = stray.length + works.length + tars.length + apart.length + trash.length;
  if (count > 0) log.info("removing leftovers of snapshots", { count });
}
