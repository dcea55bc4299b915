import { chmod, chown, link, lstat, mkdir, open, realpath, rm, stat, symlink, utimes } from "node:fs/promises";
import { basename, dirname, join, posix, resolve } from "node:path";
import type { Client } from "../../client/client.ts";
import { isNotFound } from "../../client/errors.ts";
import { bytesOf, cleanParts, paddingOf, type TarHeader } from "../../lib/tar.ts";
import { readTar, type TarEntry } from "../../lib/tar-reader.ts";
import { encodeHeader, endOfArchive } from "../../lib/tar-writer.ts";
import { CliError } from "../errors.ts";
import { packFolder, streamOf } from "../image/context.ts";
import type { Streams } from "../io.ts";

export interface CopyOptions {
  /** Keeps owners (-a). */
  keepOwner: boolean;
  followLink: boolean;
}

interface InContainer {
  container: string;
  path: string;
}

/** What `X-Docker-Container-Path-Stat` says; `mode` has Go's bits. */
interface PathStat {
  name: string;
  size: number;
  mode: number;
  linkTarget: string;
}

const goModeDir = 2 ** 31;
const goModeSymlink = 2 ** 27;
const isDirectory = ({ mode }: PathStat): boolean => Math.floor(mode / goModeDir) % 2 === 1;
const isSymlink = ({ mode }: PathStat): boolean => Math.floor(mode / goModeSymlink) % 2 === 1;

/** `SRC/.` means the folder's contents, not the folder. */
const meansContents = (path: string): boolean => path === "." || path.endsWith("/.");
const mustBeFolder = (path: string): boolean => path.endsWith("/") || meansContents(path);

/** Copies a path of a container to a local one, as cp -r would; `-` writes the tar to standard output. @throws CliError */
export async function copyFromContainer(client: Client, io: Streams, source: InContainer, destination: string, options: CopyOptions): Promise<void> {
  let path = absolute(source.path);
  if (options.followLink) {
    const found = await statInContainer(client, { ...source, path });
    if (found !== undefined && isSymlink(found)) path = posix.resolve(posix.dirname(path), found.linkTarget);
  }
  const answer = await client.containers.getArchive(source.container, path);
  if (answer.body === null) throw new CliError(`the engine sent no archive of ${source.container}:${source.path}`);
  if (destination === "-") {
    for await (const chunk of answer.body) await io.out.write(chunk);
    return;
  }
  const named = resolve(destination);
  const existing = await stat(named).catch(() => undefined);
  // A link to a file that is there stays, and the file gets what is copied.
  const target = existing === undefined || existing.isDirectory() ? named : await realpath(named);
  const from = decodeStat(answer.headers.get("x-docker-container-path-stat"));
  if (existing === undefined && mustBeFolder(destination) && from !== undefined && !isDirectory(from)) throw new CliError(`no such directory: ${destination}`);
  if (existing?.isDirectory() === false && mustBeFolder(destination)) throw new CliError(`not a directory: ${destination}`);
  if (existing !== undefined && !existing.isDirectory() && from !== undefined && isDirectory(from)) throw new CliError("cannot copy directory onto a file");
  // Into a folder that is there under its own name, else under the name given.
  const into = existing?.isDirectory() === true ? target : dirname(target);
  const rename = existing?.isDirectory() === true ? (meansContents(source.path) ? "" : undefined) : basename(target);
  if ((await stat(into).catch(() => undefined))?.isDirectory() !== true)
    throw new CliError(`invalid output path: directory ${JSON.stringify(into)} does not exist`);
  await extract(readTar(answer.body as unknown as AsyncIterable<Uint8Array>), await realpath(into), rename, options);
}

/** Copies a local path (or a tar from standard input, `-`) into a container. @throws CliError */
export async function copyToContainer(client: Client, io: Streams, source: string, destination: InContainer, options: CopyOptions): Promise<void> {
  const target = absolute(destination.path);
  let found = await statInContainer(client, { ...destination, path: target });
  let folder = target;
  if (found !== undefined && isSymlink(found)) {
    folder = posix.resolve(posix.dirname(target), found.linkTarget);
    found = await statInContainer(client, { ...destination, path: folder });
  }
  const intoFolder = found !== undefined && isDirectory(found);
  const query = { copyUIDGID: options.keepOwner, noOverwriteDirNonDir: true };
  if (source === "-") {
    if (!intoFolder) throw new CliError(`destination "${destination.container}:${destination.path}" must be a directory`);
    await client.containers.putArchive(destination.container, folder, io.stdin.stream(), query);
    return;
  }
  const local = options.followLink ? await realpath(source).catch(() => source) : source;
  const info = await lstat(resolve(local)).catch(() => undefined);
  if (info === undefined) throw new CliError(`lstat ${resolve(local)}: no such file or directory`);
  if (found === undefined && mustBeFolder(destination.path) && !info.isDirectory())
    throw new CliError(`no such directory: ${destination.container}:${destination.path}`);
  if (found !== undefined && !intoFolder && info.isDirectory()) throw new CliError("cannot copy directory onto a file");
  const name = intoFolder ? (meansContents(source) ? "" : basename(resolve(local))) : posix.basename(folder);
  const parent = intoFolder ? folder : posix.dirname(folder);
  await client.containers.putArchive(destination.container, parent, streamOf(packPath(resolve(local), name)), query);
}

