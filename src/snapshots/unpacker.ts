import { EngineError, internal, invalidArgument, unavailable } from "../lib/errors.ts";
import { isDiskFull } from "../lib/disk-full.ts";
import { cleanParts, textOf, type TarHeader, type TarTime } from "../lib/tar.ts";
import type { TarHandler } from "../lib/tar-reader.ts";
import { SysError } from "../kernel/ffi.ts";
import {
  chmodAt,
  chmodFd,
  chownAt,
  chownFd,
  closeFd,
  isDirectory,
  isWhiteout,
  linkAt,
  mkdirAt,
  mknodAt,
  O,
  openAt,
  openAt2,
  readFd,
  readlinkAt,
  RESOLVE,
  S,
  skipFd,
  statAt,
  symlinkAt,
  truncateFd,
  unlinkAt,
  utimesAt,
  utimesFd,
  writeFd,
} from "../kernel/fs.ts";
import { getXattrAt, listXattrAt, OPAQUE, setXattrAt } from "../kernel/xattr.ts";
import { LeansOnParents } from "./leans.ts";
import { isOpaque, type Found, type MergedView } from "./merged.ts";
import { removeTreeNow } from "./tree.ts";
import type { LayerLimits } from "./types.ts";
import { AUFS_META, OPAQUE_MARKER, WHITEOUT } from "./whiteout.ts";

/** Directories whose time is set at the end are remembered, with their paths; an archive with more is no layer. */
const MOST_DIRECTORIES = 1_000_000;
const MOST_DIRECTORY_NAMES = 128 << 20;
const CACHED_DIRECTORIES = 128;
/** As many symlinks as the kernel follows in one path. */
const MOST_SYMLINKS = 40;

/** What a bad name or a bad archive makes the kernel say. */
const archiveErrors = new Set([
  "ENAMETOOLONG",
  "ENOTDIR",
  "ELOOP",
  "EISDIR",
  "EINVAL",
  "EXDEV",
  "EMLINK",
  "ENOENT",
  "EEXIST",
  "EPERM",
  "ERANGE",
  "E2BIG",
  "EFBIG",
  "EOVERFLOW",
]);

const unlimited: LayerLimits = { bytes: Number.MAX_SAFE_INTEGER, entries: Infinity };

/** What lies deeper must list its directories: each one that has to be looked up costs as many looks as it is deep, in each layer below. */
const DEEPEST_UNLISTED = 128;

interface Directory {
  fd: number;
  /** As the archive names it: the cache's key. */
  key: string;
}

/**
 * Applies the entries of a layer's tar to an empty directory. Every call is relative to a directory opened with RESOLVE_IN_ROOT: no name, symlink or
 * hard link of the archive reaches anything outside. Synchronous: for a Worker.
 */
export class Unpacker implements TarHandler, Disposable {
  readonly #root: number;
  readonly #parents: MergedView | undefined;
  readonly #limits: LayerLimits;
  readonly #cache = new Map<string, number>();
  /** Of directories, by inode: whatever takes the place of a directory has another, or takes its record over with the number. */
  readonly #times = new Map<bigint, { path: string; time: TarTime }>();
  #timesNames = 0;
  #entries = 0;
  /** Zeros at the end of the file being written that haven't been. */
  #hole = 0;
  readonly #copyBuffer = Buffer.allocUnsafeSlow(1 << 18);
  /** Bits of a mode that a new file of this tree may not get as it is asked for. */
  readonly #unsure: number;
  /** Some directory hands on its group: new files in it may have another than root's. */
  #handsOnGroup = false;
  #file = -1;
  #entry: { header: TarHeader; directory: Directory; base: string } | undefined;

  /** Sum of the files' bytes. */
  size = 0;
  /** The layer needed something of its parents. */
  leans = false;
  /** The archive names the root directory itself. */
  listsRoot = false;
  /** No entry took the place of another: every file is as its own entry says. */
  exact = true;

  /** `root`: descriptor of the empty directory. `parents`: merged tree under the layer, or undefined where it isn't there yet. */
  constructor(root: number, parents: MergedView | undefined, limits: LayerLimits = unlimited) {
    this.#root = root;
    this.#parents = parents;
    this.#limits = limits;
    // With a default ACL the mode of new files comes from that.
    this.#unsure = getXattrAt(root, "", "system.posix_acl_default") === undefined ? 0o7000 | process.umask() : 0o7777;
  }

