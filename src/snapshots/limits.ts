import { invalidArgument, messageOf } from "../lib/errors.ts";
import { checkProjectQuota, limitDirectories, unlimitDirectory } from "../kernel/quota.ts";
import type { SnapshotContext } from "./context.ts";
import type { Snapshots } from "./types.ts";

export type Limits = Pick<Snapshots, "checkLimit" | "limit" | "unlimit">;

/** Limits of writable snapshots, as project quotas of the file system they lie on. */
export function createLimits(ctx: SnapshotContext): Limits {
  return {
    checkLimit: () => {
      try {
        checkProjectQuota(ctx.root);
      } catch (error) {
        throw invalidArgument(
          "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, or over ext4 with 'prjquota', on Linux 5.14 or newer: " +
            messageOf(error),
          error,
        );
      }
    },
    // overlay makes files in its work directory and moves them, which it may do only within one project
    limit: (id, bytes) => limitDirectories([ctx.path(id), ctx.work(id)], bytes),
    unlimit: (id) => {
      try {
        unlimitDirectory(ctx.path(id));
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOENT") ctx.log.warn("a storage limit stays in the file system's tables", { snapshot: id, error });
      }
    },
  };
}