/** A path as a tar whose root entry is `name` (empty: only a folder's contents). Owners are those here: what becomes of them the engine decides. */
async function* packPath(path: string, name: string): AsyncGenerator<Uint8Array, void, undefined> {
  const info = await lstat(path);
  if (info.isDirectory()) {
    yield* packFolder({ root: path, keepOwner: true, ...(name === "" ? {} : { prefix: `${name}/` }) });
    return;
  }
  const owner = { uid: info.uid, gid: info.gid };
  const common = { name: bytesOf(name), mode: info.mode & 0o7777, mtime: { seconds: Math.floor(info.mtimeMs / 1000), nanoseconds: 0 }, ...owner };
  if (info.isSymbolicLink()) {
    const { readlink } = await import("node:fs/promises");
    yield encodeHeader({ ...common, type: "symlink", linkName: bytesOf(await readlink(path)) });
  } else if (info.isFile()) {
    yield encodeHeader({ ...common, type: "file", size: info.size });
    const file = await open(path, "r");
    try {
      for (let left = info.size; left > 0;) {
        const buffer = new Uint8Array(Math.min(256 * 1024, left));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
        if (bytesRead === 0) throw new CliError(`${path} became shorter while it was read`);
        left -= bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
    yield new Uint8Array(paddingOf(info.size));
  } else throw new CliError(`can't copy ${path}: it is neither a file, a folder nor a symbolic link`);
  yield endOfArchive;
}

/**
 * Unpacks an archive from a container below `root`: the container made it, so no entry may leave `root`, also not through links that came before it.
 * `rename` replaces the first component of each name (empty drops it, undefined keeps it), or goes before names that have none of the folder's.
 */
async function extract(entries: AsyncIterable<TarEntry>, root: string, rename: string | undefined, options: CopyOptions): Promise<void> {
  const folders: { path: string; header: TarHeader }[] = [];
  for await (const { header, body } of entries) {
    const path = await place(root, header.name, rename);
    if (path === undefined) continue;
    await writeEntry({ root, path, header, body, rename });
    if (header.type === "directory") folders.push({ path, header });
    else await setAttributes(path, header, options);
  }
  // Inner folders first: setting a folder's time must come after everything in it.
  for (const { path, header } of folders.toReversed()) await setAttributes(path, header, options);
}

/** Where an entry goes; undefined for the root itself. @throws CliError for a name that would leave it */
async function place(root: string, name: string, rename: string | undefined): Promise<string | undefined> {
  const parts = cleanParts(name)?.map((part) => Buffer.from(part, "latin1").toString());
  if (parts === undefined) throw new CliError(`the archive from the container has an entry outside of it: ${JSON.stringify(name)}`);
  // The contents of a folder (`SRC/.`, or the root) come without its name.
  const nameless = /^(\.|\/|\.\/.*|\/.*)$/s.test(name);
  if (rename !== undefined && rename !== "" && nameless) parts.unshift(rename);
  else if (rename !== undefined && !nameless && parts.length > 0) parts.splice(0, 1, ...(rename === "" ? [] : [rename]));
  if (parts.length === 0) return undefined;
  let folder = root;
  for (const part of parts.slice(0, -1)) {
    folder = join(folder, part);
    const found = await lstat(folder).catch(() => undefined);
    if (found === undefined) await mkdir(folder);
    else if (!found.isDirectory()) throw new CliError(`the archive from the container goes through ${folder}, which is no folder`);
  }
  return join(folder, parts.at(-1) as string);
}

async function writeEntry(entry: {
  root: string;
  path: string;
  header: TarHeader;
  body: AsyncIterable<Uint8Array>;
  rename: string | undefined;
}): Promise<void> {
  const { root, path, header, body, rename } = entry;
  const existing = await lstat(path).catch(() => undefined);
  if (header.type === "directory") {
    if (existing?.isDirectory() === true) return;
    if (existing !== undefined) throw new CliError(`cannot overwrite non-directory ${path} with a directory`);
    await mkdir(path);
    return;
  }
  if (existing?.isDirectory() === true) throw new CliError(`cannot overwrite directory ${path} with a file`);
  if (existing !== undefined) await rm(path);
  if (header.type === "file") {
    const file = await open(path, "wx", 0o600);
    try {
      for await (const chunk of body) for (let rest = chunk; rest.length > 0;) rest = rest.subarray((await file.write(rest)).bytesWritten);
    } finally {
      await file.close();
    }
  } else if (header.type === "symlink") await symlink(Buffer.from(header.linkName, "latin1").toString(), path);
  else if (header.type === "hardlink") {
    const target = await place(root, header.linkName, rename);
    const found = target === undefined ? undefined : await lstat(target).catch(() => undefined);
    if (target === undefined || found?.isFile() !== true) throw new CliError(`the archive from the container links ${path} to a file that isn't in it`);
    await link(target, path);
  } else throw new CliError(`can't copy ${path}: devices and pipes are not copied out of containers`);
}

async function setAttributes(path: string, header: TarHeader, { keepOwner }: CopyOptions): Promise<void> {
  if (header.type === "symlink" || header.type === "hardlink") return;
  if (keepOwner) await chown(path, header.uid, header.gid);
  // A file from a container must not become setuid for whoever copies it.
  await chmod(path, keepOwner ? header.mode : header.mode & 0o1777);
  await utimes(path, header.mtime.seconds, header.mtime.seconds);
}

async function statInContainer(client: Client, { container, path }: InContainer): Promise<PathStat | undefined> {
  try {
    return decodeStat((await client.containers.statArchive(container, path)).headers.get("x-docker-container-path-stat"));
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function decodeStat(header: string | null): PathStat | undefined {
  return header === null ? undefined : (JSON.parse(Buffer.from(header, "base64").toString()) as PathStat);
}

/** Paths in a container are relative to its root. */
function absolute(path: string): string {
  const clean = posix.resolve("/", path);
  if (clean === "/") return clean;
  // Both endings ask for what a link leads to.
  return meansContents(path) ? `${clean}/.` : path.endsWith("/") ? `${clean}/` : clean;
}
