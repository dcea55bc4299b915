import {
  chmodFd,
  chownFd,
  closeFd,
  createAt,
  isDirectory,
  linkAt,
  mkdirAt,
  mknodAt,
  O,
  openAt,
  readDirectory,
  S,
  skipFd,
  statAt,
  truncateFd,
  unlinkAt,
  utimesAt,
  utimesFd,
  writeFd,
} from "../kernel/fs.ts";
import { setXattrFd } from "../kernel/xattr.ts";
import { conflict, invalidArgument } from "../lib/errors.ts";
import { TarParser } from "../lib/tar-reader.ts";
import { cleanParts, textOf, type TarHeader } from "../lib/tar.ts";
import type { IdMap } from "../oci/id-map.ts";
import { ownerOnHost, xattrsOnHost } from "./owners.ts";
import { clear, isAcl, isCarriedXattr, isSymlink, makeSymlink, type Root, setAttributes, setXattrs, type Attributes, type Owner } from "./root.ts";

export interface ExtractOptions {
  /** Under the root; "" for the root itself. Made where missing. */
  destination: string;
  /** Everything belongs to this owner, whatever the archive says. */
  owner?: Owner;
  /** Of the container whose root it is: all those owners are the ones it knows. */
  idMap?: IdMap;
  /** A directory takes the place of a symlink of its name. Without this it fills the directory that the symlink leads to. */
  replaceLinks?: boolean;
  /** Refuse to put a directory in the place of something else, or something else in the place of a directory. */
  keepKinds?: boolean;
  /** The archive is of all that the root holds: its entry for the root itself counts, and ACLs do. */
  whole?: boolean;
}

/** More directories in one archive aren't remembered for their times. */
const mostDirectories = 1_000_000;

/** How often a name is cleared that others make again meanwhile. */
const mostAttempts = 16;

/** Shorter runs of zeros are written: they would make no hole in most file systems. */
const leastHole = 4096;
/** Files are looked at in pieces of this size. */
const zeros = Buffer.alloc(1 << 16);

function isZeros(piece: Uint8Array): boolean {
  return piece.length >= leastHole && piece[0] === 0 && zeros.compare(piece, 0, piece.length, 0, piece.length) === 0;
}

const root0: Owner = { uid: 0, gid: 0 };

/** Unpacks a plain tar into a root it can't leave. Names that are there give way, but directories stay. @throws EngineError invalidArgument */
export async function extractTar(root: Root, source: AsyncIterable<Uint8Array>, options: ExtractOptions): Promise<void> {
  using target = new Target(root, options);
  const parser = new TarParser({
    entry: (header) => target.entry(header),
    data: (chunk) => target.data(chunk),
    hole: (length) => target.hole(length),
    end: () => target.end(),
  });
  for await (const chunk of source) parser.push(chunk);
  parser.finish();
  // what an export that failed has sent must not pass for all there was
  if (options.whole === true && !parser.ended) throw invalidArgument("the archive has no end mark: it is empty, or cut off");
  target.finish();
}

const devices: Partial<Record<TarHeader["type"], number>> = { char: S.IFCHR, block: S.IFBLK, fifo: S.IFIFO };

/** What a new file of a directory is, whose own settings may have changed what was asked for. */
interface Made extends Owner {
  mode: number;
}

class Target implements Disposable {
  readonly #root: Root;
  readonly #base: string;
  readonly #options: ExtractOptions;
  readonly #owner: Owner | undefined;
  /** Of directories that the archive doesn't name. */
  readonly #maker: Owner;
  /** The parent of the last entry: the next one mostly has the same. */
  #parent: { path: string; fd: number; made: Map<number, Made> } | undefined;
  /** The file being written: made with `mode`, `size` bytes so far, the last `hole` of which are zeros that haven't been. */
  #open: { fd: number; header: TarHeader; mode: number; size: number; hole: number } | undefined;
  /** Times of directories are set when all is in them; the rest, too, of those that were there before. */
  readonly #directories = new Map<string, { header: TarHeader; isNew: boolean }>();

