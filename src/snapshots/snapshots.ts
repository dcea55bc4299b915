import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { conflict, EngineError, internal, invalidArgument, notFound, unavailable } from "../lib/errors.ts";
import { isDiskFull } from "../lib/disk-full.ts";
import type { Logger } from "../lib/log.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import { chainId } from "../oci/chain.ts";
import type { Digest } from "../oci/digest.ts";
import type { Store } from "../store/store.ts";
import { mount, MS, unmount } from "../kernel/mount.ts";
import type { SysError } from "../kernel/ffi.ts";
import { applyAttributes, initLayerShape, makeInitLayer, plainDirectory, type DirectoryAttributes } from "./init-layer.ts";
import { LeansOnParents } from "./leans.ts";
import { MergedView } from "./merged.ts";
import { unmountError } from "./unmount-error.ts";
import type { SnapshotId, Snapshots } from "./types.ts";
import { packStream } from "./pack-stream.ts";
import { createSnapshotWorkers } from "./workers.ts";

/** Overlayfs takes 500 lowers and answers EINVAL to 501 (OVL_MAX_STACK). */
export const MOST_LAYERS = 500;

/** Names beside the ids, none of which an id can have. */
const WORK = ".work";
const TRASH = ".trash";
const EMPTY = ".empty";

interface Row {
  id: SnapshotId;
  kind: "layer" | "active" | "init";
  state: "intent" | "ready" | "deleting";
  size: number;
  layers: string;
  lists_root: number;
}

/** What is known of a list of layers; they never change, so it is worked out once. */
interface LayersFacts {
  root: DirectoryAttributes;
  init?: SnapshotId;
}

