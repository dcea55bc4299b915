import { cancelled, internal, invalidArgument, notFound } from "../lib/errors.ts";
import { endOfArchive, encodeHeader, encodeSparse, padding, type TarHeaderInit } from "../lib/tar-writer.ts";
import { textOf, type TarEntryType } from "../lib/tar.ts";
import { nextData, readAt } from "../kernel/copy-file.ts";
import { SysError } from "../kernel/ffi.ts";
import {
  closeFd,
  type DirectoryEntry,
  isDirectory,
  isKernelsOwn,
  isWhiteout,
  O,
  openAt,
  readEntries,
  readlinkAt,
  Reopener,
  S,
  statAt,
  type Stat,
} from "../kernel/fs.ts";
import type { IdMap } from "../oci/id-map.ts";
import { ChunkedOutput, type Emit } from "./chunked-output.ts";
import { isGone } from "./gone.ts";
import { isOpaque } from "./merged.ts";
import { ownerInContainer, xattrsInContainer } from "./owners.ts";
import { fileSystemOf, type PackStart } from "./path.ts";
import { isAcl, isCarriedXattr, xattrsOf, xattrsOfFile } from "./root.ts";

/** Bytes of a file that go out without a copy: for fewer the copy is cheaper; at once as many as hold nobody up. */
const LEAST_INSERTED = 16 << 10;
const MOST_INSERTED = 4 << 20;

/** PATH_MAX of linux/limits.h. */
const LONGEST_PATH = 4096;

export interface PackOptions {
  /** Descriptor of the tree's root. */
  root: number;
  /** Write an entry for the root directory itself. */
  listRoot: boolean;
  /**
   * Instead of the whole root: what is there, and what is below it, also on other file systems. Not as a layer: marks of overlayfs mean nothing, and
   * attributes are carried as Docker's copies do.
   */
  from?: PackStart;
  /** With `from`: times to the nanosecond, ACLs, and sparse files as such, so that nothing is lost. */
  whole?: boolean;
  /** Of the container whose tree it is: the archive has the owners that they are for it. */
  idMap?: IdMap;
  /** Takes the chunk over; awaited, which is the back-pressure. */
  emit: Emit;
  /** Whether `emit` takes bytes of files from where they are, just now. */
  takesFiles?: () => boolean;
  cancelled: () => boolean;
}

const typeOf: Record<number, TarEntryType | undefined> = {
  [S.IFREG]: "file",
  [S.IFDIR]: "directory",
  [S.IFLNK]: "symlink",
  [S.IFCHR]: "char",
  [S.IFBLK]: "block",
  [S.IFIFO]: "fifo",
};

/**
 * The tar of an overlay directory as an OCI layer: whiteouts under their `.wh.` names, hard links within the layer kept, names in byte order, so that
 * the same tree gives the same bytes. Times are cut to seconds as Docker's and containerd's layers have them. Sockets are left out, as Docker does, and
 * what others take away meanwhile.
 * Returns the sum of the files' bytes.
 */
