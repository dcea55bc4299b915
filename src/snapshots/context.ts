import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { EngineError, internal, notFound, unavailable } from "../lib/errors.ts";
import { createDiskSync, type DiskSync } from "../kernel/disk-sync.ts";
import { unmount } from "../kernel/mount.ts";
import { spreadSubdirectories } from "../kernel/spread.ts";
import type { UserNamespaces } from "../kernel/user-namespace.ts";
import { isDiskFull } from "../lib/disk-full.ts";
import type { Logger } from "../lib/log.ts";
import type { Store } from "../store/store.ts";
import { createCounter } from "./counter.ts";
import { applyAttributes, plainDirectory, type DirectoryAttributes } from "./init-layer.ts";
import type { LayerLimits, SnapshotId } from "./types.ts";
import { createSnapshotWorkers, type SnapshotWorkers } from "./workers.ts";

/** Names beside the ids, none of which an id can have. */
export const WORK = ".work";
export const TRASH = ".trash";
export const EMPTY = ".empty";
/** Of layers whose tars can be made again from them: what the trees don't hold (recipe.ts), by id. */
export const TARS = ".tars";
/** Where the directories of layers are made, far from each other on the disk, before they take their place. */
export const APART = ".apart";
/** Where the whole folder is mounted, with other owners, for the moment of an overlay mount. */
export const MAPPED = ".mapped";

export interface SnapshotRow {
  id: SnapshotId;
  kind: "layer" | "active" | "init";
  state: "intent" | "ready" | "deleting";
  size: number;
  /** Of an active one: JSON of the layers it stands on. */
  layers: string;
  /** 1 where the layer's tar names its root directory. */
  lists_root: 0 | 1;
}

export type SnapshotsDeps = Pick<SnapshotContext, "root" | "store" | "log" | "userNamespaces" | "layerLimits"> & { disk?: DiskSync };

/** What the verbs of snapshots/ (one file each) work on. */
export interface SnapshotContext {
  readonly root: string;
  readonly store: Store;
  readonly log: Logger;
  readonly userNamespaces: Pick<UserNamespaces, "open">;
  readonly workers: SnapshotWorkers;
  readonly disk: DiskSync;
  /** What one layer may hold, asked for each; without it, what the disk holds. */
  readonly layerLimits?: () => LayerLimits;
  /** Removals under way. */
  readonly removals: Set<Promise<void>>;
  path(id: SnapshotId): string;
  /** Overlay's work directory of a writable snapshot. */
  work(id: SnapshotId): string;
  peek(id: SnapshotId): SnapshotRow | undefined;
  /** @throws EngineError notFound, also for one that is being deleted */
  row(id: SnapshotId): SnapshotRow;
  /** A new row in state `intent`. */
  allocate(kind: SnapshotRow["kind"]): SnapshotId;
  /** Mode and owner of `/`: of the topmost layer whose tar names its root; most tars don't. */
  rootAttributes(layers: readonly SnapshotId[]): DirectoryAttributes;
  /** Removes trees (names under the root), having moved all of them out of the way first, in a Worker: it may wait for the disk, and for other removals. */
  discard(names: readonly string[]): Promise<void>;
  /** Deleting rows at once, then the files, then no rows; settles once their paths mean nothing any more. Failures are logged: the next start tries again. */
  destroy(ids: readonly SnapshotId[]): Promise<void>;
  /** For one that never became ready; settles when nothing is left. */
  abandon(id: SnapshotId): Promise<void>;
}

