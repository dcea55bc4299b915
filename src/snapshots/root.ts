import { SysError } from "../kernel/ffi.ts";
import {
  AT_FDCWD,
  chmodItselfAt,
  chownAt,
  closeFd,
  isDirectory,
  mkdirAt,
  O,
  openAt,
  openAt2,
  readDirectory,
  readlinkAt,
  RESOLVE,
  S,
  statAt,
  symlinkAt,
  utimesAt,
  type Stat,
} from "../kernel/fs.ts";
import { getXattrAt, getXattrFd, listXattrAt, listXattrFd, setXattrAt } from "../kernel/xattr.ts";
import { bytesOf } from "../lib/tar.ts";
import { removeTreeNow } from "./tree.ts";

export interface Owner {
  uid: number;
  gid: number;
}

/** What is set on a name after it was made. */
export interface Attributes extends Owner {
  /** Type and permissions. */
  mode: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  /** As the mtime where it isn't given. */
  atimeSeconds?: number;
  atimeNanoseconds?: number;
  xattrs: ReadonlyMap<string, Uint8Array>;
}

/** As many links as the kernel follows in one path. */
export const mostLinks = 40;

/**
 * A directory that no path leaves, whatever symlinks are in it: every path is resolved by the kernel with the directory as its root
 * (openat2 RESOLVE_IN_ROOT). Names are bytes as latin1. Synchronous, for Workers.
 */
export class Root implements Disposable {
  readonly fd: number;
  readonly #prefix: string;

  constructor(path: string) {
    this.fd = openAt(AT_FDCWD, bytesOf(path), O.PATH | O.DIRECTORY);
    this.#prefix = readlinkAt(AT_FDCWD, `/proc/self/fd/${this.fd}`);
  }

