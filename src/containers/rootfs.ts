import { mkdir, rmdir } from "node:fs/promises";
import { cloneTree } from "../kernel/bind.ts";
import { closeFd } from "../kernel/fs.ts";
import { conflict, messageOf } from "../lib/errors.ts";
import { within } from "../lib/within.ts";
import { withInitLayer } from "../snapshots/init-layer.ts";
import type { Change } from "../snapshots/types.ts";
import { isBeingRemoved, lookup, type Context, type Entry } from "./context.ts";
import { viewPath } from "./create-volumes.ts";

/** How long a start waits for those who read the files of the container at rest. */
const viewPatienceMs = 10_000;

/**
 * Gives `work` the container's root: a mount of its own of that of a running one, so that it keeps nobody from ending the run; or one shared by all who read it
 * at the time. `signal`: a new run or a removal needs it.
 */
export async function withRootfs<T>(ctx: Context, reference: string, work: (rootfs: string, signal: AbortSignal) => Promise<T>): Promise<T> {
  const entry = lookup(ctx, reference);
  await entry.starting?.settled;
  if (entry.sandbox !== undefined) {
    const tree = cloneTree(entry.sandbox.rootfs);
    try {
      return await duringRun(entry, (signal) => work(`/proc/${process.pid}/fd/${tree}`, signal));
    } finally {
      closeFd(tree);
    }
  }
  await entry.cleaning;
  if (isBeingRemoved(entry)) throw conflict(`container ${entry.record.id} is marked for removal: its files can't be read`);
  if (entry.view?.dropped === true) {
    await entry.view.released;
    return await withRootfs(ctx, reference, work); // it may have been started, or removed
  }
  const view = (entry.view ??= openView(ctx, entry));
  view.users++;
  try {
    await view.ready;
    view.abort.signal.throwIfAborted();
    return await work(view.path, view.abort.signal);
  } catch (error) {
    throw brokenOff(entry, view.abort.signal) ?? error;
  } finally {
    view.users--;
    if (view.users === 0 && entry.view === view) await dropView(ctx, entry);
  }
}

/** Work on the root of a run: `endCopies` ends it. */
export async function duringRun<T>(entry: Entry, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const copy = { abort, ended };
  entry.copies.add(copy);
  try {
    return await work(abort.signal);
  } catch (error) {
    throw brokenOff(entry, abort.signal) ?? error;
  } finally {
    entry.copies.delete(copy);
    resolve();
  }
}

/** What those are told whose work on the container's files was ended. */
export function brokenOff({ record, removing }: Entry, { aborted }: AbortSignal): Error | undefined {
  if (!aborted) return undefined;
  return conflict(`container ${record.id} ${removing === undefined ? "is started again" : "is removed"}: the work on its files was broken off`);
}

/** No work on the last run's root goes on. */
export async function endCopies(entry: Entry): Promise<void> {
  for (const { abort } of entry.copies) abort.abort();
  await Promise.all([...entry.copies].map(({ ended }) => ended));
}

function openView(ctx: Context, entry: Entry): NonNullable<Entry["view"]> {
  const path = viewPath(ctx, entry.record.id);
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const mount = async (): Promise<void> => {
    const { layers, snapshot, idMap } = entry.record;
    const whole = await withInitLayer(ctx.snapshots, layers);
    await mkdir(path, { recursive: true });
    await ctx.snapshots.mount({
      target: path,
      layers: whole,
      upper: snapshot,
      ...(idMap !== undefined && { idMap }),
    });
  };
  const ready = mount();
  return { path, abort: new AbortController(), users: 0, ready, dropped: false, released, release };
}

/** Before a new run: nobody reads the root any more. Those who began while the container was at rest may finish, unless they take too long (or nothing). */
export async function endReaders(entry: Entry): Promise<void> {
  await endCopies(entry);
  const { view } = entry;
  if (view === undefined || (await within(view.released, viewPatienceMs))) return;
  view.abort.abort();
  await view.released;
}

/** Detaches the view, whoever still reads it: they keep what they have open. Until it is gone nothing else is mounted in its place, nor of its layers. */
export async function dropView(ctx: Context, entry: Entry): Promise<void> {
  const { view } = entry;
  if (view === undefined) return;
  if (view.dropped) return await view.released;
  view.dropped = true;
  view.abort.abort();
  await Promise.allSettled([view.ready]);
  try {
    await ctx.snapshots.unmount(view.path, { lazy: true });
    await rmdir(view.path);
  } catch (error) {
    ctx.log.warn("unmounting a container's root", { container: entry.record.id, error: messageOf(error) });
  } finally {
    entry.view = undefined;
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
  // of its layers, which outlive the image's record
  return { rw, rootFs: record.layers.reduce((sum, layer) => sum + ctx.snapshots.size(layer), rw) };
}
