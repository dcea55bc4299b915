import { utimes, writeFile } from "node:fs/promises";
import type { ImageRecord } from "../images/types.ts";
import { EngineError, invalidArgument } from "../lib/errors.ts";
import { bytesOf } from "../lib/tar.ts";
import { resolveUser } from "../runtime/user.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import { combinedHash, type CopySource } from "./checksum.ts";
import { download, isUrl } from "./download.ts";
import type { CopyOperation } from "./evaluate.ts";
import type { Owner } from "../snapshots/root.ts";
import { scratchDirectory, withSnapshot, withWritableRoot, type BuildSession } from "./session.ts";

/** Files to be copied, all under one root. */
interface Group {
  root: string;
  sources: CopySource[];
  /** Archives fetched from a URL stay archives. */
  unpack: boolean;
}

export interface PreparedCopy {
  /** `file:…`, `dir:…` or `multi:…` over everything. */
  hash: string;
  /** Makes the layer. */
  run(layers: readonly SnapshotId[]): Promise<SnapshotId>;
}

/**
 * Finds, fetches and hashes the sources of a COPY or ADD. `from` is the root of --from, which stays readable until `run` is done.
 * @throws EngineError with Docker's texts
 */
export async function prepareCopy(session: BuildSession, operation: CopyOperation, from: string | undefined): Promise<PreparedCopy> {
  const groups: Group[] = [];
  for (const source of operation.sources) {
    if (isUrl(source)) groups.push(await fetched(session, operation, source));
    else groups.push(await local(session, operation, source, from));
  }
  const inline = await documents(session, operation);
  if (inline !== undefined) groups.push(inline);
  const sources = groups.flatMap((group) => group.sources);
  const command = operation.add ? "ADD" : "COPY";
  if (sources.length === 0) throw invalidArgument(`${command} failed: no source files were specified`);
  if (sources.length > 1 && !operation.destination.endsWith("/")) {
    throw invalidArgument(`When using ${command} with more than one source file, the destination must be a directory and end with a /`);
  }
  return { hash: combinedHash(sources), run: (layers) => copyAll(session, operation, groups, layers) };
}

async function local(session: BuildSession, operation: CopyOperation, source: string, from: string | undefined): Promise<Group> {
  const root = from ?? session.context;
  const command = operation.add ? "ADD" : "COPY";
  if (root === undefined) throw invalidArgument(`${command} failed: missing build context`);
  const options = { command, keepOwners: operation.keepOwners, context: from === undefined };
  return { root, sources: await session.files.run({ op: "select", root, words: [source], options }), unpack: operation.add };
}

async function fetched(session: BuildSession, operation: CopyOperation, url: string): Promise<Group> {
  if (!operation.add) throw invalidArgument("COPY failed: source can't be a URL for COPY");
  const { root, name } = await download(session, url, operation);
  const options = { command: "ADD", keepOwners: false, context: false };
  return { root, sources: await session.files.run({ op: "select", root, words: [escapeGlob(name)], options }), unpack: false };
}

async function documents(session: BuildSession, operation: CopyOperation): Promise<Group | undefined> {
  if (operation.inline.length === 0) return undefined;
  const root = await scratchDirectory(session, "inline");
  for (const { name, content } of operation.inline) {
    if (name.includes("/") || name === "." || name === "..") throw invalidArgument(`the name of a here-document can't be ${JSON.stringify(name)}`);
    await writeFile(`${root}/${name}`, content, { mode: 0o644 });
    await utimes(`${root}/${name}`, 0, 0);
  }
  const options = { command: operation.add ? "ADD" : "COPY", keepOwners: false, context: false };
  const words = operation.inline.map(({ name }) => escapeGlob(name));
  return { root, sources: await session.files.run({ op: "select", root, words, options }), unpack: false };
}

function escapeGlob(name: string): string {
  return name.replace(/[*?[\\]/g, "\\$&");
}

function copyAll(session: BuildSession, operation: CopyOperation, groups: readonly Group[], layers: readonly SnapshotId[]): Promise<SnapshotId> {
  return withSnapshot(session, layers, (upper) =>
    withWritableRoot(session, layers, upper, async (target) => {
      const owner = operation.keepOwners ? undefined : ownerOf(target, operation.chown);
      for (const { root, sources, unpack } of groups) {
        const options = { destination: bytesOf(operation.destination), owner, mode: operation.chmod, unpack };
        await session.files.run({ op: "copy", root, sources, target, options });
      }
    }),
  );
}

/** `user[:group]` of --chown by the image's own passwd and group files. A number alone is user and group, as in Docker. */
function ownerOf(root: string, chown: string | undefined): Owner {
  if (chown === undefined) return { uid: 0, gid: 0 };
  try {
    return resolveUser(root, /^\d+$/.test(chown) ? `${chown}:${chown}` : chown);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw invalidArgument(`unable to convert uid/gid chown string to host mapping: ${error.message}`, error);
  }
}

/** The layer of a WORKDIR that made its directory. */
export function makeWorkdir(session: BuildSession, parent: ImageRecord | undefined, path: string): Promise<SnapshotId> {
  const layers = parent?.layers ?? [];
  return withSnapshot(session, layers, (upper) =>
    withWritableRoot(session, layers, upper, async (target) => {
      await session.files.run({ op: "mkdir", target, path: bytesOf(path) });
    }),
  );
}
