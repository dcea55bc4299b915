import { closeFd, isDirectory, O, openAt2, readFd, readlinkAt, RESOLVE, S, skipFd, statAt } from "../kernel/fs.ts";
import { SysError } from "../kernel/ffi.ts";
import { cleanParts, textOf, type TarHeader } from "../lib/tar.ts";
import type { TarHandler } from "../lib/tar-reader.ts";
import { AUFS_META, OPAQUE_MARKER, WHITEOUT } from "./whiteout.ts";

/** Differences that are remembered: one is enough to distrust a layer. */
const MOST = 100;

/**
 * Whether a tree still has what the tar says that it was unpacked from: types, targets of links, modes, owners, sizes and bytes of files. A later entry of the
 * tar takes the place of an earlier one, and so its difference too. Times aren't looked at.
 */
export class TreeComparer implements TarHandler {
  readonly #root: number;
  readonly #buffer = Buffer.allocUnsafeSlow(1 << 18);
  #fd = -1;
  #path = "";
  /** By path: what is wrong there. */
  readonly differences = new Map<string, string>();

  /** `root`: descriptor of the tree. */
  constructor(root: number) {
    this.#root = root;
  }

  entry(header: TarHeader): void {
    const parts = cleanParts(header.name) ?? [];
    const base = parts.at(-1);
    if (base === undefined || (base !== OPAQUE_MARKER && parts.some((part) => part.startsWith(AUFS_META)))) return;
    if (base.startsWith(WHITEOUT)) return this.#forget([...parts.slice(0, -1), base.slice(WHITEOUT.length)].join("/"));
    this.#path = parts.join("/");
    if (header.type !== "directory") this.#forget(this.#path);
    this.differences.delete(this.#path);
    try {
      this.#compare(header, parts);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      this.#differs(["ENOENT", "ENOTDIR"].includes(error.code) ? "is gone" : error.message);
    }
  }

  data(chunk: Uint8Array): void {
    if (this.#fd < 0) return;
    for (let at = 0; at < chunk.length;) {
      const read = this.#read(Math.min(this.#buffer.length, chunk.length - at));
      if (read === undefined) return;
      if (read > 0 && this.#buffer.compare(chunk, at, at + read, 0, read) === 0) {
        at += read;
        continue;
      }
      this.#differs("has other bytes");
      return this.end();
    }
  }

  /** What a hole's place has on the disk isn't read: it may be larger than any disk. */
  hole(length: number): void {
    if (this.#fd >= 0) skipFd(this.#fd, length);
  }

  end(): void {
    if (this.#fd >= 0) closeFd(this.#fd);
    this.#fd = -1;
  }

  /** A disk that can't read says so here. */
  #read(length: number): number | undefined {
    try {
      return readFd(this.#fd, this.#buffer.subarray(0, length));
    } catch (error) {
      this.#differs(`can't be read: ${(error as Error).message}`);
      this.end();
      return undefined;
    }
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #compare(header: TarHeader, parts: readonly string[]): void {
    const directory = parts.length === 1 ? undefined : openAt2(this.#root, parts.slice(0, -1).join("/"), O.PATH | O.DIRECTORY, RESOLVE.IN_ROOT);
    try {
      const at = directory ?? this.#root;
      const base = parts.at(-1)!;
      const stat = statAt(at, base);
      if (stat === undefined) return this.#differs("is gone");
      if (header.type === "hardlink") return isDirectory(stat) ? this.#differs("is a directory") : undefined;
      if ((stat.mode & S.IFMT) !== types[header.type]) return this.#differs(`is no ${header.type}`);
      if (header.type === "symlink") return readlinkAt(at, base) === header.linkName ? undefined : this.#differs("leads elsewhere");
      if (stat.uid !== header.uid || stat.gid !== header.gid) return this.#differs("has another owner");
      if ((stat.mode & 0o7777) !== header.mode) return this.#differs("has another mode");
      if (header.type !== "file") return;
      if (stat.size !== header.size) return this.#differs(`has ${stat.size} bytes instead of ${header.size}`);
      if (header.size > 0) this.#fd = openAt2(at, base, O.RDONLY | O.NOFOLLOW, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS);
    } finally {
      if (directory !== undefined) closeFd(directory);
    }
  }

  #differs(how: string): void {
    if (this.differences.size < MOST) this.differences.set(this.#path, `/${textOf(this.#path)} ${how}`);
  }

  /** What was there, and below it, means nothing any more. */
  #forget(path: string): void {
    for (const known of this.differences.keys()) if (known === path || known.startsWith(`${path}/`)) this.differences.delete(known);
  }
}

const types = { file: S.IFREG, directory: S.IFDIR, symlink: S.IFLNK, char: S.IFCHR, block: S.IFBLK, fifo: S.IFIFO } as const;