/** Overlay snapshots under `root`. Its Workers start with the first need. Dispose ends them. */
export function createSnapshots(deps: { root: string; store: Store; log: Logger }): Snapshots & Disposable {
  const { root, store, log } = deps;
  for (const name of [root, join(root, WORK), join(root, TRASH), join(root, EMPTY)]) mkdirSync(name, { recursive: true, mode: 0o700 });
  applyAttributes(join(root, EMPTY), plainDirectory);

  const workers = createSnapshotWorkers();
  const unpacking = new KeyedMutex();
  const facts = new Map<string, LayersFacts>();
  const mounted = new Map<string, { syncs: boolean }>();
  const removals = new Set<Promise<void>>();

  const { db } = store;
  const select = db.query<Row, [string]>("SELECT id, kind, state, size, layers, lists_root FROM snapshots WHERE id = ?");
  const insert = db.query("INSERT INTO snapshots (id, kind, state, created) VALUES (?, ?, 'intent', ?)");
  const makeReady = db.query("UPDATE snapshots SET state = 'ready', layers = ? WHERE id = ?");
  const byKey = db.query<{ snapshot: SnapshotId }, [string]>(
    "SELECT snapshot FROM layer_keys JOIN snapshots ON snapshots.id = layer_keys.snapshot WHERE key = ? AND state = 'ready'",
  );
  const diffIdOf = db.query<{ diff_id: Digest }, [string]>("SELECT diff_id FROM layer_keys WHERE snapshot = ? LIMIT 1");
  const nextNumber = createCounter(store);

  const path = (id: SnapshotId): string => join(root, id);
  const work = (id: SnapshotId): string => join(root, WORK, id);
  const row = (id: SnapshotId): Row => {
    const found = select.get(id);
    if (found === null || found.state === "deleting") throw notFound(`snapshot ${id} is not here`);
    return found;
  };

  const allocate = (kind: Row["kind"]): SnapshotId => {
    const id = nextNumber().toString(36) as SnapshotId;
    if (id.length > 6) throw internal("no short snapshot ids are left");
    insert.run(id, kind, Date.now());
    return id;
  };

  const factsOf = (layers: readonly SnapshotId[]): LayersFacts => {
    const key = layers.join(":");
    let known = facts.get(key);
    if (known === undefined) {
      if (facts.size >= 256) facts.delete(facts.keys().next().value!);
      known = { root: rootAttributes(layers) };
      facts.set(key, known);
    }
    return known;
  };

  /** Of the topmost layer whose tar names its root; most tars don't. */
  const rootAttributes = (layers: readonly SnapshotId[]): DirectoryAttributes => {
    for (const id of layers.toReversed()) {
      if (row(id).lists_root === 0) continue;
      const { mode, uid, gid } = statSync(path(id));
      return { mode: mode & 0o7777, uid, gid };
    }
    return plainDirectory;
  };

  /** Moves a tree out of the way, so that its name means nothing any more, and removes it in a Worker. */
  const discard = async (names: readonly string[]): Promise<void> => {
    const trashed: string[] = [];
    for (const name of names) {
      const aside = `${name.replaceAll("/", "-")}.${nextNumber()}`;
      try {
        renameSync(join(root, name), join(root, TRASH, aside));
        trashed.push(aside);
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOENT") throw internal(`removing snapshot files ${name}: ${(error as Error).message}`, error);
      }
    }
    await Promise.all(trashed.map((name) => workers.run({ op: "remove", directory: join(root, TRASH), name })));
  };

  const markDeleting = (id: SnapshotId): void =>
    store.tx(() => {
      db.query("DELETE FROM layer_keys WHERE snapshot = ?").run(id);
      db.query("DELETE FROM init_layers WHERE snapshot = ?").run(id);
      db.query("UPDATE snapshots SET state = 'deleting' WHERE id = ?").run(id);
    });

  /** Settles when nothing is left of it. */
  const destroy = (id: SnapshotId): Promise<void> => {
    markDeleting(id);
    const removal = discard([id, `${WORK}/${id}`])
      .then(() => void db.query("DELETE FROM snapshots WHERE id = ?").run(id))
      .finally(() => removals.delete(removal));
    removals.add(removal);
    return removal;
  };

  /** For one that never became ready. Files first: on a full disk the database can't even note the removal before some space is back. */
  const abandon = async (id: SnapshotId): Promise<void> => {
    try {
      await discard([id, `${WORK}/${id}`]);
      db.query("DELETE FROM snapshots WHERE id = ?").run(id);
    } catch (error) {
      log.error("removing an unfinished snapshot failed; the next start tries again", { snapshot: id, error });
    }
  };

  const destroyInBackground = (id: SnapshotId): void => {
    destroy(id).catch((error: unknown) => log.error("removing a snapshot's files failed; the next start tries again", { snapshot: id, error }));
  };

  const find = (parents: readonly Digest[], diffId: Digest): SnapshotId | undefined =>
    (byKey.get(diffId) ?? byKey.get(`chain:${chainId([...parents, diffId])}`))?.snapshot;

  /** Makes the layer findable. Another one may have come first: then that one is returned. */
  const publish = (id: SnapshotId, key: string, diffId: Digest, result: { size: number; tarSize: number }, listsRoot: boolean): SnapshotId =>
    store.tx(() => {
      const present = byKey.get(key)?.snapshot;
      if (present !== undefined && present !== id) return present;
      db.query("INSERT INTO layer_keys (key, snapshot, diff_id) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET snapshot = excluded.snapshot").run(
        key,
        id,
        diffId,
      );
      db.query("INSERT INTO layer_tars (diff_id, size) VALUES (?, ?) ON CONFLICT DO NOTHING").run(diffId, result.tarSize);
      db.query("UPDATE snapshots SET state = 'ready', size = ?, lists_root = ? WHERE id = ?").run(result.size, listsRoot ? 1 : 0, id);
      return id;
    });

  const unpackOnce = async (options: Parameters<Snapshots["unpack"]>[0], parents: readonly SnapshotId[] | undefined): ReturnType<Snapshots["unpack"]> => {
    const { source, parentIds, expect, signal, onProgress } = options;
    using _lock = expect === undefined ? undefined : await unpacking.lock(expect);
    const present = expect === undefined ? undefined : find(parentIds, expect);
    if (present !== undefined) {
      if (typeof source !== "string") await source.cancel();
      return { snapshot: present, diffId: expect!, size: row(present).size };
    }
    const id = store.tx(() => allocate("layer"));
    try {
      mkdirSync(path(id));
      applyAttributes(path(id), plainDirectory);
      const job = { op: "unpack" as const, target: path(id), parents: parents?.map(path) };
      const result = await (typeof source === "string"
        ? workers.run({ ...job, source }, { signal, onProgress })
        : workers.run(job, { signal, onProgress, input: source }));
      const diffId = result.diffId as Digest;
      if (expect !== undefined && diffId !== expect) throw invalidArgument(`the layer's tar has digest ${diffId}, not ${expect} as its image says`);
      const key = result.leans ? `chain:${chainId([...parentIds, diffId])}` : diffId;
      const snapshot = publish(id, key, diffId, result, result.listsRoot);
      if (snapshot !== id) destroyInBackground(id);
      return { snapshot, diffId, size: result.size };
    } catch (error) {
      await abandon(id);
      throw error instanceof LeansOnParents ? error : diskError("unpacking a layer", error);
    }
  };

  const unpack: Snapshots["unpack"] = async (options) => {
    const { source, parents } = options;
    if (!(parents instanceof Promise)) return await unpackOnce(options, parents);
    if (typeof source !== "string") return await unpackOnce(options, await parents);
    try {
      return await unpackOnce(options, undefined);
    } catch (error) {
      if (!(error instanceof LeansOnParents)) throw error;
    }
    // No lock is held here: two images with the same layers in another order would wait for each other.
    return await unpackOnce(options, await parents);
  };

  const identify: Snapshots["identify"] = async (id, options = {}) => {
    const { size, kind, lists_root } = row(id);
    const known = diffIdOf.get(id)?.diff_id;
    if (known !== undefined) return { snapshot: id, diffId: known, size };
    if (kind !== "layer") throw conflict(`snapshot ${id} is not committed`);
    const result = await workers.run({ op: "pack", tree: path(id), listRoot: lists_root === 1, emit: false, sync: true }, options);
    const diffId = result.diffId as Digest;
    const snapshot = publish(id, diffId, diffId, result, lists_root === 1);
    if (snapshot !== id) destroyInBackground(id);
    return { snapshot, diffId, size: result.size };
  };

  const prepareActive: Snapshots["prepareActive"] = async (id, layers) => {
    const attributes = factsOf(layers).root;
    try {
      mkdirSync(path(id));
      mkdirSync(work(id), { mode: 0o700 });
      applyAttributes(path(id), attributes);
    } catch (error) {
      throw diskError("making a writable snapshot", error);
    }
    makeReady.run(JSON.stringify(layers), id);
  };

  const initLayer: Snapshots["initLayer"] = async (layers) => {
    const known = factsOf(layers);
    if (known.init !== undefined) return known.init;
    using view = new MergedView(layers.map(path));
    const shape = initLayerShape(known.root, view);
    const key = JSON.stringify(shape);
    const present = db
      .query<{ snapshot: SnapshotId }, [string]>("SELECT snapshot FROM init_layers JOIN snapshots ON snapshots.id = snapshot WHERE key = ? AND state = 'ready'")
      .get(key);
    if (present !== null) return (known.init = present.snapshot);
    const id = store.tx(() => allocate("init"));
    try {
      mkdirSync(path(id));
      makeInitLayer(path(id), shape);
    } catch (error) {
      await abandon(id);
      throw diskError("making a container's init layer", error);
    }
    store.tx(() => {
      makeReady.run("[]", id);
      db.query("INSERT INTO init_layers (key, snapshot) VALUES (?, ?)").run(key, id);
    });
    return (known.init = id);
  };

  const mountSnapshot: Snapshots["mount"] = ({ target, layers, upper, volatile = false }) => {
    // Overlayfs wants a lower, and two of them where there is no upper.
    const lowers: string[] = layers.toReversed();
    while (lowers.length < (upper === undefined ? 2 : 1)) lowers.push(EMPTY);
    if (lowers.length > MOST_LAYERS) throw invalidArgument(`${lowers.length} layers are more than overlayfs can mount (${MOST_LAYERS})`);
    const options = [`lowerdir=${lowers.join(":")}`];
    if (upper !== undefined) options.push(`upperdir=${upper}`, `workdir=${WORK}/${upper}`);
    options.push("redirect_dir=off", "metacopy=off", "index=off");
    if (volatile && upper !== undefined) options.push("volatile");
    // Names relative to here are what lets 500 layers fit into the one page of options. Nothing else in the engine uses relative paths.
    if (process.cwd() !== root) process.chdir(root);
    const attempt = (): void => mount("overlay", target, "overlay", upper === undefined ? MS.RDONLY : 0, options.join(","));
    try {
      try {
        attempt();
      } catch (error) {
        // A volatile mount that was never unmounted leaves this mark, and the kernel refuses the upper as long as it stands.
        const mark = upper === undefined ? undefined : join(work(upper), "work", "incompat");
        if (mark === undefined || (error as SysError).code !== "EINVAL" || statSync(mark, { throwIfNoEntry: false }) === undefined) throw error;
        rmSync(mark, { recursive: true });
        attempt();
      }
    } catch (error) {
      throw internal(`mounting ${layers.length} layers on ${target}: ${(error as Error).message}`, error);
    }
    mounted.set(target, { syncs: upper !== undefined && !volatile });
  };

  const unmountSnapshot: Snapshots["unmount"] = async (target, { lazy = false } = {}) => {
    const { syncs } = mounted.get(target) ?? { syncs: true };
    try {
      // Unmounting a writable overlay syncs its upper file system: 1.5 to 50 ms (reference: runtime.md, section 6).
      if (syncs && !lazy) await workers.run({ op: "unmount", target, lazy });
      else unmount(target, { lazy });
    } catch (error) {
      if (error instanceof EngineError) throw error;
      throw unmountError(target, error);
    }
    mounted.delete(target);
  };

  /** Whether the tar of a tree must name its root: when it differs from what lies below. */
  const changesRoot = (id: SnapshotId, layers: string): boolean => {
    const below = rootAttributes(JSON.parse(layers) as SnapshotId[]);
    const { mode, uid, gid } = statSync(path(id));
    return (mode & 0o7777) !== below.mode || uid !== below.uid || gid !== below.gid;
  };

  const commit: Snapshots["commit"] = async (id) => {
    const { kind, layers } = row(id);
    if (kind !== "active") throw conflict(`snapshot ${id} is not writable`);
    const listsRoot = changesRoot(id, layers);
    db.query("UPDATE snapshots SET kind = 'layer', layers = '[]', lists_root = ? WHERE id = ?").run(listsRoot ? 1 : 0, id);
    discard([`${WORK}/${id}`]).catch((error: unknown) => log.error("removing an overlay's work directory failed", { snapshot: id, error }));
  };

  const diffTar: Snapshots["diffTar"] = (id, { signal } = {}) => {
    const { kind, layers, lists_root } = row(id);
    const listRoot = kind === "active" ? changesRoot(id, layers) : lists_root === 1;
    return packStream((options) => workers.run({ op: "pack", tree: path(id), listRoot, emit: true, sync: false }, options), signal);
  };

  const restore: Snapshots["restore"] = async () => {
    const rows = db.query<Pick<Row, "id" | "kind" | "state">, []>("SELECT id, kind, state FROM snapshots").all();
    const keep = new Map(rows.filter(({ state }) => state === "ready").map(({ id, kind }) => [id as string, kind]));
    const stray = [
      ...readdirSync(root).filter((name) => !name.startsWith(".") && !keep.has(name)),
      ...readdirSync(join(root, WORK))
        .filter((name) => keep.get(name) !== "active")
        .map((name) => `${WORK}/${name}`),
    ];
    const trash = readdirSync(join(root, TRASH));
    const removal = Promise.all([discard(stray), ...trash.map((name) => workers.run({ op: "remove", directory: join(root, TRASH), name }))])
      .then(() => {
        store.tx(() => {
          for (const { id, state } of rows) {
            if (state === "ready") continue;
            markDeleting(id);
            db.query("DELETE FROM snapshots WHERE id = ?").run(id);
          }
        });
      })
      .catch((error: unknown) => log.error("removing leftovers of snapshots failed; the next start tries again", { error }))
      .finally(() => removals.delete(removal));
    removals.add(removal);
    if (stray.length + trash.length > 0) log.info("removing leftovers of snapshots", { count: stray.length + trash.length });
  };

  return {
    root,
    path,
    find,
    unpack,
    identify,
    prepareActive,
    initLayer,
    mount: mountSnapshot,
    unmount: unmountSnapshot,
    commit,
    diffTar,
    restore,
    createActive: () => allocate("active"),
    diffIdOf: (id) => diffIdOf.get(id)?.diff_id,
    tarSize: (diffId) => db.query<{ size: number }, [string]>("SELECT size FROM layer_tars WHERE diff_id = ?").get(diffId)?.size,
    changes: async (id, layers) => await workers.run({ op: "changes", tree: path(row(id).id), parents: layers.map(path) }),
    size: (id) => select.get(id)?.size ?? 0,
    usage: async (id) => {
      const { kind, size } = row(id);
      return kind === "layer" && diffIdOf.get(id) !== null ? size : await workers.run({ op: "size", tree: path(id) });
    },
    remove: async (id) => {
      const found = select.get(id);
      if (found !== null && found.state !== "deleting") destroyInBackground(id);
    },
    layersInUse: () => {
      const used = new Set<SnapshotId>();
      for (const { layers } of db.query<{ layers: string }, []>("SELECT DISTINCT layers FROM snapshots WHERE kind = 'active' AND state = 'ready'").all()) {
        for (const id of JSON.parse(layers) as SnapshotId[]) used.add(id);
      }
      return used;
    },
    layers: () => db.query<{ id: SnapshotId; size: number }, []>("SELECT id, size FROM snapshots WHERE kind = 'layer' AND state = 'ready'").all(),
    settled: async () => {
      await Promise.allSettled(removals);
    },
    [Symbol.dispose]: () => workers[Symbol.dispose](),
  };
}

/** Numbers that are never used twice, over restarts too: others may remember an id longer than its row lives. Reserved in blocks. */
function createCounter({ db }: Store): () => number {
  const key = "snapshot-ids";
  const block = 100;
  const noted = Number(db.query<{ value: string }, [string]>("SELECT value FROM meta WHERE key = ?").get(key)?.value ?? 0);
  // A reservation made inside a transaction that was rolled back isn't noted: what stands in rows counts as well.
  const highest = db.query<{ id: string }, []>("SELECT id FROM snapshots ORDER BY length(id) DESC, id DESC LIMIT 1").get();
  let last = Math.max(noted, highest === null ? 0 : parseInt(highest.id, 36));
  let reserved = last;
  return () => {
    if (++last > reserved) {
      reserved = last + block - 1;
      db.query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value").run(key, String(reserved));
    }
    return last;
  };
}

function diskError(what: string, error: unknown): unknown {
  if (isDiskFull(error)) return unavailable(`${what}: no space left on device`, error);
  return error instanceof EngineError ? error : internal(`${what}: ${(error as Error).message}`, error);
}