  entry(header: TarHeader): void {
    const { bytes, entries } = this.#limits;
    if (++this.#entries > entries)
      throw invalidArgument(`the layer has more than ${entries} entries, which is the most that this engine takes (max-layer-entries)`);
    if (this.size + header.size > bytes) throw tooLarge(bytes);
    this.#guard(header, () => this.#create(header));
  }

  /** The last entry is a file, whose body is stored. */
  get storing(): boolean {
    return this.#file >= 0;
  }

  data(chunk: Uint8Array): void {
    if (this.#file < 0) return;
    this.#guard(this.#entry!.header, () => {
      if (this.#hole > 0) skipFd(this.#file, this.#hole);
      this.#hole = 0;
      writeFd(this.#file, chunk);
    });
  }

  hole(length: number): void {
    if (this.#file >= 0) this.#hole += length;
  }

  end(): void {
    if (this.#file < 0) return;
    const { header, directory, base } = this.#entry!;
    if (this.#hole > 0) this.#guard(header, () => truncateFd(this.#file, header.size));
    this.#hole = 0;
    this.size += header.size;
    this.#guard(header, () => this.#fileAttributes(header, directory, base));
    closeFd(this.#file);
    this.#file = -1;
  }

  /** After the last entry: the times of directories, which their children's creation changed. */
  finish(): void {
    for (const [ino, { path, time }] of this.#times) {
      try {
        const fd = path === "" ? openAt(this.#root, ".", O.PATH) : openAt2(this.#root, path, O.PATH | O.NOFOLLOW, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
        try {
          // Through /proc, as the empty name with utimensat needs Linux 5.8 and glibc refuses it.
          if (statAt(fd, "")!.ino === ino) utimesAt(fd, ".", time.seconds, time.nanoseconds);
        } finally {
          closeFd(fd);
        }
      } catch (error) {
        const code = error instanceof SysError ? error.code : "";
        // Replaced later in the archive.
        if (code !== "ENOENT" && code !== "ENOTDIR" && code !== "ELOOP") throw this.#explained(error, path);
      }
    }
  }

  [Symbol.dispose](): void {
    if (this.#file >= 0) closeFd(this.#file);
    this.#file = -1;
    this.#forget();
  }

  #guard(header: TarHeader, work: () => void): void {
    try {
      work();
    } catch (error) {
      throw this.#explained(error, header.name);
    }
  }

  #explained(error: unknown, name: string): Error {
    if (error instanceof LeansOnParents || error instanceof EngineError) return error;
    const entry = JSON.stringify(textOf(name).slice(0, 300));
    if (!(error instanceof SysError)) return internal(`unpacking ${entry}: ${String(error)}`, error);
    if (isDiskFull(error)) return unavailable(`unpacking ${entry}: no space left on device`, error);
    if (archiveErrors.has(error.code)) return invalidArgument(`bad layer: entry ${entry}: ${error.message}`, error);
    return internal(`unpacking ${entry}: ${error.message}`, error);
  }

  #create(header: TarHeader): void {
    const parts = cleanParts(header.name);
    if (parts === undefined) throw invalidArgument(`bad layer: entry ${JSON.stringify(textOf(header.name))} leaves the layer's root`);
    const base = parts.pop();
    if (base === undefined) return this.#rootEntry(header);
    if ([...parts, base].some((part) => part !== OPAQUE_MARKER && part.startsWith(AUFS_META))) return;
    if (parts.some((part) => part.startsWith(WHITEOUT))) throw invalidArgument(`bad layer: entry ${JSON.stringify(textOf(header.name))} is below a whiteout`);
    if (base.startsWith(WHITEOUT)) return this.#whiteout(base, parts);
    const directory = this.#directory(parts);
    switch (header.type) {
      case "directory":
        return this.#makeDirectory(header, directory, base);
      case "file":
        this.#replacing(directory, base, () => (this.#file = openAt(directory.fd, base, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, header.mode & 0o777)));
        this.#entry = { header, directory, base };
        return;
      case "hardlink":
        return this.#hardLink(header, directory, base);
      case "symlink":
        if (header.linkName === "") throw invalidArgument(`bad layer: symlink ${JSON.stringify(textOf(header.name))} without a target`);
        this.#replacing(directory, base, () => symlinkAt(header.linkName, directory.fd, base));
        break;
      case "char":
        this.#replacing(directory, base, () => mknodAt(directory.fd, base, S.IFCHR | 0o600, header.major, header.minor));
        break;
      case "block":
        this.#replacing(directory, base, () => mknodAt(directory.fd, base, S.IFBLK | 0o600, header.major, header.minor));
        break;
      case "fifo":
        this.#replacing(directory, base, () => mknodAt(directory.fd, base, S.IFIFO | 0o600));
        break;
    }
    this.#attributes(header, directory, base);
  }

  #rootEntry(header: TarHeader): void {
    if (header.type !== "directory") throw invalidArgument(`bad layer: its root is a ${header.type}`);
    this.listsRoot = true;
    this.#attributes(header, { fd: this.#root, key: "" }, ".");
    this.#remember({ fd: this.#root, key: "" }, "", header.mtime);
  }

  #makeDirectory(header: TarHeader, directory: Directory, base: string): void {
    let opaque = false;
    try {
      mkdirAt(directory.fd, base, 0o700);
    } catch (error) {
      if (!(error instanceof SysError) || error.code !== "EEXIST") throw error;
      const stat = statAt(directory.fd, base)!;
      if (!isDirectory(stat)) {
        // What hid a lower directory is gone, a whiteout maybe; that directory must not shine through.
        opaque = true;
        this.#clear(directory, base);
        mkdirAt(directory.fd, base, 0o700);
      }
    }
    if (opaque) setXattrAt(directory.fd, base, OPAQUE, Buffer.from("y"));
    this.#attributes(header, directory, base);
    this.#remember(directory, base, header.mtime);
  }

  /** What the time of a directory is to be once all is in it; undefined: whatever it is then. */
  #remember(directory: Directory, base: string, time: TarTime | undefined): void {
    const { ino } = statAt(directory.fd, base)!;
    const path = directory.key === "" ? base : `${directory.key}/${base}`;
    this.#timesNames -= this.#times.get(ino)?.path.length ?? 0;
    this.#times.delete(ino);
    if (time === undefined) return;
    this.#times.set(ino, { path, time });
    this.#timesNames += path.length;
    if (this.#times.size > MOST_DIRECTORIES || this.#timesNames > MOST_DIRECTORY_NAMES)
      throw invalidArgument(`bad layer: more than ${MOST_DIRECTORIES} directories, or ${MOST_DIRECTORY_NAMES} bytes of their names`);
  }

  #hardLink(header: TarHeader, directory: Directory, base: string): void {
    const parts = cleanParts(header.linkName);
    const shown = `hard link ${JSON.stringify(textOf(header.name))} to ${JSON.stringify(textOf(header.linkName))}`;
    const from = parts?.pop();
    if (parts === undefined || from === undefined) throw invalidArgument(`bad layer: ${shown} leaves the layer's root`);
    let source: number;
    try {
      source =
        parts.length === 0
          ? openAt(this.#root, ".", O.PATH)
          : openAt2(this.#root, parts.join("/"), O.PATH | O.DIRECTORY, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
    } catch (error) {
      if (!(error instanceof SysError) || (error.code !== "ENOENT" && error.code !== "ENOTDIR")) throw error;
      return this.#linkToLower([...parts, from], shown, directory, base);
    }
    try {
      const stat = statAt(source, from);
      if (stat === undefined) return this.#linkToLower([...parts, from], shown, directory, base);
      if (isDirectory(stat) || isWhiteout(stat)) throw invalidArgument(`bad layer: ${shown}: the target is no file`);
      const present = statAt(directory.fd, base);
      // A link of a name to itself would be lost with the name.
      if (present !== undefined && present.ino === stat.ino && !isDirectory(present)) return;
      this.#replacing(directory, base, () => linkAt(source, from, directory.fd, base));
    } finally {
      closeFd(source);
    }
  }

  /** Overlayfs has no links between layers: the lower file is copied up, as a write to it in a container would do. */
  #linkToLower(parts: string[], shown: string, directory: Directory, base: string): void {
    const found = this.#beneath(parts);
    if (found === undefined || isDirectory(found.stat)) throw invalidArgument(`bad layer: ${shown}: there is no such file in it or under it`);
    const { stat, layer, path } = found;
    const kind = stat.mode & S.IFMT;
    if (kind === S.IFREG) {
      const from = openAt(layer, path, O.RDONLY | O.NOFOLLOW);
      try {
        this.#replacing(directory, base, () => (this.#file = openAt(directory.fd, base, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600)));
        for (let n = readFd(from, this.#copyBuffer); n > 0; n = readFd(from, this.#copyBuffer)) writeFd(this.#file, this.#copyBuffer.subarray(0, n));
        closeFd(this.#file);
        this.#file = -1;
      } finally {
        closeFd(from);
      }
      this.size += stat.size;
    } else if (kind === S.IFLNK) this.#replacing(directory, base, () => symlinkAt(readlinkAt(layer, path), directory.fd, base));
    else this.#replacing(directory, base, () => mknodAt(directory.fd, base, stat.mode, stat.rdevMajor, stat.rdevMinor));
    this.#copyAttributes(found, directory, base);
  }

  #whiteout(base: string, parts: string[]): void {
    if (base === OPAQUE_MARKER) {
      if (parts.length === 0) return this.#opaqueRoot();
      setXattrAt(this.#directory(parts).fd, "", OPAQUE, Buffer.from("y"));
      return;
    }
    const name = base.slice(WHITEOUT.length);
    if (name === "" || name === "." || name === "..") throw invalidArgument(`bad layer: whiteout ${JSON.stringify(textOf(base))} names nothing`);
    const directory = this.#directory(parts);
    this.#replacing(directory, name, () => mknodAt(directory.fd, name, S.IFCHR, 0, 0));
  }

  /** Overlayfs merges the roots of layers whatever their xattrs say: each name below is hidden by itself. */
  #opaqueRoot(): void {
    for (const name of this.#lower().names([])) {
      const stat = statAt(this.#root, name);
      if (stat === undefined) mknodAt(this.#root, name, S.IFCHR, 0, 0);
      else if (isDirectory(stat)) setXattrAt(this.#root, name, OPAQUE, Buffer.from("y"));
    }
  }

  /** As `#attributes`, of the open file, and without the calls that would change nothing: each is a transaction of the file system. */
  #fileAttributes(header: TarHeader, directory: Directory, base: string): void {
    if (header.uid !== 0 || header.gid !== 0 || this.#handsOnGroup) chownFd(this.#file, header.uid, header.gid);
    if ((header.mode & this.#unsure) !== 0) chmodFd(this.#file, header.mode);
    for (const [key, value] of header.xattrs) this.#xattr(directory.fd, base, key, value);
    utimesFd(this.#file, header.mtime.seconds, header.mtime.nanoseconds);
  }

  /** Owner first, since chown clears setuid and security.capability; then mode, xattrs and time. */
  #attributes(header: TarHeader, directory: Directory, base: string): void {
    chownAt(directory.fd, base, header.uid, header.gid);
    this.#noteGroup(header.type === "directory", header.mode, header.gid);
    if (header.type !== "symlink") chmodAt(directory.fd, base, header.mode);
    for (const [key, value] of header.xattrs) this.#xattr(directory.fd, base, key, value);
    if (header.type !== "directory") utimesAt(directory.fd, base, header.mtime.seconds, header.mtime.nanoseconds);
  }

  /** A directory with the setgid bit, or any with mount option grpid, gives new files its group. */
  #noteGroup(isDirectory: boolean, mode: number, gid: number): void {
    if (isDirectory && (gid !== 0 || (mode & 0o2000) !== 0)) this.#handsOnGroup = true;
  }

  #xattr(fd: number, base: string, key: string, value: Uint8Array): void {
    // An archive that could set these would steer overlayfs (redirects, metacopy): they aren't part of any tree.
    if (key.startsWith("trusted.overlay.") || key.startsWith("user.overlay.")) return;
    try {
      setXattrAt(fd, base, key, value);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      if (error.code === "ENOSPC")
        throw invalidArgument(`bad layer: ${JSON.stringify(textOf(base))} has more extended attributes than a file can hold here`, error);
      // As Docker does: what this file system or this kind of file can't hold is left out (moby: archive.createTarFile).
      if (error.code !== "EOPNOTSUPP" && error.code !== "ENOTSUP" && error.code !== "EPERM") throw error;
    }
  }

  #copyAttributes({ layer, path, stat }: Found, directory: Directory, base: string): void {
    chownAt(directory.fd, base, stat.uid, stat.gid);
    this.#noteGroup(isDirectory(stat), stat.mode, stat.gid);
    if ((stat.mode & S.IFMT) !== S.IFLNK) chmodAt(directory.fd, base, stat.mode & 0o7777);
    for (const key of listXattrAt(layer, path)) this.#xattr(directory.fd, base, key, getXattrAt(layer, path, key) ?? new Uint8Array());
    utimesAt(directory.fd, base, stat.mtimeSeconds, stat.mtimeNanoseconds);
  }

  /** Later entries win: makes room for `base` where `make` finds it taken. */
  #replacing(directory: Directory, base: string, make: () => void): void {
    try {
      make();
    } catch (error) {
      if (!(error instanceof SysError) || error.code !== "EEXIST") throw error;
      this.#clear(directory, base);
      make();
    }
  }

  #clear(directory: Directory, base: string): void {
    const stat = statAt(directory.fd, base);
    if (stat === undefined) return;
    this.exact = false;
    // Cached descriptors may lead through what goes away now; the one in use stays open.
    this.#forget(directory.fd);
    if (isDirectory(stat)) removeTreeNow(directory.fd, base);
    else unlinkAt(directory.fd, base);
  }

  #forget(except = -1): void {
    for (const [key, fd] of this.#cache) {
      if (fd === except) continue;
      closeFd(fd);
      this.#cache.delete(key);
    }
  }

  #lower(): MergedView {
    this.leans = true;
    if (this.#parents === undefined) throw new LeansOnParents();
    return this.#parents;
  }

  #notTooDeep(parts: readonly string[]): void {
    if (parts.length <= DEEPEST_UNLISTED) return;
    const shown = JSON.stringify(textOf(parts.join("/")).slice(0, 300));
    throw invalidArgument(`bad layer: ${shown} is more than ${DEEPEST_UNLISTED} directories deep, and the layer doesn't list them`);
  }

  /** What the parents have at `parts`, as far as this layer lets it through. */
  #beneath(parts: readonly string[]): Found | undefined {
    this.#notTooDeep(parts);
    for (let length = 1; length < parts.length; length++) {
      const path = parts.slice(0, length).join("/");
      const stat = statAt(this.#root, path);
      if (stat === undefined) break;
      if (!isDirectory(stat) || isOpaque(this.#root, path)) return undefined;
    }
    return this.#lower().lookup(parts);
  }

  /** The directory at `parts`, symlinks followed within the root; ancestors that the archive doesn't list are made as the parents have them. */
  #directory(parts: string[]): Directory {
    if (parts.length === 0) return { fd: this.#root, key: "" };
    const key = parts.join("/");
    const cached = this.#cache.get(key);
    if (cached !== undefined) {
      this.#cache.delete(key);
      this.#cache.set(key, cached);
      return { fd: cached, key };
    }
    let fd: number;
    try {
      fd = openAt2(this.#root, key, O.PATH | O.DIRECTORY, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
    } catch (error) {
      if (!(error instanceof SysError) || (error.code !== "ENOENT" && error.code !== "ENOTDIR")) throw error;
      fd = openAt(this.#root, this.#makeAncestors(parts).join("/"), O.PATH | O.DIRECTORY | O.NOFOLLOW);
    }
    if (this.#cache.size >= CACHED_DIRECTORIES) {
      const [oldest, old] = this.#cache.entries().next().value!;
      closeFd(old);
      this.#cache.delete(oldest);
    }
    this.#cache.set(key, fd);
    return { fd, key };
  }

  /** Walks part by part, resolving symlinks itself (this layer's, then the parents'), and returns the path without any. */
  #makeAncestors(parts: string[]): string[] {
    this.#notTooDeep(parts);
    const queue = [...parts];
    let here: string[] = [];
    let followed = 0;
    const follow = (target: string): void => {
      if (++followed > MOST_SYMLINKS) throw new SysError("openat2", 40, textOf(parts.join("/")));
      if (target.startsWith("/")) here = [];
      queue.unshift(...target.split("/"));
    };
    for (let part = queue.shift(); part !== undefined; part = queue.shift()) {
      if (part === "" || part === ".") continue;
      if (part === "..") {
        here.pop();
        continue;
      }
      const path = [...here, part];
      const stat = statAt(this.#root, path.join("/"));
      if (stat === undefined) {
        const found = this.#beneath(path);
        if (found !== undefined && (found.stat.mode & S.IFMT) === S.IFLNK) {
          follow(readlinkAt(found.layer, found.path));
          continue;
        }
        this.#implicitDirectory(path, found !== undefined && isDirectory(found.stat) ? found : undefined);
      } else if ((stat.mode & S.IFMT) === S.IFLNK) {
        follow(readlinkAt(this.#root, path.join("/")));
        continue;
      } else if (isWhiteout(stat)) {
        unlinkAt(this.#root, path.join("/"));
        this.#implicitDirectory(path, undefined);
        setXattrAt(this.#root, path.join("/"), OPAQUE, Buffer.from("y"));
      } else if (!isDirectory(stat)) throw new SysError("openat2", 20, textOf(path.join("/")));
      here = path;
    }
    return here.length === 0 ? ["."] : here;
  }

  #implicitDirectory(path: string[], lower: Found | undefined): void {
    const name = path.join("/");
    mkdirAt(this.#root, name, 0o755);
    const root = { fd: this.#root, key: "" };
    if (lower === undefined) chmodAt(this.#root, name, 0o755);
    else this.#copyAttributes(lower, root, name);
    this.#remember(root, name, lower && { seconds: lower.stat.mtimeSeconds, nanoseconds: lower.stat.mtimeNanoseconds });
  }
}

export function tooLarge(bytes: number): EngineError {
  return invalidArgument(`the layer has more than ${bytes} bytes, which is the most that this engine takes (max-layer-size)`);
}
