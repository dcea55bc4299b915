import { closeFd, isDirectory, isWhiteout, O, openAt2, readDirectory, RESOLVE, statAt } from "../kernel/fs.ts";
import { getXattrAt } from "../kernel/xattr.ts";
import { textOf } from "../lib/tar.ts";
import { isGone } from "./gone.ts";
import { isOpaque, type Found, type MergedView } from "./merged.ts";
import { CAPABILITY } from "./root.ts";
import type { Change } from "./types.ts";

/** What Docker's init layer holds (moby: daemon/initlayer): never shown as a change, since no user made it. */
export const initPaths: ReadonlySet<string> = new Set(
  "/.dockerenv /dev/console /dev/pts /dev/shm /etc/hosts /etc/hostname /etc/mtab /etc/resolv.conf /proc /sys".split(" "),
);

/**
 * The changes that the overlay directory `root` makes to `below`, ordered by path, as Docker tells them (moby: archive.ChangesDirs): what was only copied
 * up, or replaced by its like, is no change; a directory counts where something in it does. A generator that yields now and then, so that others get in
 * between.
 */
export function* changesOf(root: number, below: MergedView): Generator<void, Change[], undefined> {
  const changes = new Map<string, Change["kind"]>();
  const add = (parts: readonly string[], kind: Change["kind"]): void => {
    changes.set(parts.join("/"), kind);
    for (let above = parts.slice(0, -1); above.length > 0 && !changes.has(above.join("/")); above = above.slice(0, -1)) {
      changes.set(above.join("/"), "modify");
    }
  };
  // `hides`: nothing that lies below shows through, since a directory on the way is opaque.
  const waiting: { parts: string[]; hides: boolean }[] = [{ parts: [], hides: false }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { parts } = next;
    const fd = enter(root, parts.length === 0 ? "." : parts.join("/"));
    if (fd === undefined) continue;
    try {
      const hides = next.hides || (parts.length > 0 && isOpaque(fd, ""));
      const present = new Set<string>();
      for (const name of readDirectory(fd)) {
        present.add(name);
        const stat = statAt(fd, name);
        if (stat === undefined) continue;
        const child = [...parts, name];
        if (isDirectory(stat)) waiting.push({ parts: child, hides });
        if (initPaths.has(`/${textOf(child.join("/"))}`)) continue;
        const before = below.lookup(child);
        if (isWhiteout(stat)) {
          if (before !== undefined) add(child, "delete");
        } else if (before === undefined) add(child, "add");
        else if (differs(before, { layer: fd, path: name, stat })) add(child, "modify");
      }
      if (hides) for (const name of below.names(parts)) if (!present.has(name)) add([...parts, name], "delete");
    } finally {
      closeFd(fd);
    }
    yield;
  }
  return [...changes].map(([path, kind]) => ({ path: `/${textOf(path)}`, kind })).sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/** Whether a name was changed, by what Docker compares (moby: archive.statDifferent): times and sizes of directories say nothing. */
function differs(before: Found, now: Found): boolean {
  const [a, b] = [before.stat, now.stat];
  if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid || a.rdevMajor !== b.rdevMajor || a.rdevMinor !== b.rdevMinor) return true;
  if (isDirectory(b)) return false;
  if (a.size !== b.size || a.mtimeSeconds !== b.mtimeSeconds) return true;
  // Archives may have cut the one to seconds.
  if (a.mtimeNanoseconds !== b.mtimeNanoseconds && a.mtimeNanoseconds !== 0 && b.mtimeNanoseconds !== 0) return true;
  const capability = (found: Found): string | undefined => getXattrAt(found.layer, found.path, CAPABILITY)?.toString("latin1");
  return capability(before) !== capability(now);
}

/** A directory under `root`; undefined where a running container has taken it away meanwhile, or put a symlink (out of its root, even) on the way. */
function enter(root: number, path: string): number | undefined {
  try {
    return openAt2(root, path, O.RDONLY | O.DIRECTORY, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

/** Bytes of the files in a tree, a hard-linked one once (moby: pkg/directory, Size). */
export function* sizeOf(root: number): Generator<void, number, undefined> {
  let size = 0;
  const seen = new Set<bigint>();
  const waiting: string[] = ["."];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const fd = enter(root, path);
    if (fd === undefined) continue;
    try {
      for (const name of readDirectory(fd)) {
        const stat = statAt(fd, name);
        if (stat === undefined) continue;
        if (isDirectory(stat)) waiting.push(`${path}/${name}`);
        else if (stat.nlink === 1) size += stat.size;
        else if (!seen.has(stat.ino)) {
          seen.add(stat.ino);
          size += stat.size;
        }
      }
    } finally {
      closeFd(fd);
    }
    yield;
  }
  return size;
}
