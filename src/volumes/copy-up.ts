import { readdir } from "node:fs/promises";
import { find, setPhase, stagingOf, type Context } from "./context.ts";
import { whileMounted } from "./mount.ts";
import { copyInto } from "./copy.ts";
import { isHeld } from "./hold.ts";
import { parseLocalOptions } from "./options.ts";

/** Nothing in it, and nothing that its options would mount over it. */
export async function isEmpty(ctx: Context, name: string): Promise<boolean> {
  const entry = find(ctx, name);
  const { record } = entry;
  if (record.driver !== "local") {
    using _lock = await ctx.mutex.lock(name);
    return await whileMounted(ctx, entry, async (path) => (await readdir(path)).length === 0);
  }
  return parseLocalOptions(name, record.options) === undefined && (await readdir(record.mountpoint)).length === 0;
}

/** See Volumes.copyUp. */
export async function copyUp(ctx: Context, name: string, sourceDirectory: string): Promise<void> {
  const entry = find(ctx, name);
  if (entry.record.driver !== "local") {
    using _lock = await ctx.mutex.lock(name);
    // while another container has it, nothing in it can be trusted to stay as it is
    if (entry.active.size === 0) await whileMounted(ctx, entry, (path) => fillRemote(sourceDirectory, path));
    return;
  }
  using _lock = await ctx.mutex.lock(name);
  // a snapshot stays as it is; one that is being restored or imported gets other files in a moment
  if (entry.record.snapshotOf !== undefined || isHeld(entry) || !(await isEmpty(ctx, name))) return;
  setPhase(ctx, name, "copying");
  await copyInto(sourceDirectory, find(ctx, name).record.mountpoint, stagingOf(ctx, name));
  setPhase(ctx, name, "ready");
}

/** Renames work within one file system only, so what is copied beside lies in the volume until it is moved. */
async function fillRemote(source: string, path: string): Promise<void> {
  if ((await readdir(path)).length > 0) return;
  await copyInto(source, path, `${path}/.berth-copy-${crypto.randomUUID()}`);
}
