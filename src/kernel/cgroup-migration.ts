import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import type { CgroupHierarchy } from "./cgroup.ts";

/** How long the kernel keeps migrations cheap after one: two grace periods at least, and none was seen under 6 ms (kernel 6.18, 250 Hz). */
const warmMs = 8;

/**
 * On cgroup v1 the first write to a `cgroup.procs` after a rest waits for a grace period of RCU: 7 ms, at times 15, in which the runtime stands
 * still at each start and each exec (cgroup_threadgroup_rwsem, kernel/cgroup/cgroup.c; rcu_sync keeps it open for one more period). The function
 * returned takes that wait early, beside the work that comes before: on a thread of the pool it moves the engine to where it is already, which
 * changes nothing but goes through the same gate. v2 needs none of it: processes are cloned into their group there.
 */
export function createMigrationGate(hierarchy: CgroupHierarchy, onError: (error: unknown) => void): () => void {
  const file = hierarchy.version === 1 ? ownProcsFile(hierarchy) : undefined;
  if (file === undefined) return () => {};
  let isOpening = false;
  let isBroken = false;
  let openedAt = Number.NEGATIVE_INFINITY;
  const pass = async (): Promise<void> => {
    await using handle = await open(file, "r+");
    await handle.write("0");
    openedAt = performance.now();
  };
  return () => {
    if (isOpening || isBroken || performance.now() - openedAt < warmMs) return;
    isOpening = true;
    pass()
      .catch((error: unknown) => {
        isBroken = true;
        onError(error);
      })
      .finally(() => {
        isOpening = false;
      });
  };
}

/** `cgroup.procs` of the group that the engine is in, in one v1 tree: one gate serves all trees. */
function ownProcsFile(hierarchy: CgroupHierarchy): string | undefined {
  for (const line of readFileSync("/proc/self/cgroup", "utf8").split("\n")) {
    const [, controller = "", path = ""] = /^\d+:([^,:]+)[^:]*:(.*)$/.exec(line) ?? [];
    const root = hierarchy.controllers.get(controller);
    if (root !== undefined) return `${root}${path === "/" ? "" : path}/cgroup.procs`;
  }
  return undefined;
}
