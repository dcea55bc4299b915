import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import type { Paths } from "../daemon/paths.ts";
import type { Events } from "../events/types.ts";
import type { ImageRecord, Images } from "../images/types.ts";
import { cancelled } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { IdMap } from "../oci/id-map.ts";
import type { Sandboxes } from "../sandbox/types.ts";
import type { SnapshotId, Snapshots } from "../snapshots/types.ts";
import type { Store } from "../store/store.ts";
import type { BuildFiles } from "./files.ts";
import type { Output } from "./output.ts";
import type { BuildOptions } from "./types.ts";

/** What the builder works with, given by daemon/. */
export interface BuildServices {
  readonly store: Store;
  readonly images: Images;
  readonly snapshots: Snapshots;
  readonly sandboxes: Sandboxes;
  readonly events: Events;
  readonly paths: Paths;
  /** Of the user namespaces that steps run in; undefined: the host's ids. */
  readonly idMap?: IdMap;
  readonly log: Logger;
}

/** One build under way. */
export interface BuildSession {
  readonly services: BuildServices;
  readonly files: BuildFiles;
  readonly options: BuildOptions;
  readonly output: Output;
  /** The build's own directory: context, mounts, downloads. Gone at its end. */
  readonly directory: string;
  /** The unpacked context; undefined where the build has none (a Dockerfile by URL). */
  readonly context?: string;
  /** Keeps images that the build stands on. */
  readonly leases: DisposableStack;
}

/** 64 hex digits, for the container of a step. */
export function newContainerId(): string {
  return randomBytes(32).toString("hex");
}

export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

/** @throws EngineError cancelled */
export function checkCancelled(session: BuildSession): void {
  if (!session.options.signal.aborted) return;
  session.output.text("Build cancelled\n");
  throw cancelled("Build cancelled");
}

/** A new empty directory of the build. */
export async function scratchDirectory(session: BuildSession, name: string): Promise<string> {
  const path = `${session.directory}/${name}-${randomBytes(4).toString("hex")}`;
  await mkdir(path, { mode: 0o700 });
  return path;
}

export async function scratchFile(session: BuildSession, name: string, content: string, mode: number): Promise<string> {
  const path = `${await scratchDirectory(session, "file")}/${name}`;
  await writeFile(path, content, { mode });
  return path;
}

/** An image's file system (undefined: an empty one), readable at a path for as long as `work` takes. */
export async function withImageRoot<T>(session: BuildSession, image: ImageRecord | undefined, work: (root: string) => Promise<T>): Promise<T> {
  const target = await scratchDirectory(session, "from");
  const { snapshots } = session.services;
  await snapshots.mount({ target, layers: image?.layers ?? [] });
  try {
    return await work(target);
  } finally {
    await snapshots.unmount(target, { lazy: true });
  }
}

/**
 * A new layer on top of `layers`, filled by `work`; nothing stays where that fails. Until `keepSnapshot` it belongs to the build: table
 * build_snapshots tells the next start of the engine so.
 */
export async function withSnapshot(session: BuildSession, layers: readonly SnapshotId[], work: (snapshot: SnapshotId) => Promise<void>): Promise<SnapshotId> {
  const { snapshots, store } = session.services;
  const snapshot = store.tx(() => {
    const id = snapshots.createActive();
    store.db.query("INSERT INTO build_snapshots (snapshot) VALUES (?)").run(id);
    return id;
  });
  try {
    await snapshots.prepareActive(snapshot, layers);
    await work(snapshot);
    await snapshots.commit(snapshot);
    return snapshot;
  } catch (error) {
    await dropSnapshot(session.services, snapshot);
    throw error;
  }
}

/** An image stands on it now. */
export function keepSnapshot({ store }: BuildServices, snapshot: SnapshotId): void {
  store.db.query("DELETE FROM build_snapshots WHERE snapshot = ?").run(snapshot);
}

export async function dropSnapshot(services: BuildServices, snapshot: SnapshotId): Promise<void> {
  await services.snapshots.remove(snapshot);
  keepSnapshot(services, snapshot);
}

/** Its root as a path to write to. */
export async function withWritableRoot(
  session: BuildSession,
  layers: readonly SnapshotId[],
  snapshot: SnapshotId,
  work: (root: string) => Promise<void>,
): Promise<void> {
  const { snapshots } = session.services;
  const target = await scratchDirectory(session, "root");
  // No sync at unmount: what was written is synced before an image names the layer.
  await snapshots.mount({ target, layers, upper: snapshot, volatile: true });
  try {
    await work(target);
  } finally {
    await snapshots.unmount(target);
  }
}
