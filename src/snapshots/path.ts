import { SysError } from "../kernel/ffi.ts";
import { closeFd, isDirectory, isKernelsOwn, O, openAt2, readlinkAt, RESOLVE, S, statAt, type Stat } from "../kernel/fs.ts";
import { invalidArgument, notFound } from "../lib/errors.ts";
import { textOf } from "../lib/tar.ts";
import { mostLinks, type Root } from "./root.ts";

/** A path within a root as `docker cp` reads it. */
export interface AskedPath {
  /** Bytes as latin1; `.`, `..` and empty parts are taken out by name alone, as Go's filepath.Join does. */
  parts: string[];
  /** The path ends in `/` or `/.`: what a symlink leads to is meant, and it must be a directory. */
  into: boolean;
  /** Name of the first entry in an archive of it: the last part, `.` for `x/.` and `x/./`, `/` for the root. Bytes as latin1. */
  name: string;
}

/** What stands at a path. Names are text. */
export interface PathStat {
  name: string;
  size: number;
  /** st_mode: type and permissions. */
  mode: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  /** Where a symlink ends after all others on the way have been followed, as an absolute path within the root; also where nothing is there. */
  linkTarget: string;
}

/** Relative paths count from the root. `path` is bytes as latin1, here and below. */
export function askedPath(path: string): AskedPath {
  const parts: string[] = [];
  const given = path.split("/");
  for (const part of given) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  const dot = given.findLast((part) => part !== "") === ".";
  return { parts, into: dot || given.at(-1) === "", name: dot ? "." : (parts.at(-1) ?? "/") };
}

/** A descriptor (O_PATH, and `flags`) of what stands at `parts`, symlinks followed. Nothing leads out of the root. @throws SysError */
function openPath(root: Root, parts: readonly string[], flags = 0): number {
  return openAt2(root.fd, parts.length === 0 ? "." : parts.join("/"), O.PATH | flags, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
}

/**
 * A look at one name: its stat, and the target where it is a symlink. Undefined where there is nothing, or what the kernel makes up: Docker's copies don't
 * see it either, and what /proc says depends on who asks.
 */
function look(root: Root, parts: readonly string[]): { stat: Stat; target?: string } | undefined {
  let fd: number;
  try {
    fd = openPath(root, parts, O.NOFOLLOW);
  } catch (error) {
    if (error instanceof SysError && error.code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const stat = statAt(fd, "");
    if (stat === undefined || (!stat.mountRoot && isKernelsOwn(fd))) return undefined;
    return (stat.mode & S.IFMT) === S.IFLNK ? { stat, target: readlinkAt(fd, "") } : { stat };
  } finally {
    closeFd(fd);
  }
}

/** The path without symlinks that `parts` leads to within the root; what isn't there counts as no symlink. @throws SysError ENOTDIR, ELOOP */
export function followLinks(root: Root, parts: readonly string[]): string[] {
  const queue = [...parts];
  let here: string[] = [];
  let followed = 0;
  for (let part = queue.shift(); part !== undefined; part = queue.shift()) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      here.pop();
      continue;
    }
    const target = look(root, [...here, part])?.target;
    if (target === undefined) here.push(part);
    else {
      if (++followed > mostLinks) throw new SysError("openat2", 40, `/${textOf(parts.join("/"))}`);
      if (target.startsWith("/")) here = [];
      queue.unshift(...target.split("/"));
    }
  }
  return here;
}

/** What stands at `path`; a symlink itself, unless the path ends in `/` or `/.`. @throws EngineError notFound, invalidArgument */
export function statPath(root: Root, path: string): PathStat {
  return explained(path, () => {
    closeFd(openStart(root, path).dir);
    const { parts, into, name } = askedPath(path);
    const real = into ? followLinks(root, parts) : parts;
    const found = look(root, real);
    if (found === undefined) throw new SysError("lstat", 2, path);
    if (into && !isDirectory(found.stat)) throw new SysError("lstat", 20, path);
    const { size, mode, mtimeSeconds, mtimeNanoseconds } = found.stat;
    const linkTarget = found.target === undefined ? "" : `/${textOf(followLinks(root, parts).join("/"))}`;
    return { name: textOf(name), size, mode, mtimeSeconds, mtimeNanoseconds, linkTarget };
  });
}

/** The directory that `path` leads to, symlinks followed: its absolute path without any. @throws EngineError notFound, invalidArgument */
export function realDirectory(root: Root, path: string): string {
  return explained(path, () => {
    const real = followLinks(root, askedPath(path).parts);
    const found = look(root, real);
    if (found === undefined) throw new SysError("lstat", 2, path);
    // Docker's sentence (moby: containerExtractToDir)
    if (!isDirectory(found.stat)) throw invalidArgument("extraction point is not a directory");
    const directory = openPath(root, real);
    try {
      if (isKernelsOwn(directory)) throw invalidArgument(`${textOf(path)} shows the state of the kernel: no files can be put there`);
    } finally {
      closeFd(directory);
    }
    return `/${real.join("/")}`;
  });
}

/** Where an archive of a path begins. */
export interface PackStart {
  /** `base` in this directory is packed. */
  dir: number;
  base: string;
  /** In the archive. */
  name: string;
  /** The file system of the root's /dev where a runtime mounted one: its devices are nobody's files. */
  devices?: string;
}

/** The caller closes `dir`. @throws EngineError notFound, invalidArgument */
export function openStart(root: Root, path: string): PackStart {
  return explained(path, () => {
    const { parts, into, name } = askedPath(path);
    // The contents of a directory are reached through itself.
    const inside = into || parts.length === 0;
    const parent = inside ? parts : parts.slice(0, -1);
    const devices = look(root, ["dev"])?.stat;
    const dir = openPath(root, parent, O.DIRECTORY);
    if (isKernelsOwn(dir)) {
      closeFd(dir);
      throw new SysError("lstat", 2, path); // some files there have no end
    }
    return { dir, base: inside ? "." : parts.at(-1)!, name, ...(devices !== undefined && { devices: fileSystemOf(devices) }) };
  });
}

export function fileSystemOf({ devMajor, devMinor }: Stat): string {
  return `${devMajor}:${devMinor}`;
}

/** What the kernel says of a path is the asker's mistake. */
function explained<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    const shown = textOf(path);
    if (error.code === "ENOENT") throw notFound(`${shown}: no such file or directory`, error);
    if (error.code === "ENOTDIR") throw invalidArgument(`lstat ${shown}: not a directory`, error);
    if (error.code === "ELOOP") throw invalidArgument(`lstat ${shown}: too many levels of symbolic links`, error);
    if (error.code === "ENAMETOOLONG") throw invalidArgument(`lstat ${shown}: file name too long`, error);
    if (error.code === "EINVAL") throw invalidArgument(`lstat ${shown}: invalid argument`, error);
    throw error;
  }
}
