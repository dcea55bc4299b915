import type { SysError } from "../kernel/ffi.ts";
import { closeFd, O, openAt, readDirectory, renameAt, unlinkAt } from "../kernel/fs.ts";

/** Descriptors held at most: what lies deeper is moved up and removed from there, since a hostile tree may be 100,000 directories deep. */
const DEPTH = 64;

/**
 * Removes `name` under `dir` with all that is in it, never following a symlink. Nothing there is no error. A generator that yields after each
 * directory's worth of work, so that a caller may let others in between. Names beside it that start with `<name>~` are used on the way.
 */
export function* removeTree(dir: number, name: string): Generator<void, void, undefined> {
  let moved = 0;
  const waiting = [name];
  for (let top = waiting.pop(); top !== undefined; top = waiting.pop()) {
    if (unlinkedAsFile(dir, top)) continue;
    const open: { fd: number; name: string }[] = [{ fd: openAt(dir, top, O.RDONLY | O.DIRECTORY | O.NOFOLLOW), name: top }];
    try {
      while (open.length > 0) {
        const here = open.at(-1)!;
        const down = emptyUntilDirectory(here.fd);
        yield;
        if (down === undefined) {
          open.pop();
          closeFd(here.fd);
          unlinkAt(open.at(-1)?.fd ?? dir, here.name, { directory: true });
        } else if (open.length < DEPTH) {
          open.push({ fd: openAt(here.fd, down, O.RDONLY | O.DIRECTORY | O.NOFOLLOW), name: down });
        } else {
          const aside = `${name}~${++moved}`;
          renameAt(here.fd, down, dir, aside);
          waiting.push(aside);
        }
      }
    } finally {
      for (const { fd } of open) closeFd(fd);
    }
  }
}

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
