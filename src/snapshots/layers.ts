import { mkdirSync } from "node:fs";
import { conflict, invalidArgument } from "../lib/errors.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import { createTurns } from "../lib/turns.ts";
import { chainId, chainIds } from "../oci/chain.ts";
import type { Digest } from "../oci/digest.ts";
import { diskError, type SnapshotContext } from "./context.ts";
import { applyAttributes, plainDirectory } from "./init-layer.ts";
import { LeansOnParents } from "./leans.ts";
import type { SnapshotId, Snapshots } from "./types.ts";

type UnpackOptions = Parameters<Snapshots["unpack"]>[0];

export type Layers = Pick<Snapshots, "find" | "findAll" | "unpack" | "identify" | "diffIdOf" | "tarSize">;

/** Layers and the keys they are found by: a diff id for a self-contained one, `chain:<chain id>` for one that leans on its parents. */
export function createLayers(ctx: SnapshotContext): Layers {
  const { store, workers, path } = ctx;
  const { db } = store;
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

  /** `chain` is as many hashes as there are layers below: not worked out where the layer isn't here on top of anything. */
  const findOne = (diffId: Digest, chain: () => Digest): SnapshotId | undefined => {
    const alone = byKey.get(diffId);
    if (alone !== null || selectAny.get(diffId) === null) return alone?.snapshot;
    return byKey.get(`chain:${chain()}`)?.snapshot;
  };
  const find: Snapshots["find"] = (parents, diffId) => findOne(diffId, () => chainId([...parents, diffId]));

  /** Makes the layer findable. The same one may have come first: then that one is returned, and this one goes. */
  const publish = (id: SnapshotId, key: string, diffId: Digest, found: { size: number; tarSize: number; listsRoot: boolean }): SnapshotId => {
    const snapshot = store.tx(() => {
      const present = byKey.get(key)?.snapshot;
      if (present !== undefined && present !== id) return present;
      insertKey.run(key, id, diffId);
      insertTar.run(diffId, found.tarSize);
      makeReady.run(found.size, found.listsRoot ? 1 : 0, id);
      return id;
    });
    if (snapshot !== id) ctx.destroy([id]);
    return snapshot;
  };

  const unpackInto = async (id: SnapshotId, options: UnpackOptions, parents: readonly SnapshotId[] | undefined): ReturnType<Snapshots["unpack"]> => {
    const { source, parentIds, expect, signal, onProgress } = options;
    mkdirSync(path(id));
    applyAttributes(path(id), plainDirectory);
    const job = { op: "unpack" as const, target: path(id), parents: parents?.map(path) };
    const result = await (typeof source === "string"
      ? workers.run({ ...job, source }, { signal, onProgress })
      : workers.run(job, { signal, onProgress, input: source }));
    const diffId = result.diffId as Digest;
    if (expect !== undefined && diffId !== expect) throw invalidArgument(`the layer's tar has digest ${diffId}, not ${expect} as its image says`);
    const key = result.leans ? `chain:${chainId([...parentIds, diffId])}` : diffId;
    return { snapshot: publish(id, key, diffId, result), diffId, size: result.size };
  };

  /** `parents` undefined: they aren't there yet. @throws LeansOnParents where they would be needed */
  const unpackOnce = async (options: UnpackOptions, parents: readonly SnapshotId[] | undefined): ReturnType<Snapshots["unpack"]> => {
    const { source, parentIds, expect } = options;
    using _lock = expect === undefined ? undefined : await unpacking.lock(expect);
    const present = expect === undefined ? undefined : find(parentIds, expect);
    if (present !== undefined) {
      if (typeof source !== "string") await source.cancel();
      return { snapshot: present, diffId: expect!, size: ctx.row(present).size };
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
      if (typeof source !== "string") return await unpackOnce(options, await parents);
      try {
        return await unpackOnce(options, undefined);
      } catch (error) {
        if (!(error instanceof LeansOnParents)) throw error;
      }
      // No lock is held here: two images with the same layers in another order would wait for each other.
      return await unpackOnce(options, await parents);
    },
    identify: async (id, options = {}) => {
      const { size, kind, lists_root } = ctx.row(id);
      const known = selectDiffId.get(id)?.diff_id;
      if (known !== undefined) return { snapshot: id, diffId: known, size };
      if (kind !== "layer") throw conflict(`snapshot ${id} is not committed`);
      const listsRoot = lists_root === 1;
      const result = await workers.run({ op: "pack", tree: path(id), listRoot: listsRoot, emit: false, sync: true }, options);
      const diffId = result.diffId as Digest;
      return { snapshot: publish(id, diffId, diffId, { ...result, listsRoot }), diffId, size: result.size };
    },
    diffIdOf: (id) => selectDiffId.get(id)?.diff_id,
    tarSize: (diffId) => selectTar.get(diffId)?.size,
  };
}
