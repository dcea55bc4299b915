import { isDigest, type Digest } from "../oci/digest.ts";
import type { SnapshotId } from "../snapshots/types.ts";
import type { Lease } from "./types.ts";

/** What one pull or load laid its hands on, for the tidying-up after a failure. */
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
