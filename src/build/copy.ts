import { closeFd, isDirectory, linkAt, mknodAt, O, openAt, readFd, readlinkAt, S, statAt, writeFd, type Stat } from "../kernel/fs.ts";
import { SysError } from "../kernel/ffi.ts";
import { invalidArgument } from "../lib/errors.ts";
import { textOf } from "../lib/tar.ts";
import { isArchive, openArchive } from "../snapshots/archive.ts";
import type { CopySource } from "./checksum.ts";
import { extractTar } from "../snapshots/extract.ts";
import { clear, enterDirectory, isSymlink, makeSymlink, namesIn, type Root, setAttributes, xattrsOf, type Owner } from "../snapshots/root.ts";

export interface CopyOptions {
  /** Absolute; a slash at the end, or a directory that is there, means "into it". Bytes as latin1. */
  destination: string;
  /** Of everything copied; undefined: as in the source. */
  owner?: Owner;
  /** Permissions of everything copied. */
  mode?: number;
  /** Archives are unpacked (ADD). */
  unpack: boolean;
}

const root0: Owner = { uid: 0, gid: 0 };

/** Copies into `target` as COPY and ADD do; both roots are hostile, and neither is left. */
export async function copySources(from: Root, sources: readonly CopySource[], target: Root, options: CopyOptions): Promise<void> {
  const copier = new Copier(target, options);
  for (const source of sources) {
    const real = from.real(source.path);
    if (real === undefined) throw invalidArgument(`stat ${textOf(source.path)}: file does not exist`);
    if (source.directory) copier.directory(from, real);
    else if (!options.unpack || !(await unpacked(from, real, target, options))) copier.file(from, real, source.path.split("/").at(-1) as string);
  }
}

/** A directory with all parents, as WORKDIR makes it. */
export function makeDirectory(target: Root, path: string): void {
  closeFd(target.directory(path, root0));
}

async function unpacked(from: Root, real: string, target: Root, options: CopyOptions): Promise<boolean> {
  if (!(await isArchive(fileStream(from, real)))) return false;
  // Owners are the archive's, also with --chown, as in Docker.
  await extractTar(target, await openArchive(fileStream(from, real)), { destination: options.destination });
  return true;
}

function fileStream(root: Root, path: string): ReadableStream<Uint8Array> {
  let fd: number | undefined;
  const close = (): void => {
    if (fd !== undefined) closeFd(fd);
    fd = undefined;
  };
  return new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        fd ??= root.open(path, O.RDONLY | O.NONBLOCK);
        const buffer = Buffer.allocUnsafeSlow(128 * 1024);
        const length = fd === undefined ? 0 : readFd(fd, buffer);
        if (length > 0) return controller.enqueue(buffer.subarray(0, length));
        close();
        controller.close();
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  );
}

const buffer = Buffer.allocUnsafeSlow(1 << 20);

class Copier {
  readonly #target: Root;
  readonly #options: CopyOptions;
  readonly #owner: Owner;
  /** Where a file with several names went first: its other names become hard links, as they were. */
  readonly #linked = new Map<string, { path: string; name: string }>();

  constructor(target: Root, options: CopyOptions) {
    this.#target = target;
    this.#options = options;
    this.#owner = options.owner ?? root0;
  }

  /** The contents of a directory. */
  directory(from: Root, real: string): void {
    const { destination } = this.#options;
    const source = from.open(real, O.PATH | O.DIRECTORY);
    if (source === undefined) throw invalidArgument(`stat ${textOf(real)}: file does not exist`);
    try {
      const present = this.#target.stat(destination);
      if (present !== undefined && !isDirectory(present)) throw invalidArgument(`cannot copy to non-directory: ${textOf(destination)}`);
      const fd = this.#target.directory(destination, this.#owner);
      try {
        this.#children(source, fd, this.#target.real(destination) ?? "");
      } finally {
        closeFd(fd);
      }
    } finally {
      closeFd(source);
    }
  }

