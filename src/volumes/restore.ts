import { rm } from "node:fs/promises";
import { parseRecord } from "../store/damage.ts";
import { plainRecord, setPhase, stagingOf, type Context, type Phase } from "./context.ts";
import { finishRename } from "./rename.ts";
import type { VolumeRecord } from "./types.ts";

/** Loads the rows; what a crash left half-made or half-removed goes. */
export async function restore(ctx: Context): Promise<void> {
  const rows = ctx.store.db.query<{ name: string; driver: string; record: string; phase: Phase }, []>("SELECT name, driver, record, phase FROM volumes").all();
  for (const { name, driver, record, phase } of rows) {
    if (phase === "intent" || phase === "deleting") {
      // what a plugin has made of it by then is still in its list
      const options = parseRecord<VolumeRecord>(record, `volume ${name}`, ctx.log)?.options ?? {};
      if (driver === "local") await ctx.drivers.local.remove({ ...plainRecord(ctx, name), options });
      ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
      continue;
    }
    if (phase === "copying") {
      await rm(stagingOf(ctx, name), { recursive: true, force: true });
      setPhase(ctx, name, "ready");
    }
    const parsed = parseRecord<VolumeRecord>(record, `volume ${name}`, ctx.log) ?? {
      // its data outlive a damaged record
      ...plainRecord(ctx, name),
      created: new Date(0).toISOString(),
      driver,
      ...(driver !== "local" && { mountpoint: "" }),
    };
    ctx.entries.set(name, {
      record: phase === "renaming" ? await finishRename(ctx, parsed) : parsed,
      active: new Set(),
    });
  }
}
