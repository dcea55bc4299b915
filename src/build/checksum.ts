import { closeFd, isDirectory, O, openAt, readFd, readlinkAt, S, statAt, type Stat } from "../kernel/fs.ts";
import { invalidArgument } from "../lib/errors.ts";
import { pathMatcher } from "../lib/path-match.ts";
import { bytesOf, cleanParts, textOf } from "../lib/tar.ts";
import { hasWildcards } from "./glob.ts";
import { isSymlink, namesIn, type Root, xattrsOf } from "../snapshots/root.ts";

/** One thing that COPY or ADD takes. */
export interface CopySource {
  /** Under the source's root, symlinks in it not resolved. Bytes as latin1. */
  path: string;
  directory: boolean;
  /** `file:<hex>` or `dir:<hex>` over names, modes, owners (if they are kept) and contents, but no times: what decides a cache hit. */
  hash: string;
}

export interface SelectOptions {
  /** COPY or ADD, for messages. */
  command: string;
  /** Owners stay, so that they count. */
  keepOwners: boolean;
  /** The root is a build context: messages say so. */
  context: boolean;
}

/** Directories deeper than this are refused: they exist only to break those who walk them. */
const deepest = 2000;

/** What the words of a COPY or ADD name, in order, wildcards resolved. @throws EngineError invalidArgument with Docker's texts */
export function selectSources(root: Root, words: readonly string[], options: SelectOptions): CopySource[] {
  const found = words.flatMap((word) => (hasWildcards(word) ? matching(root, word, options) : [single(root, word, options)]));
  if (found.length === 0) throw invalidArgument(`${options.command} failed: no source files were specified`);
  return found;
}

/** `multi:<hex>` over several sources, or the hash of the only one. */
export function combinedHash(sources: readonly { hash: string }[]): string {
  const [only] = sources;
  if (only !== undefined && sources.length === 1) return only.hash;
  return `multi:${sha256(sources.map((source) => source.hash).join(","))}`;
}

function sha256(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}

function single(root: Root, word: string, { command, keepOwners, context }: SelectOptions): CopySource {
  const parts = cleanParts(bytesOf(word));
  if (parts === undefined) throw invalidArgument(`${command} failed: forbidden path outside the build context: ${word} ()`);
  const path = parts.join("/");
  const source = hashed(root, path, keepOwners);
  if (source !== undefined) return source;
  const hint = context ? "file not found in build context or excluded by .dockerignore: " : "";
  throw invalidArgument(`${command} failed: ${hint}stat ${textOf(path)}: file does not exist`);
}

function matching(root: Root, word: string, options: SelectOptions): CopySource[] {
  const matches = pathMatcher(word.replace(/^(?:\.?\/+)+/, ""));
  const found: CopySource[] = [];
  const walk = (directory: number, above: string, depth: number): void => {
    for (const name of namesIn(directory)) {
      const path = above === "" ? name : `${above}/${name}`;
      const source = matches(textOf(path)) ? hashed(root, path, options.keepOwners) : undefined;
      if (source !== undefined) found.push(source);
      const stat = statAt(directory, name);
      if (stat === undefined || !isDirectory(stat) || depth >= word.split("/").length) continue;
      const fd = openAt(directory, name, O.PATH | O.DIRECTORY | O.NOFOLLOW);
      try {
        walk(fd, path, depth + 1);
      } finally {
        closeFd(fd);
      }
    }
  };
  walk(root.fd, "", 1);
  return found;
}

function hashed(root: Root, path: string, keepOwners: boolean): CopySource | undefined {
  const real = root.real(path);
  if (real === undefined) return undefined;
  const cut = real.lastIndexOf("/");
  const parent = root.open(real.slice(0, Math.max(cut, 0)), O.PATH | O.DIRECTORY);
  if (parent === undefined) return undefined;
  try {
    const name = real === "" ? "." : real.slice(cut + 1);
    const stat = statAt(parent, name);
    if (stat === undefined) return undefined;
    if (!isDirectory(stat)) return { path, directory: false, hash: `file:${hashEntry(parent, name, stat, path, keepOwners)}` };
    const hashes: string[] = [];
    hashTree(parent, name, path, keepOwners, hashes, 0);
    return { path, directory: true, hash: `dir:${sha256(hashes.sort().join(","))}` };
  } finally {
    closeFd(parent);
  }
}

function hashTree(parent: number, name: string, path: string, keepOwners: boolean, hashes: string[], depth: number): void {
  if (depth > deepest) throw invalidArgument(`${textOf(path.slice(0, 200))}…: directories more than ${deepest} deep can't be copied`);
  const fd = openAt(parent, name, O.PATH | O.DIRECTORY | O.NOFOLLOW);
  try {
    for (const child of namesIn(fd)) {
      const stat = statAt(fd, child);
      if (stat === undefined) continue;
      const childPath = path === "" ? child : `${path}/${child}`;
      hashes.push(hashEntry(fd, child, stat, childPath, keepOwners));
      if (isDirectory(stat)) hashTree(fd, child, childPath, keepOwners, hashes, depth + 1);
    }
  } finally {
    closeFd(fd);
  }
}

const chunk = Buffer.allocUnsafeSlow(256 * 1024);

/** Content, mode and name, and the owner where it is kept: not the time, so that a fresh checkout hits the cache. */
function hashEntry(parent: number, name: string, stat: Stat, path: string, keepOwners: boolean): string {
  const hasher = new Bun.CryptoHasher("sha256");
  const owner = keepOwners ? [stat.uid, stat.gid] : [0, 0];
  const link = isSymlink(stat) ? readlinkAt(parent, name) : "";
  const xattrs = [...xattrsOf(parent, name)].map(([key, value]) => [key, Buffer.from(value).toString("hex")]);
  const regular = (stat.mode & S.IFMT) === S.IFREG;
  hasher.update(JSON.stringify([path, stat.mode, ...owner, regular ? stat.size : 0, link, stat.rdevMajor, stat.rdevMinor, xattrs]));
  if (!regular) return hasher.digest("hex");
  const fd = openAt(parent, name, O.RDONLY | O.NOFOLLOW | O.NONBLOCK);
  try {
    for (let length = readFd(fd, chunk); length > 0; length = readFd(fd, chunk)) hasher.update(chunk.subarray(0, length));
  } finally {
    closeFd(fd);
  }
  return hasher.digest("hex");
}
