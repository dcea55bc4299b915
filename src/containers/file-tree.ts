import { existsSync } from "node:fs";
import { mkdir, rmdir, stat } from "node:fs/promises";
import { attachTree, cloneTree } from "../kernel/bind.ts";
import { SysError } from "../kernel/ffi.ts";
import { AT_FDCWD, closeFd, O, openAt } from "../kernel/fs.ts";
import { holdDirectoryInRoot, type HeldPath } from "../kernel/inroot.ts";
import { mount, MS } from "../kernel/mount.ts";
import { conflict, invalidArgument } from "../lib/errors.ts";
import { bytesOf } from "../lib/tar.ts";
import { rootOnHost } from "../oci/id-map.ts";
import type { RunningSandbox, SandboxMount } from "../sandbox/types.ts";
import { Root } from "../snapshots/root.ts";
import { isBeingRemoved, lookup, type Context, type Entry } from "./context.ts";
import { viewPath } from "./create-volumes.ts";
import { releaseVolumes, sandboxMounts } from "./mounts.ts";
import { duringRun, withRootfs } from "./rootfs.ts";
import type { ContainerRecord } from "./types.ts";

/** A container's files at hand. */
export interface FileTree {
  /** Its root as the host can open it, with all its mounts. Nothing below may be trusted: paths are resolved within it only. */
  root: string;
  /** Aborted where a new run of the container needs its root for itself. */
  signal: AbortSignal;
}

/**
 * Gives `work` the files of a container as its processes see them: those of a running one through its init; those of one at rest as the next run
 * would have them (tmpfs mounts excepted), mounted for the time of `work`. A start waits for that, while it ends the work on a run that is over.
 */
export async function withFiles<T>(ctx: Context, reference: string, work: (tree: FileTree) => Promise<T>): Promise<T> {
  const entry = lookup(ctx, reference);
  await entry.starting?.settled;
  if (isBeingRemoved(entry)) throw conflict(`container ${entry.record.id} is marked for removal: its files can't be copied`);
  using running = entry.sandbox === undefined ? undefined : rootOf(entry.sandbox);
  if (running !== undefined) return await duringRun(entry, (signal) => work({ root: running.path, signal }));
  // Its init is gone, and the engine is about to notice.
  await entry.sandbox?.exited;
  return await withRootfs(ctx, entry.record.id, async (rootfs, signal) => {
    const tree = await treeAtRest(ctx, entry, rootfs);
    try {
      return await work({ root: `/proc/${process.pid}/fd/${tree}`, signal });
    } finally {
      closeFd(tree);
    }
  });
}

/**
 * The root and the mounts of a container at rest, as a descriptor of a tree of mounts that is nowhere: it goes with the descriptor, whatever becomes of
 * the engine, and no path leads through it to a directory of the host that is bound in it.
 */
async function treeAtRest(ctx: Context, entry: Entry, rootfs: string): Promise<number> {
  await using undo = new AsyncDisposableStack();
  // before anything is waited for: in the place of a view that was dropped meanwhile there is a bare directory of the host's
  const whole = cloneTree(rootfs);
  undo.defer(() => closeFd(whole));
  const path = viewPath(ctx, entry.record.id);
  await mkdir(path, { mode: 0o700 });
  undo.defer(() => rmdir(path));
  undo.defer(() => ctx.snapshots.unmount(path, { lazy: true }));
  await mountFiles(ctx, entry, { rootfs, whole }, path, undo);
  return cloneTree(path, { recursive: true });
}

/** The root of a running container's init; undefined where that has ended. */
function rootOf(sandbox: RunningSandbox): HeldPath | undefined {
  let held: HeldPath;
  try {
    held = holdDirectoryInRoot(`/proc/${sandbox.pid}/root`, "/");
  } catch (error) {
    if (error instanceof SysError && (error.code === "ENOENT" || error.code === "ESRCH")) return undefined;
    throw error;
  }
  try {
    // Asked of the pidfd: the pid was still init's when its root was opened.
    sandbox.signal(0);
    return held;
  } catch {
    held[Symbol.dispose]();
    return undefined;
  }
}

/**
 * The root and the mounts of a container at rest, put together on `path`. All are copies of mounts that are private before they get there, so that nothing is
 * unmounted anywhere else when they go; they go with `path`.
 */
async function mountFiles(
  ctx: Context,
  entry: Entry,
  { rootfs, whole }: { rootfs: string; whole: number },
  path: string,
  undo: AsyncDisposableStack,
): Promise<void> {
  const { record } = entry;
  using held = new DisposableStack();
  undo.defer(() => releaseVolumes(ctx, entry));
  const mounts = [...ownFiles(ctx, record), ...(await sandboxMounts(ctx, record, held)).filter(({ type }) => type === "bind")];
  attachTree(whole, held.adopt(openAt(AT_FDCWD, bytesOf(path), O.PATH | O.DIRECTORY), closeFd));
  // What is put on a shared mount becomes shared, whatever it was: private again before anything is mounted below.
  mount("none", path, "none", MS.PRIVATE);
  using root = new Root(path);
  const owner = rootOnHost(record.idMap);
  for (const { source: found, destination, readOnly, options } of mounts) {
    const source = typeof found === "string" ? found : await found(rootfs);
    const isDirectory = (await stat(source)).isDirectory();
    const at = bytesOf(destination);
    try {
      attach(
        () => cloneTree(source, { readOnly, recursive: options.includes("rbind") }),
        () => (isDirectory ? root.directory(at, owner) : root.file(at, owner)),
      );
    } catch (error) {
      if (error instanceof SysError) throw invalidArgument(`mounting ${source} at ${destination} of container ${record.id}: ${error.message}`, error);
      throw error;
    }
  }
  makeWorkingDirectory(root, record);
  if (record.host.ReadonlyRootfs === true) mount("none", path, "none", MS.REMOUNT | MS.BIND | MS.RDONLY);
}

/** Docker makes it when the container is created: files are copied there before the first start. */
function makeWorkingDirectory(root: Root, { config, idMap }: ContainerRecord): void {
  if (!config.WorkingDir) return;
  try {
    closeFd(root.directory(bytesOf(config.WorkingDir), rootOnHost(idMap)));
  } catch (error) {
    // Something else has its name, or its place is read-only: the start will say so.
    if (!(error instanceof SysError)) throw error;
  }
}

/** Mounts what `openTree` opens on what `openTarget` opens. */
function attach(openTree: () => number, openTarget: () => number): void {
  using stack = new DisposableStack();
  const tree = stack.adopt(openTree(), closeFd);
  attachTree(tree, stack.adopt(openTarget(), closeFd));
}

/** The files that the engine writes for a container, once it has: they hide what the image has in their places. */
function ownFiles(ctx: Context, record: ContainerRecord): SandboxMount[] {
  return ["hosts", "hostname", "resolv.conf"]
    .map((name) => ({ name, destination: `/etc/${name}`, source: `${ctx.paths.container(record.id)}/${name}` }))
    .filter(({ destination, source }) => existsSync(source) && !record.mountSources.some((mount) => mount.destination === destination))
    .map(({ destination, source }) => ({ type: "bind", source, destination, readOnly: false, options: [] }));
}
