import { closeSync, fchownSync } from "node:fs";
import { dirname } from "node:path";
import { SysError } from "../kernel/ffi.ts";
import { AT_FDCWD, mkdirAt, O, openAt } from "../kernel/fs.ts";
import { bytesOf } from "../lib/tar.ts";

/**
 * Makes the missing source of a bind, with all that is missing above it, for `owner`. Each directory is held by a descriptor when it is given away: a container
 * that may write to one above can't put a link to something else in its place. @throws SysError
 */
export function makeBindSource(path: string, owner: { uid: number; gid: number }): void {
  const missing: string[] = [];
  let above = path;
  let fd = tryOpen(above);
  for (; fd === undefined; fd = tryOpen(above)) {
    missing.unshift(bytesOf(above.slice(above.lastIndexOf("/") + 1)));
    above = dirname(above);
  }
  try {
    for (const name of missing.filter((part) => part !== "")) {
      const made = makeDirectory(fd, name, owner);
      closeSync(fd);
      fd = made;
    }
  } finally {
    closeSync(fd);
  }
}

function tryOpen(path: string): number | undefined {
  try {
    return openAt(AT_FDCWD, bytesOf(path), O.RDONLY | O.DIRECTORY);
  } catch (error) {
    if (error instanceof SysError && error.code === "ENOENT") return undefined;
    throw error;
  }
}

function makeDirectory(parent: number, name: string, { uid, gid }: { uid: number; gid: number }): number {
  let isNew = true;
  try {
    mkdirAt(parent, name, 0o755);
  } catch (error) {
    // another start makes it at the same time
    if (!(error instanceof SysError) || error.code !== "EEXIST") throw error;
    isNew = false;
  }
  const fd = openAt(parent, name, O.RDONLY | O.DIRECTORY | (isNew ? O.NOFOLLOW : 0));
  try {
    if (isNew && uid !== 0) fchownSync(fd, uid, gid);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
