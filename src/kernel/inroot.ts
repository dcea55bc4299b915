import { bytesOf } from "../lib/tar.ts";
import { AT_FDCWD, closeFd, O, openAt, openAt2, RESOLVE } from "./fs.ts";

/**
 * Opens `path` as it is seen from inside `root`: no symlink leads out of it (openat2 RESOLVE_IN_ROOT).
 * `flags` as for open(2). @throws SysError ENOENT, ELOOP, …
 */
export function openInRoot(root: string, path: string, flags: number): number {
  return openWithin(root, path, flags, RESOLVE.IN_ROOT);
}

function openWithin(root: string, path: string, flags: number, how: number): number {
  const rootFd = openAt(AT_FDCWD, bytesOf(root), O.PATH | O.DIRECTORY);
  try {
    return openAt2(rootFd, bytesOf(path), flags, how | RESOLVE.NO_MAGICLINKS);
  } finally {
    closeFd(rootFd);
  }
}

/** A path held open, whatever becomes of its name. */
export interface HeldPath extends Disposable {
  readonly fd: number;
  /** Good for this process and its children's parent-relative use: /proc/<pid>/fd/<n>. */
  readonly path: string;
}

/** Whatever stands at `path` within `root`, as below. Only looked up, not opened. @throws SysError, e.g. ENOENT */
export function holdInRoot(root: string, path: string): HeldPath {
  return hold(openInRoot(root, path, O.PATH));
}

/** As above, but what would lead out of `root`, an absolute symbolic link too, is refused: EXDEV. @throws SysError */
export function holdBeneath(root: string, path: string): HeldPath {
  return hold(openWithin(root, path, O.PATH, RESOLVE.BENEATH));
}

/** A directory within `root`, symbolic links taken as if `root` were `/`, so that none leads out of it. @throws SysError, e.g. ENOENT, ENOTDIR */
export function holdDirectoryInRoot(root: string, path: string): HeldPath {
  return hold(openInRoot(root, path, O.PATH | O.DIRECTORY));
}

function hold(fd: number): HeldPath {
  return { fd, path: `/proc/${process.pid}/fd/${fd}`, [Symbol.dispose]: () => closeFd(fd) };
}
