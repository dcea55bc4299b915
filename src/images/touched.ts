import { isDigest, type Digest } from "../oci/digest.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { ImageContext, ImageRecord, Lease } from "./types.ts";

/** Gives `work` a lease. Where it fails, nothing that it made stays, but for what others need too. */
export async function leased<T>(ctx: ImageContext, work: (lease: Lease) => Promise<T>): Promise<T> {
  const touched = new Touched();
  try {
    using lease = touched.watch(ctx.lease());
    return await work(lease);
  } catch (error) {
    await ctx.collectLayers(touched.snapshots);
    await ctx.collectBlobs(touched.blobs);
    throw error;
  }
}

/** Keeps all that images consist of, and counts as a use of them. */
export function hold(ctx: ImageContext, lease: Lease, images: Iterable<ImageRecord>): void {
  for (const { id, layers } of images) {
    for (const resource of [...ctx.blobsOf(id), ...layers]) lease.add(resource);
    ctx.lastUses.note(id);
  }
}

/** What one piece of work laid its hands on, for the tidying-up after it. */
export class Touched {
  readonly snapshots = new Set<SnapshotId>();
  readonly blobs = new Set<Digest>();

  watch(lease: Lease): Lease {
    return {
      add: (resource) => {
        if (isDigest(resource)) this.blobs.add(resource);
        else this.snapshots.add(resource);
        lease.add(resource);
      },
      [Symbol.dispose]: () => lease[Symbol.dispose](),
    };
  }
}