export async function packTree(options: PackOptions): Promise<number> {
  using reopener = new Reopener();
  using output = new ChunkedOutput((chunk, files) => begun(async () => await options.emit(chunk, files)));
  const links = new Map<string, string>();
  const { from, idMap, whole = false, takesFiles } = options;
  const isWanted = from === undefined ? isOfLayer : (key: string): boolean => isCarriedXattr(key) || (whole && isAcl(key));
  let size = 0;

  const bytes = async (fd: number, { offset, length }: Run): Promise<void> => {
    const end = offset + length;
    for (let at = offset; at < end;) {
      if (end - at >= LEAST_INSERTED && takesFiles?.() === true) {
        const piece = { fd, offset: at, length: Math.min(end - at, MOST_INSERTED) };
        const flushed = output.insert(piece);
        if (flushed !== undefined) await flushed;
        at += piece.length;
        continue;
      }
      const room = output.room(end - at);
      const n = readAt(fd, room, at);
      // The file shrank under our hands (a running container's): zeros keep the archive whole, as GNU tar does.
      if (n === 0) room.fill(0);
      const taken = n === 0 ? room.length : n;
      const flushed = output.filled(taken);
      if (flushed !== undefined) await flushed;
      at += taken;
    }
  };

  /** Where all is to be kept, one with holes is written as the runs of bytes that it has, in the form of GNU tar's version 1.0. */
  const file = async (fd: number, stat: Stat, header: TarHeaderInit): Promise<void> => {
    const runs = whole && stat.allocated < stat.size ? runsOf(fd, stat.size) : undefined;
    const { head, stored } = runs === undefined ? { head: encodeHeader(header), stored: stat.size } : encodeSparse(header, stat.size, runs);
    await output.write(head);
    for (const run of runs ?? [{ offset: 0, length: stat.size }]) await begun(() => bytes(fd, run));
    await output.write(padding(stored));
    size += stat.size;
  };

  /** A running container may put a device or a symlink in a file's place at any time: what is opened is what was looked at. */
  const heldFile = async (dir: number, base: string, path: string): Promise<void> => {
    let found: number;
    try {
      found = openAt(dir, base, O.PATH | O.NOFOLLOW);
    } catch (error) {
      if ((error as SysError).code === "ENOENT") return;
      throw error;
    }
    try {
      const stat = statAt(found, "")!;
      if ((stat.mode & S.IFMT) !== S.IFREG) return await visit(dir, base, path, stat);
      if (stat.size === 0) return await entry(dir, base, path, stat);
      const fd = reopener.open(found, O.RDONLY | O.NONBLOCK);
      try {
        await entry(dir, base, path, stat, fd);
      } finally {
        closeFd(fd);
      }
    } finally {
      closeFd(found);
    }
  };

  /** `fd`: of a file that has bytes. */
  const entry = async (dir: number, base: string, path: string, stat: Stat, fd?: number): Promise<void> => {
    const type = typeOf[stat.mode & S.IFMT];
    if (type === undefined) return;
    const header = {
      name: path,
      mode: stat.mode & 0o7777,
      ...ownerInContainer(idMap, stat),
      mtime: { seconds: stat.mtimeSeconds, nanoseconds: whole ? stat.mtimeNanoseconds : 0 },
      xattrs: xattrsInContainer(idMap, fd === undefined ? xattrsOf(dir, base, isWanted) : xattrsOfFile(fd, isWanted)),
    };
    if (type !== "directory" && stat.nlink > 1) {
      const key = `${stat.devMajor}:${stat.devMinor}:${stat.ino}`;
      const first = links.get(key);
      if (first !== undefined) return await output.write(encodeHeader({ ...header, type: "hardlink", linkName: first, xattrs: new Map() }));
      links.set(key, path);
    }
    const linkName = type === "symlink" ? readlinkAt(dir, base) : "";
    const full: TarHeaderInit = { ...header, type, linkName, size: stat.size, major: stat.rdevMajor, minor: stat.rdevMinor };
    if (fd === undefined) await output.write(encodeHeader(full));
    else await file(fd, stat, full);
  };

  const whiteout = (name: string): Promise<void> => output.write(encodeHeader({ name, type: "file", mode: 0 }));

  // One level: what is still to come, the next one last. The descriptor stays open while the walk is below it.
  const levels: { fd: number; path: string; entries: DirectoryEntry[] }[] = [];
  const enter = (fd: number, path: string): void => {
    levels.push({ fd, path, entries: [...readEntries(fd)].sort((a, b) => byteOrder(b.name, a.name)) });
  };
  /** Without a stat: a file, unless it has changed meanwhile. */
  const visit = async (dir: number, base: string, path: string, stat?: Stat): Promise<void> => {
    // Docker's copies end there too (it walks by whole paths); a container may make them deeper without end.
    if (path.length > LONGEST_PATH) {
      if (from !== undefined) return;
      // A layer without it would be another tree; with it no kernel could unpack it by its name, and each level repeats the whole path.
      throw invalidArgument(`${JSON.stringify(textOf(path).slice(0, 100))}… is a path of more than ${LONGEST_PATH} bytes, which no archive can have`);
    }
    if (stat === undefined || (stat.mode & S.IFMT) === S.IFREG) return await heldFile(dir, base, path);
    await entry(dir, base, path, stat);
    if (!isDirectory(stat)) return;
    if (from === undefined && isOpaque(dir, base)) await whiteout(`${path}/.wh..wh..opq`);
    const fd = openAt(dir, base, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
    if (from !== undefined && isRuntimes(from, dir, fd)) closeFd(fd);
    else enter(fd, path === "/" ? path : `${path}/`);
  };
  try {
    if (from !== undefined) {
      const stat = statAt(from.dir, from.base);
      if (stat === undefined) throw notFound(`${textOf(from.name)}: no such file or directory`);
      await visit(from.dir, from.base, from.name, stat);
    } else enter(openAt(options.root, ".", O.RDONLY | O.DIRECTORY), "");
    if (options.listRoot) await entry(options.root, ".", "./", statAt(options.root, "")!);
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      if (options.cancelled()) throw cancelled("packing a layer was cancelled");
      const next = level.entries.pop();
      if (next === undefined) {
        levels.pop();
        closeFd(level.fd);
        continue;
      }
      const { name, isFile } = next;
      const stat = isFile ? undefined : statAt(level.fd, name);
      if (!isFile && stat === undefined) continue;
      const path = level.path + name;
      if (from === undefined && stat !== undefined && isWhiteout(stat)) {
        await whiteout(`${level.path}.wh.${name}`);
        continue;
      }
      try {
        await visit(level.fd, name, path, stat);
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    }
    await output.write(endOfArchive);
    await output.flush();
    return size;
  } finally {
    for (const { fd } of levels) closeFd(fd);
  }
}

/** Whether the directory `fd` in `dir` is a mount of the runtime's own: /dev, and what the kernel makes up. Docker's copies don't show those either. */
function isRuntimes({ devices }: PackStart, dir: number, fd: number): boolean {
  const here = fileSystemOf(statAt(fd, "")!);
  if (here === fileSystemOf(statAt(dir, "")!)) return false;
  return here === devices || isKernelsOwn(fd);
}

/** More are written as a file without holes: readers bound the map. */
const MOST_RUNS = 20_000;

/** Bytes of a file. */
interface Run {
  offset: number;
  length: number;
}

/** The runs of bytes of a file with holes; undefined where it has none, or too many. */
function runsOf(fd: number, size: number): Run[] | undefined {
  const runs: Run[] = [];
  for (let run = nextData(fd, 0, size); run !== undefined; run = nextData(fd, run.offset + run.length, size)) {
    runs.push(run);
    if (runs.length > MOST_RUNS) return undefined;
  }
  return runs[0]?.length === size ? undefined : runs;
}

/** What has been begun can't be left out any more: whatever its error says, it isn't that of something that went before. */
async function begun(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw error instanceof SysError ? internal(error.message, error) : error;
  }
}

/** Names hold one character a byte, so this is the order of bytes. */
function byteOrder(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What a layer carries on: everything but overlayfs's own marks and what the host's security module set. */
const isOfLayer = (key: string): boolean => !key.startsWith("trusted.overlay.") && !key.startsWith("user.overlay.") && key !== "security.selinux";
