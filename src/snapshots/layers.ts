import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { conflict, invalidArgument } from "../lib/errors.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import { createTurns } from "../lib/turns.ts";
import { chainId, chainIds } from "../oci/chain.ts";
import type { Digest } from "../oci/digest.ts";
import { APART, diskError, TARS, type SnapshotContext } from "./context.ts";
import { BadLayer } from "./bad-layer.ts";
import { LeansOnParents } from "./leans.ts";
import type { Job, Results } from "./protocol.ts";
import type { SnapshotId, Snapshots } from "./types.ts";
import type { JobOptions } from "./workers.ts";

type UnpackOptions = Parameters<Snapshots["unpack"]>[0];

/** What publishing needs to know of an unpacked tree. */
interface Found {
  size: number;
  tarSize: number;
  listsRoot: boolean;
}

/** Unpacked, but maybe not on the disk. */
interface Fresh {
  id: SnapshotId;
  key: string;
  diffId: Digest;
  found: Found;
}

export type Layers = Pick<Snapshots, "find" | "findAll" | "unpack" | "settle" | "recipe" | "identify" | "diffIdOf" | "tarSize">;

/** Layers and the keys they are found by: a diff id for a self-contained one, `chain:<chain id>` for one that leans on its parents. */
export function createLayers(ctx: SnapshotContext): Layers {
  const { store, workers, path, disk, root } = ctx;
  const { db } = store;
  const tar = (id: SnapshotId): string => join(root, TARS, id);
  const recipeOf = (id: SnapshotId): string | undefined => (existsSync(tar(id)) ? tar(id) : undefined);
  const unpacking = new KeyedMutex();
  const turns = createTurns();
  const byKey = db.query<{ snapshot: SnapshotId }, [string]>(
    "SELECT snapshot FROM layer_keys JOIN snapshots ON snapshots.id = layer_keys.snapshot WHERE key = ? AND state = 'ready'",
  );
  const selectDiffId = db.query<{ diff_id: Digest }, [string]>("SELECT diff_id FROM layer_keys WHERE snapshot = ? LIMIT 1");
  const selectAny = db.query("SELECT 1 FROM layer_keys WHERE diff_id = ? LIMIT 1");
  const selectTar = db.query<{ size: number }, [string]>("SELECT size FROM layer_tars WHERE diff_id = ?");
  const insertKey = db.query("INSERT INTO layer_keys (key, snapshot, diff_id) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET snapshot = excluded.snapshot");
  const insertTar = db.query("INSERT INTO layer_tars (diff_id, size) VALUES (?, ?) ON CONFLICT DO NOTHING");
  const makeReady = db.query("UPDATE snapshots SET state = 'ready', size = ?, lists_root = ? WHERE id = ?");

  /** By key. Those that were removed meanwhile go when they are looked at. */
  const fresh = new Map<string, Fresh>();

  const freshAt = (key: string): Fresh | undefined => {
    const found = fresh.get(key);
    if (found === undefined || ctx.peek(found.id)?.state === "intent") return found;
    fresh.delete(key);
    return undefined;
  };
  const at = (key: string): SnapshotId | undefined => byKey.get(key)?.snapshot ?? freshAt(key)?.id;

  /** `chain` is as many hashes as there are layers below: not worked out where the layer isn't here on top of anything. */
  const findOne = (diffId: Digest, chain: () => Digest): SnapshotId | undefined => {
    const alone = at(diffId);
    if (alone !== undefined) return alone;
    if (selectAny.get(diffId) === null && !fresh.values().some((each) => each.diffId === diffId)) return undefined;
    return at(`chain:${chain()}`);
  };
  const find: Snapshots["find"] = (parents, diffId) => findOne(diffId, () => chainId([...parents, diffId]));

  /** Makes a layer findable for good. The same one may have come first: then that one is returned, and this one goes. */
  const publish = ({ id, key, diffId, found }: Fresh): SnapshotId => {
    const snapshot = store.tx(() => {
      // one that was removed while its writer waited for the disk has no files any more
      ctx.row(id);
      const present = byKey.get(key)?.snapshot;
      if (present !== undefined && present !== id) return present;
      insertKey.run(key, id, diffId);
      insertTar.run(diffId, found.tarSize);
      makeReady.run(found.size, found.listsRoot ? 1 : 0, id);
      return id;
    });
    if (fresh.get(key)?.id === id) fresh.delete(key);
    if (snapshot !== id) replace(id, snapshot);
    return snapshot;
  };

  /** The same layer is here twice: what was found out of the one that goes is good for the other, which has the same files. */
  const replace = (id: SnapshotId, by: SnapshotId): void => {
    const recipe = recipeOf(id);
    if (recipe !== undefined && recipeOf(by) === undefined) renameSync(recipe, tar(by));
    void ctx.destroy([id]);
  };

  const settle: Snapshots["settle"] = async (ids) => {
    const unsettled = new Map([...fresh.values()].filter(({ id }) => ids.includes(id)).map((layer) => [layer.id, layer]));
    if (unsettled.size === 0) return [...ids];
    await disk.sync(root);
    const settled = store.tx(() => new Map([...unsettled].map(([id, layer]) => [id, publish(layer)])));
    return ids.map((id) => settled.get(id) ?? id);
  };

  const unpackInto = async (id: SnapshotId, options: UnpackOptions, parents: readonly SnapshotId[] | undefined): ReturnType<Snapshots["unpack"]> => {
    const { source, parentIds, expect, digest, hash, recipe = false, signal, onProgress } = options;
    const limits = ctx.layerLimits?.();
    const job = {
      op: "unpack" as const,
      target: path(id),
      apart: join(root, APART, id),
      parents: parents?.map(path),
      ...(limits !== undefined && { limits }),
      ...(digest !== undefined && { digest }),
      ...(hash !== undefined && { hash }),
      ...(recipe && { recipe: tar(id) }),
    };
    const result = await runUnpack(job, source, { signal, onProgress });
    if (recipe && !result.exact) rmSync(tar(id));
    const diffId = result.diffId as Digest;
    if (expect !== undefined && diffId !== expect) {
      const text = `the layer's tar has digest ${diffId}, not ${expect} as its image says`;
      throw result.blob === undefined ? invalidArgument(text) : new BadLayer("invalidArgument", text, result.blob as Digest);
    }
    const key = result.leans ? `chain:${chainId([...parentIds, diffId])}` : diffId;
    const layer: Fresh = { id, key, diffId, found: result };
    const blob = result.blob === undefined ? {} : { blob: result.blob as Digest };
    // The same layer may have come by another way meanwhile.
    const present = at(key);
    if (present !== undefined) {
      replace(id, present);
      return await taken(present, options, { diffId, size: result.size, ...blob });
    }
    fresh.set(key, layer);
    return await taken(id, options, { diffId, size: result.size, ...blob });
  };

  const runUnpack = (job: Job & { op: "unpack" }, source: UnpackOptions["source"], options: JobOptions): Promise<Results["unpack"]> => {
    if (typeof source === "string") return workers.run({ ...job, source }, options);
    if (source instanceof ReadableStream) return workers.run(job, { ...options, input: source });
    return workers.run({ ...job, source: source.path, size: source.size }, { ...options, more: source.more });
  };

  /** A layer that is here, as the caller wants it. */
  const taken = async (
    id: SnapshotId,
    { unsynced = false, onSnapshot }: UnpackOptions,
    rest: { diffId: Digest; size: number; blob?: Digest },
  ): ReturnType<Snapshots["unpack"]> => {
    onSnapshot?.(id);
    if (unsynced) return { snapshot: id, ...rest };
    const [snapshot = id] = await settle([id]);
    if (snapshot !== id) onSnapshot?.(snapshot);
    return { snapshot, ...rest };
  };

  /** `parents` undefined: they aren't there yet. @throws LeansOnParents where they would be needed */
  const unpackOnce = async (options: UnpackOptions, parents: readonly SnapshotId[] | undefined): ReturnType<Snapshots["unpack"]> => {
    const { source, parentIds, expect, signal } = options;
    using _lock = expect === undefined ? undefined : await unpacking.lock(expect, signal);
    const present = expect === undefined ? undefined : find(parentIds, expect);
    if (present !== undefined) {
      if (source instanceof ReadableStream) await source.cancel();
      const size = fresh.values().find(({ id }) => id === present)?.found.size ?? ctx.row(present).size;
      return await taken(present, options, { diffId: expect!, size });
    }
    // The layers of an image, 500 maybe, are all asked for at once.
    await turns();
    const id = store.tx(() => ctx.allocate("layer"));
    try {
      return await unpackInto(id, options, parents);
    } catch (error) {
      await ctx.abandon(id);
      throw error instanceof LeansOnParents ? error : diskError("unpacking a layer", error);
    }
  };

  return {
    find,
    findAll: (diffIds) => {
      let chains: Digest[] | undefined;
      return diffIds.map((diffId, i) => findOne(diffId, () => (chains ??= chainIds(diffIds))[i]!));
    },
    unpack: async (options) => {
      const { source, parents } = options;
      if (!(parents instanceof Promise)) return await unpackOnce(options, parents);
      if (source instanceof ReadableStream) return await unpackOnce(options, await parents);
      try {
        return await unpackOnce(options, undefined);
      } catch (error) {
        if (!(error instanceof LeansOnParents)) throw error;
      }
      // No lock is held here: two images with the same layers in another order would wait for each other.
      return await unpackOnce(options, await parents);
    },
    settle,
    recipe: recipeOf,
    identify: async (id, options = {}) => {
      const { size, kind, lists_root } = ctx.row(id);
      const known = selectDiffId.get(id)?.diff_id;
      if (known !== undefined) return { snapshot: id, diffId: known, size };
      if (kind !== "layer") throw conflict(`snapshot ${id} is not committed`);
      const listsRoot = lists_root === 1;
      const result = await workers.run({ op: "pack", tree: path(id), listRoot: listsRoot, emit: false, sync: true }, options);
      const diffId = result.diffId as Digest;
      return { snapshot: publish({ id, key: diffId, diffId, found: { ...result, listsRoot } }), diffId, size: result.size };
    },
    diffIdOf: (id) => selectDiffId.get(id)?.diff_id,
    tarSize: (diffId) => selectTar.get(diffId)?.size,
  };
}
