import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import type { CgroupHierarchy } from "./cgroup.ts";

/** The kernel keeps migrations cheap for at least one grace period after the last, and none was seen under 6 ms (kernel 6.18, 250 Hz). */
const renewMs = 5;
/** How long they are kept cheap after the last process that was expected: clients come in bursts. */
const keepMs = 250;

/**
 * On cgroup v1 the first write to a `cgroup.procs` after a rest waits for a grace period of RCU: 7 ms, at times 15, in which the runtime stands
 * still at each start and each exec (cgroup_threadgroup_rwsem, kernel/cgroup/cgroup.c; rcu_sync keeps it open for one more period). The function
 * returned takes that wait early, beside the work that comes before, and keeps the gate open for a moment: on a thread of the pool it moves the engine
 * to where it is already, which changes nothing but goes through the same gate. v2 needs none of it: processes are cloned into their group there.
 */
export function createMigrationGate(hierarchy: CgroupHierarchy, onError: (error: unknown) => void): () => void {
  const file = hierarchy.version === 1 ? ownProcsFile(hierarchy) : undefined;
  if (file === undefined) return () => {};
  let isBroken = false;
  let isOpen = false;
  let keepUntil = 0;
  const keepOpen = async (): Promise<void> => {
    await using handle = await open(file, "r+");
    while (performance.now() < keepUntil) {
      await handle.write("0");
      await Bun.sleep(renewMs);
    }
  };
  return () => {
    if (isBroken) return;
    keepUntil = performance.now() + keepMs;
    if (isOpen) return;
    isOpen = true;
    keepOpen()
      .catch((error: unknown) => {
        isBroken = true;
        onError(error);
      })
      .finally(() => {
        isOpen = false;
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
