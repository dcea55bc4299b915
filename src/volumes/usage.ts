import { messageOf } from "../lib/errors.ts";
import type { Context } from "./context.ts";
import { isPlain } from "./options.ts";
import type { VolumeRecord } from "./types.ts";

/** See Volumes.usage. Several who ask at once share one walk, which may go over 100,000s of files. */
export async function usage(ctx: Context, name: string): Promise<number | undefined> {
  const record = ctx.entries.get(name)?.record;
  // what a server keeps is nothing that this disk holds, and may take hours to be counted
  if (record === undefined || !isPlain(record)) return undefined;
  let counted = ctx.counting.get(name);
  if (counted === undefined) {
    counted = count(ctx, record).finally(() => ctx.counting.delete(name));
    ctx.counting.set(name, counted);
  }
  return await counted;
}

async function count(ctx: Context, { name, mountpoint }: VolumeRecord): Promise<number | undefined> {
  try {
    return await ctx.trees.treeSize(mountpoint);
  } catch (error) {
    if (ctx.entries.has(name)) ctx.log.warn("the size of a volume can't be taken", { volume: name, error: messageOf(error) });
    return undefined;
  }
}
