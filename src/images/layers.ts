import { invalidArgument } from "../lib/errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { SnapshotId, Snapshots } from "../snapshots/types.ts";
import type { ImageContext, Lease } from "./types.ts";

/** Overlayfs mounts 500 layers, of which a container's init layer is one. */
export const MOST_LAYERS = 499;

export type UnpackOptions = Parameters<Snapshots["unpack"]>[0];

export interface LayerSource {
  diffId: Digest;
  /** Where the layer is unpacked already. */
  snapshot?: SnapshotId;
  /** Else the blob that holds the layer's tar. */
  blob?: Digest;
  /** Or how it is unpacked, given what lies under it. */
  unpack?: (options: Omit<UnpackOptions, "source">) => Promise<SnapshotId>;
  onProgress?: (bytes: number) => void;
  /** Once the layer is there. */
  onDone?: () => void;
}

/**
 * Unpacks the layers of one image, lowest first, some at a time and in whatever order their blobs come; those that are here already take no time.
 * The snapshots are held by `lease`; they may not be on the disk yet: `settle` them before anything names them. The first failure stops the others.
 */
export async function unpackLayers(ctx: ImageContext, lease: Lease, layers: readonly LayerSource[], signal?: AbortSignal): Promise<SnapshotId[]> {
  const stop = new AbortController();
  const any = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const diffIds = layers.map((layer) => layer.diffId);
  const fromBlob = async (blob: Digest, options: Omit<UnpackOptions, "source">): Promise<SnapshotId> => {
    const { snapshot } = await ctx.snapshots.unpack({ ...options, source: ctx.content.path(blob) });
    return snapshot;
  };
  const unpacked: Promise<SnapshotId>[] = [];
  let parents: Promise<SnapshotId[]> = Promise.resolve([]);
  for (const [i, { diffId, snapshot: present, blob, unpack, onProgress, onDone }] of layers.entries()) {
    const below = parents;
    const one = async (): Promise<SnapshotId> => {
      if (present !== undefined) return present;
      const options = {
        parentIds: diffIds.slice(0, i),
        parents: i === 0 ? [] : below,
        expect: diffId,
        unsynced: true,
        onSnapshot: lease.add,
        onProgress,
        signal: any,
      };
      const snapshot = await (unpack === undefined ? fromBlob(blob!, options) : unpack(options));
      onDone?.();
      return snapshot;
    };
    const layer = one().catch((error: unknown) => {
      stop.abort();
      throw error;
    });
    unpacked.push(layer);
    parents = Promise.all([below, layer]).then(([ids, id]) => [...ids, id]);
    // Whoever needs it awaits it; nobody might.
    parents.catch(() => {});
  }
  const results = await Promise.allSettled(unpacked);
  // The failure that came first, not the cancellations it caused.
  const failures = results.filter((result) => result.status === "rejected").map((result) => result.reason as { kind?: string });
  const cause = failures.find((error) => error.kind !== "cancelled") ?? failures[0];
  if (cause !== undefined) throw cause;
  return results.map((result) => (result as PromiseFulfilledResult<SnapshotId>).value);
}

/** Before anything of it is unpacked. @throws EngineError invalidArgument */
export function checkMountable(name: string, layers: number): void {
  if (layers > MOST_LAYERS) throw invalidArgument(`${name} has ${layers} layers: more than the ${MOST_LAYERS} that overlayfs can mount`);
}

/** @throws EngineError invalidArgument in Docker's words */
export function checkLayerCount(diffIds: readonly Digest[], layers: number): void {
  if (diffIds.length !== layers) throw invalidArgument(`invalid manifest, layers length mismatch: expected ${diffIds.length}, got ${layers}`);
}
