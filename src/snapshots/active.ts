import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { conflict, internal } from "../lib/errors.ts";
import { attributesOf, diskError, TARS, WORK, type SnapshotContext } from "./context.ts";
import { applyAttributes, initLayerShape, makeInitLayer, type DirectoryAttributes } from "./init-layer.ts";
import { MergedView } from "./merged.ts";
import { packStream } from "./pack-stream.ts";
import type { SnapshotId, Snapshots } from "./types.ts";

/** What is known of a list of layers; they never change, so it is worked out once. */
interface LayersFacts {
  root: DirectoryAttributes;
  init?: SnapshotId;
}

const MOST_FACTS = 256;

export type Actives = Pick<Snapshots, "createActive" | "prepareActive" | "initLayer" | "commit" | "diffTar">;

/** Writable snapshots from their row to a layer, and the init layer under them. */
export function createActives(ctx: SnapshotContext): Actives {
  const { store, path } = ctx;
  const { db } = store;
  const facts = new Map<string, LayersFacts>();
  const makeReady = db.query("UPDATE snapshots SET state = 'ready', layers = ? WHERE id = ?");
  const selectInit = db.query<{ snapshot: SnapshotId }, [string]>(
    "SELECT snapshot FROM init_layers JOIN snapshots ON snapshots.id = snapshot WHERE key = ? AND state = 'ready'",
  );

  const factsOf = (layers: readonly SnapshotId[]): LayersFacts => {
    const key = layers.join(":");
    let known = facts.get(key);
    if (known === undefined) {
      if (facts.size >= MOST_FACTS) facts.delete(facts.keys().next().value!);
      known = { root: ctx.rootAttributes(layers) };
      facts.set(key, known);
    }
    return known;
  };

  const makeInit = async (shape: ReturnType<typeof initLayerShape>, key: string): Promise<SnapshotId> => {
    const id = store.tx(() => ctx.allocate("init"));
    try {
      mkdirSync(path(id));
      makeInitLayer(path(id), shape);
    } catch (error) {
      await ctx.abandon(id);
      throw diskError("making a container's init layer", error);
    }
    store.tx(() => {
      makeReady.run("[]", id);
      db.query("INSERT INTO init_layers (key, snapshot) VALUES (?, ?)").run(key, id);
    });
    return id;
  };

  /** Whether the tar of a tree must name its root: when it differs from what lies below. */
  const changesRoot = (id: SnapshotId, layers: string): boolean => {
    const below = ctx.rootAttributes(JSON.parse(layers) as SnapshotId[]);
    const own = attributesOf(path(id));
    return own.mode !== below.mode || own.uid !== below.uid || own.gid !== below.gid;
  };

  return {
    createActive: () => ctx.allocate("active"),
    prepareActive: async (id, layers) => {
      const { root } = factsOf(layers);
      try {
        // Synchronous: three calls on the way to a container's start, quicker than one hop to the pool.
        mkdirSync(path(id));
        mkdirSync(ctx.work(id), { mode: 0o700 });
        applyAttributes(path(id), root);
      } catch (error) {
        throw diskError("making a writable snapshot", error);
      }
      makeReady.run(JSON.stringify(layers), id);
    },
    initLayer: async (layers) => {
      const known = factsOf(layers);
      if (known.init !== undefined) return known.init;
      using view = new MergedView(layers.map(path));
      const shape = initLayerShape(known.root, view);
      const key = JSON.stringify(shape);
      known.init = selectInit.get(key)?.snapshot ?? (await makeInit(shape, key));
      return known.init;
    },
    commit: async (id) => {
      const { kind, layers } = ctx.row(id);
      if (kind !== "active") throw conflict(`snapshot ${id} is not writable`);
      db.query("UPDATE snapshots SET kind = 'layer', layers = '[]', lists_root = ? WHERE id = ?").run(changesRoot(id, layers) ? 1 : 0, id);
      ctx.discard([`${WORK}/${id}`]).catch((error: unknown) => ctx.log.error("removing an overlay's work directory failed", { snapshot: id, error }));
    },
    diffTar: (id, { expect, signal } = {}) => {
      const { kind, layers, lists_root } = ctx.row(id);
      const listRoot = kind === "active" ? changesRoot(id, layers) : lists_root === 1;
      const job = { op: "pack" as const, tree: path(id), listRoot, emit: true, sync: false, recipe: join(ctx.root, TARS, id) };
      return packStream(async (options) => {
        const { diffId } = await ctx.workers.run(job, options);
        if (expect !== undefined && diffId !== expect) throw internal(`layer ${expect} came out of its snapshot as ${diffId}: its original archive is gone`);
      }, signal);
    },
  };
}
