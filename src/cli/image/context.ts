import type { Stats } from "node:fs";
import { lstat, open, readdir, readlink } from "node:fs/promises";
import { bytesOf, paddingOf, textOf } from "../../lib/tar.ts";
import { encodeHeader, endOfArchive, type TarHeaderInit } from "../../lib/tar-writer.ts";
import { CliError } from "../errors.ts";

/** Small entries are sent together in chunks of about this size, and large files read in pieces of it. */
const chunkSize = 256 * 1024;

export interface PackOptions {
  /** Absolute path of the folder. */
  root: string;
  /** True leaves the path (slashes, relative to the root) out; folders left out are still entered where `mayReenter`. */
  ignores?: (path: string) => boolean;
  /** Whether something below an ignored folder may be wanted all the same. */
  mayReenter?: boolean;
  /** Files that aren't in the folder, put in front. */
  extra?: readonly { name: string; body: Uint8Array }[];
  /** Keeps owner and group instead of 0:0. */
  keepOwner?: boolean;
  /** Put before each name: `name/`; the root itself is then an entry too. */
  prefix?: string;
}

/**
 * A folder as a tar stream, in the order of its names. Owners are root (as Docker's build contexts) unless kept; hard links within stay links;
 * sockets are left out. Memory is bounded by a chunk and the names of one path's folders. @throws CliError naming the file that can't be read
 */
export async function* packFolder(options: PackOptions): AsyncGenerator<Uint8Array, void, undefined> {
  let pending: Uint8Array[] = [];
  let size = 0;
  const take = (bytes: Uint8Array): void => {
    if (bytes.length === 0) return;
    pending.push(bytes);
    size += bytes.length;
  };
  const flush = (): Uint8Array => {
    const chunk = pending.length === 1 ? (pending[0] as Uint8Array) : Buffer.concat(pending, size);
    pending = [];
    size = 0;
    return chunk;
  };
  for (const { name, body } of options.extra ?? []) {
    take(encodeHeader({ name: bytesOf(name), type: "file", mode: 0o644, size: body.length }));
    take(body);
    take(new Uint8Array(paddingOf(body.length)));
  }
  for await (const { header, path } of walk(options)) {
    take(encodeHeader(header));
    if (header.type === "file" && (header.size ?? 0) > 0) {
      for await (const piece of fileBody(path, header.size as number)) {
        take(piece);
        if (size >= chunkSize) yield flush();
      }
      take(new Uint8Array(paddingOf(header.size as number)));
    }
    if (size >= chunkSize) yield flush();
  }
  take(endOfArchive);
  yield flush();
}

/** A generator as a stream that is read only as fast as it is sent. */
export function streamOf(chunks: AsyncGenerator<Uint8Array, void, undefined>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const { done, value } = await chunks.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      cancel: async () => {
        await chunks.return();
      },
    },
    { highWaterMark: 1 },
  );
}

interface Found {
  header: TarHeaderInit;
  path: Buffer;
}

/** Names are handled as latin1 of their bytes, so that those that aren't UTF-8 come through. */
async function* walk(options: PackOptions): AsyncGenerator<Found, void, undefined> {
  const links = new Map<string, string>();
  const root = Buffer.from(options.root);
  const prefix = options.prefix === undefined ? "" : bytesOf(options.prefix);
  const own = prefix === "" ? undefined : headerOf(prefix, await lstat(root), options);
  if (own !== undefined) yield { header: own, path: root };

  async function* folder(relative: string): AsyncGenerator<Found, void, undefined> {
    const names = (await readFolder(pathOf(relative))).sort();
    for (const name of names) {
      const inside = relative === "" ? name : `${relative}/${name}`;
      const path = pathOf(inside);
      const stats = await lstat(path);
      const ignored = options.ignores?.(textOf(inside)) ?? false;
      if (!ignored) {
        const header = headerOf(prefix + inside, stats, options);
        if (header !== undefined) yield { header: await withTarget(header, stats, path, links), path };
      }
      if (stats.isDirectory() && (!ignored || options.mayReenter === true)) yield* folder(inside);
    }
  }
  const pathOf = (relative: string): Buffer => (relative === "" ? root : Buffer.concat([root, Buffer.from("/"), Buffer.from(relative, "latin1")]));
  yield* folder("");
}

async function readFolder(path: Buffer): Promise<string[]> {
  try {
    return (await readdir(path, { encoding: "buffer" })).map((name) => name.toString("latin1"));
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Undefined for a socket, which has no place in an archive. */
function typeOf(stats: Stats): TarHeaderInit["type"] | undefined {
  if (stats.isDirectory()) return "directory";
  if (stats.isFile()) return "file";
  if (stats.isSymbolicLink()) return "symlink";
  if (stats.isFIFO()) return "fifo";
  if (stats.isCharacterDevice()) return "char";
  return stats.isBlockDevice() ? "block" : undefined;
}

function headerOf(name: string, stats: Stats, options: PackOptions): TarHeaderInit | undefined {
  const type = typeOf(stats);
  if (type === undefined) return undefined;
  return {
    name,
    type,
    mode: stats.mode & 0o7777,
    size: type === "file" ? stats.size : 0,
    uid: options.keepOwner === true ? stats.uid : 0,
    gid: options.keepOwner === true ? stats.gid : 0,
    mtime: { seconds: Math.floor(stats.mtimeMs / 1000), nanoseconds: 0 },
    // makedev(3): 12 bits of major, 20 of minor, in glibc's order.
    ...(type === "char" || type === "block" ? { major: (stats.rdev >> 8) & 0xfff, minor: (stats.rdev & 0xff) | ((stats.rdev >> 12) & 0xfff00) } : {}),
  };
}

/** Fills in where a symbolic link points, or makes the second name of a file a link to the first. */
async function withTarget(header: TarHeaderInit, stats: Stats, path: Buffer, links: Map<string, string>): Promise<TarHeaderInit> {
  if (header.type === "symlink") return { ...header, linkName: (await readlink(path, { encoding: "buffer" })).toString("latin1") };
  if (header.type !== "file" || stats.nlink < 2) return header;
  const key = `${stats.dev}:${stats.ino}`;
  const first = links.get(key);
  if (first !== undefined) return { ...header, type: "hardlink", linkName: first, size: 0 };
  links.set(key, header.name);
  return header;
}

/** Exactly `size` bytes of a file: its header is sent already. */
async function* fileBody(path: Buffer, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  let file;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    for (let left = size; left > 0;) {
      const buffer = new Uint8Array(Math.min(chunkSize, left));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) throw new CliError(`error sending the build context: ${path.toString()} became shorter while it was read`);
      left -= bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

function unreadable(path: Buffer, error: unknown): CliError {
  const { code } = error as { code?: string };
  const why = code === "EACCES" ? "permission denied" : code === "ENOENT" ? "no such file or directory" : String((error as Error).message);
  return new CliError(`can't read ${path.toString()}: ${why}`);
}