  /** One file, named `name` where the destination is a directory. */
  file(from: Root, real: string, name: string): void {
    const { destination } = this.#options;
    const cut = real.lastIndexOf("/");
    const source = from.open(real.slice(0, Math.max(cut, 0)), O.PATH | O.DIRECTORY);
    if (source === undefined) throw invalidArgument(`stat ${textOf(real)}: file does not exist`);
    try {
      const place = this.#place(destination, name);
      const parent = this.#target.directory(place.parent, this.#owner);
      try {
        this.#entry(source, real.slice(cut + 1), parent, place.name, `${place.parent}/${place.name}`);
      } finally {
        closeFd(parent);
      }
    } finally {
      closeFd(source);
    }
  }

  /** A symlink at the destination is followed, within the root. */
  #place(destination: string, name: string): { parent: string; name: string } {
    const present = this.#target.stat(destination);
    if (destination.endsWith("/") || (present !== undefined && isDirectory(present))) return { parent: destination, name };
    const path = present === undefined ? destination : (this.#target.real(destination) ?? destination);
    const cut = path.lastIndexOf("/");
    return { parent: path.slice(0, Math.max(cut, 0)), name: path.slice(cut + 1) };
  }

  #children(source: number, target: number, path: string): void {
    for (const name of namesIn(source)) this.#entry(source, name, target, name, path === "" ? name : `${path}/${name}`);
  }

  #entry(source: number, from: string, target: number, to: string, path: string): void {
    const stat = statAt(source, from);
    if (stat === undefined) throw new SysError("stat", 2, textOf(from));
    if (isDirectory(stat)) {
      const { fd } = enterDirectory(this.#target, path, target, to);
      try {
        const inner = openAt(source, from, O.PATH | O.DIRECTORY | O.NOFOLLOW);
        try {
          this.#children(inner, fd, path);
        } finally {
          closeFd(inner);
        }
        this.#attributes(source, from, stat, fd, ".");
      } finally {
        closeFd(fd);
      }
      return;
    }
    const key = `${stat.devMajor}:${stat.devMinor}:${stat.ino}`;
    const first = stat.nlink > 1 ? this.#linked.get(key) : undefined;
    clear(target, to);
    if (first !== undefined && this.#link(first, target, to)) return;
    this.#make(source, from, stat, target, to);
    this.#attributes(source, from, stat, target, to);
    if (stat.nlink > 1) this.#linked.set(key, { path, name: to });
  }

  #link(first: { path: string; name: string }, target: number, to: string): boolean {
    const directory = this.#target.open(first.path.slice(0, Math.max(first.path.lastIndexOf("/"), 0)), O.PATH | O.DIRECTORY);
    if (directory === undefined) return false;
    try {
      linkAt(directory, first.name, target, to);
      return true;
    } catch (error) {
      if (error instanceof SysError && (error.code === "ENOENT" || error.code === "EMLINK")) return false;
      throw error;
    } finally {
      closeFd(directory);
    }
  }

  #make(source: number, from: string, stat: Stat, target: number, to: string): void {
    if (isSymlink(stat)) return makeSymlink(readlinkAt(source, from), target, to);
    if ((stat.mode & S.IFMT) !== S.IFREG) return mknodAt(target, to, (stat.mode & S.IFMT) | 0o600, stat.rdevMajor, stat.rdevMinor);
    const reading = openAt(source, from, O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
    try {
      const writing = openAt(target, to, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600);
      try {
        for (let length = readFd(reading, buffer); length > 0; length = readFd(reading, buffer)) writeFd(writing, buffer.subarray(0, length));
      } finally {
        closeFd(writing);
      }
    } finally {
      closeFd(reading);
    }
  }

  #attributes(source: number, from: string, stat: Stat, target: number, to: string): void {
    const { uid, gid } = this.#options.owner ?? stat;
    const mode = this.#options.mode === undefined ? stat.mode : (stat.mode & S.IFMT) | this.#options.mode;
    setAttributes(target, to, { uid, gid, mode, mtimeSeconds: stat.mtimeSeconds, mtimeNanoseconds: stat.mtimeNanoseconds, xattrs: xattrsOf(source, from) });
  }
}
