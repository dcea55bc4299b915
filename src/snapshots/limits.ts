import { invalidArgument, messageOf } from "../lib/errors.ts";
import { checkProjectQuota, isProjectFree, limitProject, projectOf, setProject } from "../kernel/quota.ts";
import type { SnapshotContext } from "./context.ts";
import type { Snapshots } from "./types.ts";

export type Limits = Pick<Snapshots, "checkLimit" | "limit" | "unlimit">;

/** Project numbers that people give by hand are small. */
const LOWEST = 0x10000;
const HIGHEST = 0x7fffffff;
const MOST_TRIES = 64;

/** Limits of writable snapshots, as project quotas of the file system they lie on. */
export function createLimits(ctx: SnapshotContext): Limits {
  const freeProject = (): number => {
    for (let i = 0; i < MOST_TRIES; i++) {
      const project = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
      if (isProjectFree(ctx.root, project)) return project;
    }
    throw invalidArgument("no free project number was found for a storage limit");
  };
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
    limit: (id, bytes) => {
      const project = freeProject();
      // overlay makes files in its work directory and moves them, which it may do only within one project
      for (const directory of [ctx.path(id), ctx.work(id)]) setProject(directory, project);
      limitProject(ctx.root, project, bytes);
    },
    unlimit: (id) => {
      try {
        const project = projectOf(ctx.path(id));
        if (project >= LOWEST) limitProject(ctx.root, project, 0);
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOENT") ctx.log.warn("a storage limit stays in the file system's tables", { snapshot: id, error });
      }
    },
  };
}
