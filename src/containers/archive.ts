import { EngineError, notFound, permissionDenied } from "../lib/errors.ts";
import type { Download, Upload } from "../lib/lent.ts";
import type { IdMap } from "../oci/id-map.ts";
import { textOf } from "../lib/tar.ts";
import { resolveUser } from "../runtime/user.ts";
import type { PathStat } from "../snapshots/types.ts";
import { emitEvent, lookup, type Context, type Entry } from "./context.ts";
import { withFiles } from "./file-tree.ts";
import { brokenOff, withRootfs } from "./rootfs.ts";
import type { ContainerRecord, CopyToOptions } from "./types.ts";

/** Files into and out of containers: docker cp. */

export async function statPath(ctx: Context, reference: string, path: string): Promise<PathStat> {
  return await withFiles(ctx, reference, ({ root }) => named(reference, path, ctx.snapshots.statPath(root, path)));
}

/** See Containers.copyFrom. */
export async function copyFrom<T>(
  ctx: Context,
  reference: string,
  path: string,
  options: { signal: AbortSignal },
  work: (stat: PathStat, tar: Download) => Promise<T>,
): Promise<T> {
  const entry = lookup(ctx, reference);
  // Wrapped, so that withFiles doesn't wait for it.
  const { working } = await withFiles(ctx, entry.record.id, async ({ root, signal }) => {
    const stat = await named(reference, path, ctx.snapshots.statPath(root, path));
    const { tar, settled } = ctx.snapshots.pathTar(root, path, { ...idsOf(entry), signal: AbortSignal.any([signal, options.signal]) });
    emitEvent(ctx, entry.record, { action: "archive-path" });
    return await whileFilesAreThere(entry, work(stat, tar), settled, signal);
  });
  return await working;
}

/** See Containers.exportRoot. */
export async function exportRoot<T>(ctx: Context, reference: string, options: { signal: AbortSignal }, work: (tar: Download) => Promise<T>): Promise<T> {
  const entry = lookup(ctx, reference);
  const { working } = await withRootfs(ctx, entry.record.id, async (rootfs, signal) => {
    const { tar, settled } = ctx.snapshots.treeTar(rootfs, { ...idsOf(entry), signal: AbortSignal.any([signal, options.signal]) });
    emitEvent(ctx, entry.record, { action: "export" });
    return await whileFilesAreThere(entry, work(tar), settled, signal);
  });
  return await working;
}

/** Until the work is done, or until nothing reads the files any more after `signal`: a client that takes nothing more may hold the stream, but not the files. */
async function whileFilesAreThere<T>(entry: Entry, work: Promise<T>, settled: () => Promise<void>, signal: AbortSignal): Promise<{ working: Promise<T> }> {
  const working = work.catch((error: unknown) => {
    // the work may have been about to open what went away
    throw brokenOff(entry, signal) ?? error;
  });
  const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(settled()), { once: true }));
  await Promise.race([working, aborted]);
  return { working };
}

/** See Containers.copyTo. */
export async function copyTo(ctx: Context, reference: string, path: string, archive: Upload, options: CopyToOptions): Promise<void> {
  const entry = lookup(ctx, reference);
  await withFiles(ctx, entry.record.id, async ({ root, signal }) => {
    const { record } = entry;
    const directory = await named(reference, path, ctx.snapshots.realDirectory(root, path));
    checkWritable(record, textOf(directory));
    const user = record.config.User ?? "";
    await ctx.snapshots.extractInto(root, directory, archive, {
      ...idsOf(entry),
      keepKinds: options.keepKinds,
      signal: AbortSignal.any([signal, options.signal]),
      ...(options.toUser && user !== "" && { owner: resolveUser(root, user) }),
    });
    emitEvent(ctx, entry.record, { action: "extract-to-dir" });
  });
}

/** Owners in archives are the container's own. */
function idsOf({ record: { idMap } }: Entry): { idMap?: IdMap } {
  return idMap === undefined ? {} : { idMap };
}

/** Docker's sentence for a path that isn't there. */
async function named<T>(reference: string, path: string, looking: Promise<T>): Promise<T> {
  try {
    return await looking;
  } catch (error) {
    if (error instanceof EngineError && error.kind === "notFound") throw notFound(`Could not find the file ${textOf(path)} in container ${reference}`, error);
    throw error;
  }
}

/** By the container's own settings, so that the refusal comes before any byte is written; the mounts are read-only themselves. Texts are Docker's. */
function checkWritable(record: Pick<ContainerRecord, "mountSources" | "host">, directory: string): void {
  const mount = record.mountSources
    .filter(({ destination }) => directory === destination || directory.startsWith(destination === "/" ? "/" : `${destination}/`))
    .reduce<{ destination: string; readOnly: boolean } | undefined>(
      (longest, each) => (each.destination.length > (longest?.destination.length ?? 0) ? each : longest),
      undefined,
    );
  if (mount?.readOnly === true) throw permissionDenied("mounted volume is marked read-only");
  if (mount === undefined && record.host.ReadonlyRootfs === true) throw permissionDenied("container rootfs is marked read-only");
}
