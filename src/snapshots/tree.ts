import { SysError } from "../kernel/ffi.ts";
import { closeFd, O, openAt, readDirectory, statAt, unlinkAt } from "../kernel/fs.ts";

/** Descriptors held at most: a hostile tree may be 100,000 directories deep. */
const DEPTH = 64;

interface Level {
  name: string;
  ino: bigint;
  /** Closed while the walk is far below; then opened again as `..` of the one below. */
  fd: number | undefined;
}

/**
 * Removes `name` under `dir` with all that is in it, never following a symlink. Nothing there is no error. A generator that yields after each
 * directory's worth of work, so that a caller may let others in between. @throws SysError, ESTALE where somebody moves directories about meanwhile
 */
export function* removeTree(dir: number, name: string): Generator<void, void, undefined> {
  if (unlinkedAsFile(dir, name)) return;
  const levels: Level[] = [];
  const enter = (parent: number, child: string): void => {
    const fd = openAt(parent, child, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
    levels.push({ name: child, ino: statAt(fd, "")!.ino, fd });
    const far = levels.at(-1 - DEPTH);
    if (far?.fd === undefined) return;
    closeFd(far.fd);
    far.fd = undefined;
  };
  try {
    enter(dir, name);
    for (let here = levels.at(-1); here !== undefined; here = levels.at(-1)) {
      const down = emptyUntilDirectory(here.fd!);
      yield;
      if (down !== undefined) {
        enter(here.fd!, down);
        continue;
      }
      const above = levels.at(-2);
      if (above !== undefined) above.fd ??= openAbove(here.fd!, above);
      levels.pop();
      closeFd(here.fd!);
      unlinkAt(above?.fd ?? dir, here.name, { directory: true });
    }
  } finally {
    for (const { fd } of levels) if (fd !== undefined) closeFd(fd);
  }
}

/** What is above `fd`, if that is still what it was: in a container's tree it may have been moved. */
function openAbove(fd: number, { name, ino }: Level): number {
  const above = openAt(fd, "..", O.RDONLY | O.DIRECTORY);
  if (statAt(above, "")!.ino === ino) return above;
  closeFd(above);
  throw new SysError("openat", ESTALE, name);
}

const ESTALE = 116;

/** True where nothing is left to do: `name` was no directory, or isn't there. */
function unlinkedAsFile(dir: number, name: string): boolean {
  try {
    unlinkAt(dir, name);
    return true;
  } catch (error) {
    const { code } = error as SysError;
    if (code === "ENOENT") return true;
    if (code === "EISDIR") return false;
    throw error;
  }
}

/** Unlinks what isn't a directory, rmdirs empty ones, and returns the first directory with something in it. */
function emptyUntilDirectory(fd: number): string | undefined {
  // A descriptor of its own: getdents64 reads from the position, and this directory is read again after each visit below.
  const reading = openAt(fd, ".", O.RDONLY | O.DIRECTORY);
  try {
    for (const name of readDirectory(reading)) {
      try {
        unlinkAt(fd, name);
      } catch (error) {
        if ((error as SysError).code !== "EISDIR") throw error;
        try {
          unlinkAt(fd, name, { directory: true });
        } catch (inner) {
          if ((inner as SysError).code === "ENOTEMPTY") return name;
          throw inner;
        }
      }
    }
    return undefined;
  } finally {
    closeFd(reading);
  }
}

/** `removeTree` in one go. */
export function removeTreeNow(dir: number, name: string): void {
  for (const _ of removeTree(dir, name));
}
