import { messageOf } from "../lib/errors.ts";
import { parseRecord } from "../store/damage.ts";
import { plainRecord, setPhase, stagingOf, type Context, type Phase } from "./context.ts";
import { finishRename } from "./rename.ts";
import type { VolumeRecord } from "./types.ts";

/** Loads the rows; what a crash left half-made or half-removed goes, unless its files don't. */
export async function restore(ctx: Context): Promise<void> {
  const rows = ctx.store.db.query<{ name: string; driver: string; record: string; phase: Phase }, []>("SELECT name, driver, record, phase FROM volumes").all();
  for (const { name, driver, record, phase } of rows) {
    const parsed = parseRecord<VolumeRecord>(record, `volume ${name}`, ctx.log);
    if (phase === "intent" || phase === "deleting") {
      // what a plugin has made of it by then is still in its list
      const isGone =
        driver !== "local" ||
        (await finished(ctx, name, "removed", async () => {
          await ctx.drivers.local.remove({ ...plainRecord(ctx, name), options: parsed?.options ?? {} });
          return true;
        }));
      if (isGone) {
        ctx.store.db.query("DELETE FROM volumes WHERE name = ?").run(name);
        continue;
      }
      setPhase(ctx, name, "ready");
    }
    if (phase === "copying") {
      await finished(ctx, name, "cleaned of a copy", async () => {
        await ctx.trees.removeTree(stagingOf(ctx, name));
        setPhase(ctx, name, "ready");
      });
    }
    // its data outlive a damaged record
    const known = parsed ?? { ...plainRecord(ctx, name), created: new Date(0).toISOString(), driver, ...(driver !== "local" && { mountpoint: "" }) };
    const renamed = phase === "renaming" ? await finished(ctx, name, "renamed", () => finishRename(ctx, known)) : undefined;
    ctx.entries.set(name, { record: renamed ?? known, active: new Set() });
  }
}

/** What one volume's files don't allow must not keep the engine from its start: it stays as it is. */
async function finished<T>(ctx: Context, name: string, what: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    ctx.log.error(`a volume can't be ${what}, as an earlier engine had begun: it stays as it is`, { volume: name, error: messageOf(error) });
    return undefined;
  }
}
