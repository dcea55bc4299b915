import { prefixed } from "../lib/errors.ts";
import type { Download, Upload } from "../lib/lent.ts";
import { plainRecord, type Context } from "./context.ts";
import { makeFilled, replaceFiles } from "./fill.ts";
import { whileHeld } from "./hold.ts";
import { isPlain } from "./options.ts";
import type { VolumeRecord } from "./types.ts";

/** See Volumes.exportTo. */
export async function exportTo(ctx: Context, name: string, options: { signal?: AbortSignal }, work: (tar: Download) => Promise<void>): Promise<void> {
  await whileHeld(ctx, name, async ({ record }) => {
    const idMap = isPlain(record) ? record.idMap : undefined;
    const { tar, settled } = ctx.trees.wholeTar(record.mountpoint, { ...options, ...(idMap !== undefined && { idMap }) });
    try {
      await work(tar);
    } finally {
      await settled();
    }
  });
}

/** See Volumes.importFrom. */
export async function importFrom(
  ctx: Context,
  name: string,
  archive: Upload,
  { force = false, labels = {}, signal }: { force?: boolean; labels?: Record<string, string>; signal?: AbortSignal },
): Promise<VolumeRecord> {
  const fill = async (directory: string, map: VolumeRecord["idMap"]): Promise<void> => {
    try {
      await ctx.trees.extractWhole(directory, archive, { ...(map !== undefined && { idMap: map }), ...(signal !== undefined && { signal }) });
    } catch (error) {
      throw prefixed(`import ${name}: `, error);
    }
  };
  const entry = ctx.entries.get(name);
  if (entry !== undefined) {
    const { idMap } = entry.record;
    return await replaceFiles(ctx, name, (directory) => fill(directory, idMap), { action: "import", idMap, onlyEmpty: !force });
  }
  const record: VolumeRecord = { ...plainRecord(ctx, name), labels, ...(ctx.idMap !== undefined && { idMap: ctx.idMap }) };
  return await makeFilled(ctx, record, (directory) => fill(directory, ctx.idMap), { source: "import" });
}
