import { rm } from "node:fs/promises";
import { setPhase, stagingOf, type Context, type Phase } from "./context.ts";
import { removeFiles } from "./remove.ts";
import type { VolumeRecord } from "./types.ts";

/** Loads the rows; what a crash left half-made or half-removed goes. */
export async function restore(ctx: Context): Promise<void> {
  const rows = ctx.store.db.query<{ name: string; record: string; phase: Phase }, []>("SELECT name, record, phase FROM volumes").all();
  for (const { name, record, phase } of rows) {
    if (phase === "intent" || phase === "deleting") {
      await removeFiles(ctx, name);
      ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
      continue;
    }
    if (phase === "copying") {
      await rm(stagingOf(ctx, name), { recursive: true, force: true });
      setPhase(ctx, name, "ready");
    }
    ctx.entries.set(name, { record: JSON.parse(record) as VolumeRecord, active: new Set(), mounted: false });
  }
}
