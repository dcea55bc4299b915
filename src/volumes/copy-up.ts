import { readdir } from "node:fs/promises";
import { find, setPhase, stagingOf, type Context } from "./context.ts";
import { copyInto } from "./copy.ts";
import { parseLocalOptions } from "./options.ts";

/** Nothing in it, and nothing that its options would mount over it. */
export async function isEmpty(ctx: Context, name: string): Promise<boolean> {
  const { record } = find(ctx, name);
  return parseLocalOptions(name, record.options) === undefined && (await readdir(record.mountpoint)).length === 0;
}

/** See Volumes.copyUp. */
export async function copyUp(ctx: Context, name: string, sourceDirectory: string): Promise<void> {
  using _lock = await ctx.mutex.lock(name);
  if (!(await isEmpty(ctx, name))) return;
  setPhase(ctx, name, "copying");
  await copyInto(sourceDirectory, find(ctx, name).record.mountpoint, stagingOf(ctx, name));
  setPhase(ctx, name, "ready");
}