  constructor(root: Root, options: ExtractOptions) {
    this.#root = root;
    this.#options = options;
    this.#base = options.destination.replace(/^\/+|\/+$/g, "");
    this.#owner = options.owner;
    this.#maker = ownerOnHost(options.idMap, options.owner ?? root0);
    closeFd(root.directory(this.#base, this.#maker));
  }

  entry(header: TarHeader): void {
    const parts = cleanParts(header.name);
    if (parts === undefined) throw invalidArgument(`the archive's entry ${JSON.stringify(textOf(header.name))} is outside of its root`);
    const name = parts.pop();
    if (name === undefined) {
      // else the root itself keeps its mode
      if (this.#options.whole === true && header.type === "directory") this.#directories.set("", { header, isNew: false });
      return;
    }
    if (header.type !== "hardlink") ownerOnHost(this.#options.idMap, this.#owner ?? header); // before anything is made
    const above = parts.join("/");
    const path = above === "" ? name : `${above}/${name}`;
    const parent = this.#enter(above);
    if (header.type === "file") {
      // with a bit that counts for its owner it must not be anybody else's
      const mode = (header.mode & ~0o777) === 0 ? header.mode : 0o600;
      const fd = this.#create(parent, name, path, header, mode);
      this.#open = { fd, header, mode, size: 0, hole: 0 };
      return;
    }
    this.#checkKind(parent, name, path, header);
    if (header.type === "directory") return this.#directory(parent, name, path, header);
    if (header.type === "hardlink") return this.#hardLink(parent, name, header);
    this.#makeRoom(parent, name);
    if (header.type === "symlink") makeSymlink(header.linkName, parent, name);
    else mknodAt(parent, name, (devices[header.type] as number) | 0o600, header.major, header.minor);
    this.#attributes(parent, name, header);
  }

  data(chunk: Uint8Array): void {
    if (this.#open === undefined) return;
    this.#open.size += chunk.length;
    let written = 0;
    for (let at = 0; at < chunk.length; at += zeros.length) {
      const part = chunk.subarray(at, at + zeros.length);
      if (!isZeros(part)) continue;
      this.#write(this.#open, chunk.subarray(written, at));
      this.#open.hole += part.length;
      written = at + part.length;
    }
    this.#write(this.#open, chunk.subarray(written));
  }

  hole(length: number): void {
    if (this.#open === undefined) return;
    this.#open.size += length;
    this.#open.hole += length;
  }

  #write(open: { fd: number; hole: number }, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (open.hole > 0) skipFd(open.fd, open.hole);
    open.hole = 0;
    writeFd(open.fd, bytes);
  }

  end(): void {
    if (this.#open === undefined) return;
    const { fd, header, mode, size, hole } = this.#open;
    const { uid, gid, xattrs, mtimeSeconds, mtimeNanoseconds } = this.#attributesOf(header);
    const made = this.#madeOf(fd, mode);
    if (hole > 0) truncateFd(fd, size);
    // in this order: a new owner takes setuid bits and capabilities away
    if (uid !== made.uid || gid !== made.gid) chownFd(fd, uid, gid);
    if (header.mode !== made.mode) chmodFd(fd, header.mode);
    setXattrs(xattrs, (key, value) => setXattrFd(fd, key, value));
    utimesFd(fd, mtimeSeconds, mtimeNanoseconds);
    this.#open = undefined;
    closeFd(fd);
  }

  /** Looked at once for each directory and mode: the calls that would change nothing take longer than all the rest of a small file. */
  #madeOf(fd: number, mode: number): Made {
    const { made } = this.#parent!;
    let found = made.get(mode);
    if (found === undefined) {
      const stat = statAt(fd, "")!;
      made.set(mode, (found = { uid: stat.uid, gid: stat.gid, mode: stat.mode & 0o7777 }));
    }
    return found;
  }

  finish(): void {
    // Children before parents, so that a parent's time stands.
    for (const [path, { header, isNew }] of [...this.#directories].toReversed()) {
      const fd = this.#root.open(this.#at(path), O.PATH | O.DIRECTORY);
      if (fd === undefined) continue; // replaced by a later entry
      try {
        if (isNew) utimesAt(fd, ".", header.mtime.seconds, header.mtime.nanoseconds);
        else this.#attributes(fd, ".", header);
      } finally {
        closeFd(fd);
      }
    }
  }

  #at(path: string): string {
    return path === "" ? this.#base : `${this.#base}/${path}`;
  }

  #enter(path: string): number {
    if (this.#parent?.path === path) return this.#parent.fd;
    if (this.#parent !== undefined) closeFd(this.#parent.fd);
    this.#parent = undefined;
    this.#parent = { path, fd: this.#root.directory(this.#at(path), this.#maker), made: new Map() };
    return this.#parent.fd;
  }

  /**
   * What is mounted on stays: the kernel keeps it only in its own mount namespace, and takes the mounts of a running container away with the name.
   * Text as Docker's, whose copies are made in a namespace where the kernel refuses.
   */
  #makeRoom(parent: number, name: string): void {
    if (holdsMount(parent, name)) throw conflict(`unlinkat ${JSON.stringify(textOf(name))}: device or resource busy: something is mounted there`);
    clear(parent, name);
  }

  /** Texts are Docker's (moby: archive.Unpack). */
  #checkKind(parent: number, name: string, path: string, header: TarHeader): void {
    if (this.#options.keepKinds !== true) return;
    const present = statAt(parent, name);
    if (present === undefined || isDirectory(present) === (header.type === "directory")) return;
    const [there, into] = [this.#at(path), this.#base].map((each) => JSON.stringify(textOf(`/${each.replace(/^\//, "")}`)));
    throw invalidArgument(
      isDirectory(present)
        ? `cannot overwrite directory ${there} with non-directory ${into}`
        : `cannot overwrite non-directory ${there} with directory ${into}`,
    );
  }

  /** Mostly the name is free: whatever has it is looked at only then. */
  #create(parent: number, name: string, path: string, header: TarHeader, mode: number): number {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const fd = createAt(parent, name, mode);
      if (fd !== undefined) return fd;
      this.#checkKind(parent, name, path, header);
      this.#makeRoom(parent, name);
    }
    throw conflict(`open ${JSON.stringify(textOf(name))}: file exists: something in the container makes it again and again`);
  }

  #directory(parent: number, name: string, path: string, header: TarHeader): void {
    const present = statAt(parent, name);
    const throughLink = this.#options.replaceLinks !== true && present !== undefined && isSymlink(present) && this.#leadsToDirectory(path);
    const stays = throughLink || (present !== undefined && isDirectory(present));
    if (!stays) {
      if (present !== undefined) this.#makeRoom(parent, name);
      mkdirAt(parent, name, 0o700);
      // At once, should the archive break off; its time is set again when all is in it.
      this.#attributes(parent, name, header);
    }
    this.#directories.set(path, { header, isNew: !stays });
    if (this.#directories.size > mostDirectories) throw invalidArgument(`the archive has more than ${mostDirectories} directories`);
  }

  /** An archive with `bin/` on a system where /bin is a link to usr/bin fills usr/bin. */
  #leadsToDirectory(path: string): boolean {
    const fd = this.#root.open(this.#at(path), O.PATH | O.DIRECTORY);
    if (fd === undefined) return false;
    closeFd(fd);
    return true;
  }

  #hardLink(parent: number, name: string, header: TarHeader): void {
    const parts = cleanParts(header.linkName);
    const target = parts?.pop();
    if (parts === undefined || target === undefined)
      throw invalidArgument(`the archive's link ${JSON.stringify(textOf(header.linkName))} is outside of its root`);
    const directory = this.#root.open(this.#at(parts.join("/")), O.PATH | O.DIRECTORY);
    const missing = (): Error =>
      invalidArgument(`the archive's link ${JSON.stringify(textOf(header.name))} points to ${JSON.stringify(textOf(header.linkName))}, which isn't there`);
    if (directory === undefined) throw missing();
    try {
      const from = statAt(directory, target);
      if (from === undefined || isDirectory(from)) throw missing();
      const here = statAt(parent, name);
      if (here !== undefined && here.ino === from.ino && here.devMinor === from.devMinor && here.devMajor === from.devMajor) return;
      this.#makeRoom(parent, name);
      linkAt(directory, target, parent, name);
    } finally {
      closeFd(directory);
    }
  }

  #attributes(directory: number, name: string, header: TarHeader): void {
    setAttributes(directory, name, this.#attributesOf(header));
  }

  #attributesOf(header: TarHeader): Attributes {
    const type = header.type === "symlink" ? S.IFLNK : header.type === "directory" ? S.IFDIR : S.IFREG;
    const { idMap, whole } = this.#options;
    const { uid, gid } = ownerOnHost(idMap, this.#owner ?? header);
    const xattrs =
      header.xattrs.size === 0
        ? header.xattrs
        : xattrsOnHost(idMap, new Map([...header.xattrs].filter(([key]) => isCarriedXattr(key) || (whole === true && isAcl(key)))));
    return { uid, gid, mode: type | header.mode, mtimeSeconds: header.mtime.seconds, mtimeNanoseconds: header.mtime.nanoseconds, xattrs };
  }

  [Symbol.dispose](): void {
    if (this.#parent !== undefined) closeFd(this.#parent.fd);
    if (this.#open !== undefined) closeFd(this.#open.fd);
  }
}

/** Nobody mounts anything deeper below what an archive may replace. */
const deepestMount = 64;

/** Whether something is mounted on `name`, or below it: its removal would empty what is mounted there first. */
function holdsMount(directory: number, name: string, depth = 0): boolean {
  const stat = statAt(directory, name);
  if (stat === undefined || stat.mountRoot) return stat !== undefined;
  if (!isDirectory(stat) || depth > deepestMount) return false;
  const fd = openAt(directory, name, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
  try {
    for (const child of readDirectory(fd)) if (holdsMount(fd, child, depth + 1)) return true;
    return false;
  } finally {
    closeFd(fd);
  }
}

/** Removes one name of a root, whatever it is. */
export function removeAt(root: Root, path: string): void {
  const cut = path.lastIndexOf("/");
  const parent = root.open(path.slice(0, Math.max(cut, 0)), O.PATH | O.DIRECTORY);
  if (parent === undefined) return;
  try {
    if (statAt(parent, path.slice(cut + 1)) !== undefined) unlinkAt(parent, path.slice(cut + 1));
  } finally {
    closeFd(parent);
  }
}