  /** Opens what a path leads to, symlinks followed; undefined where there is nothing. */
  open(path: string, flags: number): number | undefined {
    try {
      return openAt2(this.fd, path === "" ? "." : path, flags, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
    } catch (error) {
      if (error instanceof SysError && (error.code === "ENOENT" || error.code === "ENOTDIR")) return undefined;
      throw error;
    }
  }

  /** The path without symlinks, relative to the root and without a leading slash, of what `path` leads to. */
  real(path: string): string | undefined {
    const fd = this.open(path, O.PATH);
    if (fd === undefined) return undefined;
    try {
      const whole = readlinkAt(AT_FDCWD, `/proc/self/fd/${fd}`);
      return whole.slice(this.#prefix.length).replace(/^\/+/, "");
    } finally {
      closeFd(fd);
    }
  }

  /** What `path` leads to, symlinks followed. */
  stat(path: string): Stat | undefined {
    const fd = this.open(path, O.PATH);
    if (fd === undefined) return undefined;
    try {
      return statAt(fd, "");
    } finally {
      closeFd(fd);
    }
  }

  /** Opens (O_PATH) the directory at `path`; missing ones are made with mode 0755 and `owner`. The caller closes it. @throws SysError ENOTDIR */
  directory(path: string, owner: Owner): number {
    return this.#reach(path, "directory", owner, 0);
  }

  /**
   * Opens (O_PATH) whatever is at `path`; where nothing is, an empty file with mode 0644 and `owner` is made, and the directories above it. The caller closes
   * it. @throws SysError
   */
  file(path: string, owner: Owner): number {
    return this.#reach(path, "file", owner, 0);
  }

  /** What is missing is made where symlinks point, too. */
  #reach(path: string, kind: "directory" | "file", owner: Owner, links: number): number {
    const flags = kind === "directory" ? O.PATH | O.DIRECTORY : O.PATH;
    const existing = this.open(path, flags);
    if (existing !== undefined) return existing;
    const parts = path.split("/").filter((part) => part !== "" && part !== ".");
    const name = parts.pop();
    if (name === undefined || links > mostLinks) throw new SysError("open", 40, path);
    const above = parts.join("/");
    const parent = this.#reach(above, "directory", owner, links);
    try {
      const present = statAt(parent, name);
      if (present === undefined) {
        make(parent, name, kind, owner);
        return openAt(parent, name, flags | O.NOFOLLOW);
      }
      if (!isSymlink(present)) throw kind === "directory" ? new SysError("mkdir", 20, path) : new SysError("open", 17, path);
      const target = readlinkAt(parent, name);
      return this.#reach(target.startsWith("/") ? target : `${above}/${target}`, kind, owner, links + 1);
    } finally {
      closeFd(parent);
    }
  }

  [Symbol.dispose](): void {
    closeFd(this.fd);
  }
}

function make(directory: number, name: string, kind: "directory" | "file", { uid, gid }: Owner): void {
  const mode = kind === "directory" ? 0o755 : 0o644;
  if (kind === "directory") mkdirAt(directory, name, mode);
  else closeFd(openAt(directory, name, O.WRONLY | O.CREAT | O.EXCL, mode));
  chownAt(directory, name, uid, gid);
  chmodItselfAt(directory, name, mode); // whatever the umask says
}

/** The names in a directory, sorted. */
export function namesIn(directory: number): string[] {
  const fd = openAt(directory, ".", O.RDONLY | O.DIRECTORY);
  try {
    return [...readDirectory(fd)].sort();
  } finally {
    closeFd(fd);
  }
}

export function isSymlink(stat: Stat): boolean {
  return (stat.mode & S.IFMT) === S.IFLNK;
}

/** Owner, mode, attributes and time of `name`, which was just made. Owner first: chown takes setuid bits and capabilities away. */
export function setAttributes(directory: number, name: string, attributes: Attributes): void {
  chownAt(directory, name, attributes.uid, attributes.gid);
  if ((attributes.mode & S.IFMT) !== S.IFLNK) chmodItselfAt(directory, name, attributes.mode & 0o7777);
  setXattrs(attributes.xattrs, (key, value) => setXattrAt(directory, name, key, value));
  const { atimeSeconds: seconds, atimeNanoseconds: nanoseconds = 0 } = attributes;
  utimesAt(directory, name, attributes.mtimeSeconds, attributes.mtimeNanoseconds, seconds === undefined ? undefined : { seconds, nanoseconds });
}

export function setXattrs(xattrs: ReadonlyMap<string, Uint8Array>, set: (key: string, value: Uint8Array) => void): void {
  for (const [key, value] of xattrs) {
    try {
      set(key, value);
    } catch (error) {
      // User attributes exist on files and directories only, and not on every file system.
      if (!(error instanceof SysError) || !["EPERM", "EOPNOTSUPP", "ENOTSUP"].includes(error.code)) throw error;
    }
  }
}

export const CAPABILITY = "security.capability";

/** Only what Docker carries over; `trusted.overlay.*` of a hostile source would speak to overlayfs. */
export function isCarriedXattr(key: string): boolean {
  return key === CAPABILITY || key.startsWith("user.");
}

/** POSIX ACLs: what a volume's archive carries besides. */
export function isAcl(key: string): boolean {
  return key === "system.posix_acl_access" || key === "system.posix_acl_default";
}

/** Those that are `wanted`, in the order of their keys. */
export function xattrsOf(directory: number, name: string, wanted: (key: string) => boolean = isCarriedXattr): Map<string, Uint8Array> {
  return chosen(listXattrAt(directory, name), wanted, (key) => getXattrAt(directory, name, key));
}

/** As xattrsOf, of an open file. */
export function xattrsOfFile(fd: number, wanted: (key: string) => boolean): Map<string, Uint8Array> {
  return chosen(listXattrFd(fd), wanted, (key) => getXattrFd(fd, key));
}

function chosen(keys: string[], wanted: (key: string) => boolean, get: (key: string) => Uint8Array | undefined): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  for (const key of keys.filter(wanted).sort()) {
    const value = get(key);
    if (value !== undefined) found.set(key, value);
  }
  return found;
}

/** Makes room for something that is no directory, or for a directory where something else is. */
export function clear(directory: number, name: string): void {
  removeTreeNow(directory, name);
}

export function makeSymlink(target: string, directory: number, name: string): void {
  clear(directory, name);
  symlinkAt(target, directory, name);
}

/** A directory at `name`: one that is there stays (also behind a symlink), anything else gives way. The caller closes the descriptor. */
export function enterDirectory(root: Root, path: string, directory: number, name: string): { fd: number; made: boolean } {
  const present = statAt(directory, name);
  if (present !== undefined && isDirectory(present)) return { fd: openAt(directory, name, O.PATH | O.DIRECTORY | O.NOFOLLOW), made: false };
  if (present !== undefined && isSymlink(present)) {
    const behind = root.open(path, O.PATH | O.DIRECTORY);
    if (behind !== undefined) return { fd: behind, made: false };
  }
  if (present !== undefined) clear(directory, name);
  mkdirAt(directory, name, 0o700);
  return { fd: openAt(directory, name, O.PATH | O.DIRECTORY | O.NOFOLLOW), made: true };
}
