import { mkdir, rmdir } from "node:fs/promises";
import { messageOf } from "../lib/errors.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { Change } from "../snapshots/types.ts";
import { lookup, type Context, type Entry } from "./context.ts";
import { viewPath } from "./create-volumes.ts";

/** The container's root: that of the running sandbox, or a mount shared by all who read it at the time. A start waits for them. */
export async function withRootfs<T>(ctx: Context, reference: string, work: (rootfs: string, idMap?: IdMap) => Promise<T>): Promise<T> {
  const entry = lookup(ctx, reference);
  await entry.starting?.settled;
  if (entry.sandbox !== undefined) return await work(entry.sandbox.rootfs, entry.record.idMap);
  await entry.cleaning;
  const view = (entry.view ??= openView(ctx, entry));
  view.users++;
  try {
    await view.ready;
    return await work(view.path, entry.record.idMap);
  } finally {
    view.users--;
    if (view.users === 0 && entry.view === view) await dropView(ctx, entry);
  }
}

function openView(ctx: Context, entry: Entry): NonNullable<Entry["view"]> {
  const path = viewPath(ctx, entry.record.id);
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const mount = async (): Promise<void> => {
    const { layers, snapshot, idMap } = entry.record;
    const init = await ctx.snapshots.initLayer(layers);
    await mkdir(path, { recursive: true });
    await ctx.snapshots.mount({
      target: path,
      layers: layers.includes(init) ? layers : [...layers, init],
      upper: snapshot,
      ...(idMap !== undefined && { idMap }),
    });
  };
  const ready = mount();
  return { path, users: 0, ready, released, release };
}

/** Detaches the view, whoever still reads it: they keep what they have open. */
export async function dropView(ctx: Context, entry: Entry): Promise<void> {
  const { view } = entry;
  if (view === undefined) return;
  entry.view = undefined;
  try {
    await ctx.snapshots.unmount(view.path, { lazy: true });
    await rmdir(view.path);
  } catch (error) {
    ctx.log.warn("unmounting a container's root", { container: entry.record.id, error: messageOf(error) });
  } finally {
    view.release();
  }
}

/** What the container changed in its root. */
export async function changes(ctx: Context, reference: string): Promise<Change[]> {
  const { record } = lookup(ctx, reference);
  return await ctx.snapshots.changes(record.snapshot, record.layers);
}

/** Bytes of the container's own layer, and of all it sees. */
export async function sizes(ctx: Context, reference: string): Promise<{ rw: number; rootFs: number }> {
  const { record } = lookup(ctx, reference);
  const rw = await ctx.snapshots.usage(record.snapshot);
  return { rw, rootFs: rw + ctx.images.resolve(record.imageId).size };
}