export function createSnapshotContext(deps: SnapshotsDeps): SnapshotContext {
  const { root, store, log, disk = createDiskSync() } = deps;
  const { db } = store;
  // left where an engine died within that moment
  unmount(join(root, MAPPED), { lazy: true });
  for (const name of ["", WORK, TARS, TRASH, EMPTY, APART, MAPPED]) mkdirSync(join(root, name), { recursive: true, mode: 0o700 });
  applyAttributes(join(root, EMPTY), plainDirectory);
  spreadSubdirectories(join(root, APART));
  const workers = createSnapshotWorkers();
  const removals = new Set<Promise<void>>();
  const nextNumber = createCounter(store);
  const select = db.query<SnapshotRow, [string]>("SELECT id, kind, state, size, layers, lists_root FROM snapshots WHERE id = ?");
  const insert = db.query("INSERT INTO snapshots (id, kind, state, created) VALUES (?, ?, 'intent', ?)");
  const mark = db.query("UPDATE snapshots SET state = 'deleting' WHERE id = ?");
  const drop = db.query("DELETE FROM snapshots WHERE id = ?");

  const path = (id: SnapshotId): string => join(root, id);
  const work = (id: SnapshotId): string => join(root, WORK, id);
  const peek = (id: SnapshotId): SnapshotRow | undefined => select.get(id) ?? undefined;
  const row = (id: SnapshotId): SnapshotRow => {
    const found = peek(id);
    if (found === undefined || found.state === "deleting") throw notFound(`snapshot ${id} is not here`);
    return found;
  };

  // Renames and removals wait for the disk, and for each other: never on this thread.
  const setAside = (names: readonly string[]): Promise<(string | undefined)[]> =>
    workers.run({ op: "setAside", root, trash: join(root, TRASH), names, mark: nextNumber() });
  const empty = async (aside: readonly (string | undefined)[]): Promise<void> => {
    for (const name of aside) if (name !== undefined) await workers.run({ op: "remove", directory: join(root, TRASH), name });
  };
  const discard = async (names: readonly string[]): Promise<void> => {
    if (names.length > 0) await empty(await setAside(names));
  };
  const namesOf = (id: SnapshotId): string[] => [id, `${WORK}/${id}`, `${TARS}/${id}`];

  const markDeleting = (ids: readonly SnapshotId[]): void =>
    store.tx(() => {
      for (const id of ids) {
        if (peek(id)?.kind !== "active") forgetKeys(store, id);
        mark.run(id);
      }
    });

  /** One after another, each with a wait for the Worker: an image may have 500 layers. */
  const removeFiles = async (ids: readonly SnapshotId[], moved: Promise<(string | undefined)[]>): Promise<void> => {
    let at = 0;
    for (const id of ids) {
      const from = at;
      at += namesOf(id).length;
      try {
        await empty((await moved).slice(from, at));
        drop.run(id);
      } catch (error) {
        log.error("removing a snapshot's files failed; the next start tries again", { snapshot: id, error });
      }
    }
  };

  return {
    ...deps,
    disk,
    workers,
    removals,
    path,
    work,
    peek,
    row,
    discard,
    allocate: (kind) => {
      const id = nextNumber().toString(36) as SnapshotId;
      if (id.length > 6) throw internal("no short snapshot ids are left");
      insert.run(id, kind, Date.now());
      return id;
    },
    rootAttributes: (layers) => {
      const lists = layers.findLast((id) => row(id).lists_root === 1);
      return lists === undefined ? plainDirectory : attributesOf(path(lists));
    },
    destroy: (ids) => {
      markDeleting(ids);
      const moved = setAside(ids.flatMap(namesOf));
      const removal = removeFiles(ids, moved).finally(() => removals.delete(removal));
      removals.add(removal);
      return moved.then(
        () => {},
        () => {},
      );
    },
    abandon: async (id) => {
      try {
        // Files first: on a full disk the database can't even note the removal before some space is back.
        await discard(namesOf(id));
        drop.run(id);
      } catch (error) {
        log.error("removing an unfinished snapshot failed; the next start tries again", { snapshot: id, error });
      }
    },
  };
}

/** Nobody finds the layer any more. */
export function forgetKeys({ db }: Store, id: SnapshotId): void {
  db.query(
    `DELETE FROM layer_tars WHERE diff_id IN (SELECT diff_id FROM layer_keys WHERE snapshot = ?1)
     AND NOT EXISTS (SELECT 1 FROM layer_keys WHERE diff_id = layer_tars.diff_id AND snapshot <> ?1)`,
  ).run(id);
  db.query("DELETE FROM layer_keys WHERE snapshot = ?").run(id);
  db.query("DELETE FROM init_layers WHERE snapshot = ?").run(id);
}

export function attributesOf(path: string): DirectoryAttributes {
  const { mode, uid, gid } = statSync(path);
  return { mode: mode & 0o7777, uid, gid };
}

/** A failure with its sentence: a full disk is the user's to mend. */
export function diskError(what: string, error: unknown): unknown {
  if (isDiskFull(error)) return unavailable(`${what}: no space left on device`, error);
  return error instanceof EngineError ? error : internal(`${what}: ${(error as Error).message}`, error);
}
