import { mount as mountFilesystem, MS, unmount as unmountFilesystem } from "../kernel/mount.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { find, type Context, type Entry } from "./context.ts";
import { parseLocalOptions } from "./options.ts";

/** See Volumes.mount. @throws EngineError notFound, invalidArgument where its options can't be mounted */
export async function mount(ctx: Context, name: string, container: string, how?: { destination: string; readOnly: boolean }): Promise<string> {
  using _lock = await ctx.mutex.lock(name);
  const entry = find(ctx, name);
  ensureMounted(entry);
  entry.active.add(container);
  const place: Record<string, string> = how === undefined ? {} : { destination: how.destination, "read/write": String(!how.readOnly), propagation: "" };
  ctx.events.emit("volume", "mount", name, { driver: entry.record.driver, container, ...place });
  return entry.record.mountpoint;
}

/** See Volumes.unmount. */
export async function unmount(ctx: Context, name: string, container: string): Promise<void> {
  using _lock = await ctx.mutex.lock(name);
  const entry = ctx.entries.get(name);
  if (entry === undefined || !entry.active.delete(container)) return;
  if (entry.mounted && entry.active.size === 0) {
    unmountFilesystem(entry.record.mountpoint, { lazy: true });
    entry.mounted = false;
  }
  ctx.events.emit("volume", "unmount", name, { driver: entry.record.driver, container });
}

/** See Volumes.adopt. */
export function adopt(ctx: Context, name: string, container: string): void {
  const entry = ctx.entries.get(name);
  if (entry === undefined) return;
  entry.active.add(container);
  entry.mounted = parseLocalOptions(name, entry.record.options) !== undefined;
}

/** Mounts what the options say, unless it is mounted. */
function ensureMounted(entry: Entry): void {
  const { name, mountpoint, options } = entry.record;
  const local = parseLocalOptions(name, options);
  if (local === undefined || entry.mounted) return;
  const { device, type, flags, data } = local;
  // One that an engine left behind when it died would be hidden below ours.
  unmountFilesystem(mountpoint, { lazy: true });
  try {
    mountFilesystem(device, mountpoint, type, flags, data);
    // A bind takes its other flags only in a second step (mount(2), "Creating a bind mount").
    const more = flags & ~(MS.BIND | MS.REC);
    if ((flags & MS.BIND) !== 0 && more !== 0) mountFilesystem("none", mountpoint, "none", flags | MS.REMOUNT);
  } catch (error) {
    unmountFilesystem(mountpoint, { lazy: true });
    const what = `failed to mount local volume: mount ${device}:${mountpoint}`;
    throw invalidArgument(`error while mounting volume '${mountpoint}': ${what}: ${messageOf(error)}`, error);
  }
  entry.mounted = true;
}
