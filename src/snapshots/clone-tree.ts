import { copyRange, nextData, shareBlocks } from "../kernel/copy-file.ts";
import {
  closeFd,
  createAt,
  isDirectory,
  linkAt,
  mkdirAt,
  mknodAt,
  O,
  openAt,
  readDirectory,
  readlinkAt,
  Reopener,
  S,
  statAt,
  symlinkAt,
  truncateFd,
  type Stat,
} from "../kernel/fs.ts";
import { SysError } from "../kernel/ffi.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { Pause } from "../lib/turns.ts";
import { isGone } from "./gone.ts";
import { setAttributes, xattrsOf } from "./root.ts";

/** As in archives: whoever has the files could go on without end. */
const LONGEST_PATH = 4096;
/** Bytes in one step. */
const STEP = 8 << 20;
const BUFFER = 1 << 20;

/**
 * Copies the tree in directory `from` into the empty directory `to`, attributes of the two included: owners, modes, times, all extended attributes and ACLs,
 * hard links within the tree, holes, links, devices, pipes and sockets. Files share their blocks with the copy where the file system can. What is taken
 * away meanwhile is left out. `copied` is told of the bytes of files, holes included. @throws SysError, EngineError invalidArgument
 */
export async function cloneTree(from: number, to: number, { breathe, copied }: { breathe: Pause; copied: (bytes: number) => void }): Promise<void> {
  using reopener = new Reopener();
  /** First path of each file with several names, and how many are still to come. */
  const links = new Map<string, { path: string; left: number }>();
  const buffer = Buffer.allocUnsafeSlow(BUFFER);
  let shares = true;

  const content = async (source: number, target: number, size: number): Promise<void> => {
    shares &&= size === 0 || shareBlocks(source, target);
    if (shares) return copied(size);
    let end = 0;
    for (let run = nextData(source, 0, size); run !== undefined; run = nextData(source, end, size)) {
      copied(run.offset - end);
      for (end = run.offset; end < run.offset + run.length;) {
        const n = copyRange(source, target, end, Math.min(STEP, run.offset + run.length - end), buffer);
        if (n === 0) break; // it became shorter
        end += n;
        copied(n);
        await breathe();
      }
      if (end < run.offset + run.length) break;
    }
    copied(size - end);
    truncateFd(target, size);
  };

  /** What is opened is what was looked at, whatever has its name now. */
  const file = async (found: number, dir: number, name: string, stat: Stat): Promise<void> => {
    const source = reopener.open(found, O.RDONLY | O.NONBLOCK);
    try {
      const target = createAt(dir, name, 0o600);
      if (target === undefined) throw new SysError("openat", 17, name);
      try {
        await content(source, target, stat.size);
      } finally {
        closeFd(target);
      }
    } finally {
      closeFd(source);
    }
  };

  const levels: { source: number; target: number; path: string; names: string[]; leave: () => void }[] = [];
  const enter = (source: number, target: number, path: string, leave: () => void): void => {
    levels.push({ source, target, path, names: [...readDirectory(source)], leave });
  };

  const visit = async (source: number, target: number, name: string, path: string): Promise<void> => {
    if (path.length > LONGEST_PATH) throw invalidArgument(`${JSON.stringify(`${path.slice(0, 100)}…`)} is a path of more than ${LONGEST_PATH} bytes`);
    const found = openAt(source, name, O.PATH | O.NOFOLLOW);
    try {
      const stat = statAt(found, "")!;
      const key = `${stat.devMajor}:${stat.devMinor}:${stat.ino}`;
      const first = isDirectory(stat) || stat.nlink < 2 ? undefined : links.get(key);
      if (first !== undefined) {
        linkAt(to, first.path, target, name);
        if (--first.left === 0) links.delete(key);
        return;
      }
      const attributes = { ...stat, xattrs: xattrsOf(source, name, () => true) };
      const type = stat.mode & S.IFMT;
      if (type === S.IFDIR) {
        const inside = openAt(source, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
        mkdirAt(target, name, 0o700);
        // its time is that of before only when all is in it
        enter(inside, openAt(target, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW), `${path}/`, () => setAttributes(target, name, attributes));
        return;
      }
      if (type === S.IFREG) await file(found, target, name, stat);
      else if (type === S.IFLNK) symlinkAt(readlinkAt(found, ""), target, name);
      else mknodAt(target, name, type | 0o600, stat.rdevMajor, stat.rdevMinor);
      setAttributes(target, name, attributes);
      if (stat.nlink > 1) links.set(key, { path, left: stat.nlink - 1 });
    } finally {
      closeFd(found);
    }
  };

  try {
    const stat = statAt(from, "")!;
    const attributes = { ...stat, xattrs: xattrsOf(from, "", () => true) };
    const open = (fd: number): number => openAt(fd, ".", O.RDONLY | O.DIRECTORY);
    enter(open(from), open(to), "", () => setAttributes(to, ".", attributes));
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      await breathe();
      const name = level.names.pop();
      if (name !== undefined) {
        try {
          await visit(level.source, level.target, name, level.path + name);
        } catch (error) {
          if (!isGone(error) || statAt(level.target, name) !== undefined) throw error;
        }
        continue;
      }
      levels.pop();
      closeFd(level.source);
      closeFd(level.target);
      level.leave();
    }
  } finally {
    for (const { source, target } of levels) {
      closeFd(source);
      closeFd(target);
    }
  }
}
