import type { SysError } from "../kernel/ffi.ts";
import { closeFd, isDirectory, isWhiteout, O, openAt2, readDirectory, RESOLVE, statAt } from "../kernel/fs.ts";
import { textOf } from "../lib/tar.ts";
import { isOpaque, type MergedView } from "./merged.ts";
import type { Change } from "./types.ts";

/** What Docker's init layer holds (moby: daemon/initlayer): never shown as a change, since no user made it. */
export const initPaths: ReadonlySet<string> = new Set(
  "/.dockerenv /dev/console /dev/pts /dev/shm /etc/hosts /etc/hostname /etc/mtab /etc/resolv.conf /proc /sys".split(" "),
);

/** The changes that the overlay directory `root` makes to `below`, ordered by path. A generator that yields now and then, so that others get in between. */
export function* changesOf(root: number, below: MergedView): Generator<void, Change[], undefined> {
  const changes: Change[] = [];
  const waiting: string[][] = [[]];
  for (let parts = waiting.pop(); parts !== undefined; parts = waiting.pop()) {
    const fd = enter(root, parts.length === 0 ? "." : parts.join("/"));
    if (fd === undefined) continue;
    try {
      const present = new Set<string>();
      for (const name of readDirectory(fd)) {
        present.add(name);
        const stat = statAt(fd, name);
        if (stat === undefined) continue;
        const child = [...parts, name];
        const path = `/${textOf(child.join("/"))}`;
        if (isDirectory(stat)) waiting.push(child);
        if (initPaths.has(path)) continue;
        const before = below.lookup(child);
        if (isWhiteout(stat)) {
          if (before !== undefined) changes.push({ path, kind: "delete" });
        } else changes.push({ path, kind: before === undefined ? "add" : "modify" });
      }
      if (parts.length > 0 && isOpaque(fd, "")) {
        for (const name of below.names(parts)) if (!present.has(name)) changes.push({ path: `/${textOf([...parts, name].join("/"))}`, kind: "delete" });
      }
    } finally {
      closeFd(fd);
    }
    yield;
  }
  return changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/** A directory under `root`; undefined where a running container has taken it away meanwhile, or put a symlink (out of its root, even) on the way. */
function enter(root: number, path: string): number | undefined {
  try {
    return openAt2(root, path, O.RDONLY | O.DIRECTORY, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes((error as SysError).code)) return undefined;
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
