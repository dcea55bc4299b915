import { isEmptyDirectory } from "../kernel/fs.ts";
import { find, setPhase, stagingOf, type Context } from "./context.ts";
import { copyInto } from "./copy.ts";
import { isHeld } from "./hold.ts";
import { checkThere } from "./local-driver.ts";
import { whileMounted } from "./mount.ts";
import { isPlain } from "./options.ts";

/** See Volumes.mayFill. */
export async function mayFill(ctx: Context, name: string): Promise<boolean> {
  const { record, active } = find(ctx, name);
  if (!isPlain(record)) {
    // while another container has it, nothing in it can be trusted to stay as it is; and what a tmpfs is given now is gone before the start
    return active.size === 0 && !(record.driver === "local" && record.options.type === "tmpfs");
  }
  await checkThere(record);
  return isEmptyDirectory(record.mountpoint);
}

/** See Volumes.copyUp. */
export async function copyUp(ctx: Context, name: string, sourceDirectory: string): Promise<void> {
  using _lock = await ctx.mutex.lock(name);
  const entry = find(ctx, name);
  const { record } = entry;
  // a snapshot stays as it is; one that is being restored or imported gets other files in a moment
  if (record.snapshotOf !== undefined || isHeld(entry) || !(await mayFill(ctx, name))) return;
  if (!isPlain(record)) return await whileMounted(ctx, entry, (path) => fillMounted(ctx, sourceDirectory, path));
  setPhase(ctx, name, "copying");
  try {
    await copyInto(ctx, sourceDirectory, record.mountpoint, stagingOf(ctx, name));
  } finally {
    setPhase(ctx, name, "ready");
  }
}

/** Renames work within one file system only, so what is copied beside lies in the volume until it is moved; also what a crash left of that. */
const stagingName = ".berth-copy";

async function fillMounted(ctx: Context, source: string, path: string): Promise<void> {
  const present = await ctx.mounter.look(path);
  if (present.some((name) => name !== stagingName)) return;
  await copyInto(ctx, source, path, `${path}/${stagingName}`);
}
