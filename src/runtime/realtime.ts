import { mkdirSync } from "node:fs";
import { directoryOf, type CgroupHierarchy } from "../kernel/cgroup.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import { writeLimits } from "./limits.ts";
import type { LimitSupport } from "./support.ts";

/** Microseconds; 0: as the kernel has it, which is none below the root. */
export interface RealtimeBudget {
  realtimePeriod: number;
  realtimeRuntime: number;
}

/**
 * What gives a cgroup that containers are made in the administrator's budget of real-time scheduling, and every group above it: a group has no more than the
 * one above. Undefined where none is asked for. Refused where it can't be kept, in dockerd's words.
 * @throws EngineError invalidArgument
 */
export function realtimeBudget(cgroups: CgroupHierarchy, support: LimitSupport, budget: RealtimeBudget): ((parent: string) => Promise<void>) | undefined {
  const given = Object.fromEntries(Object.entries(budget).filter(([, value]) => value !== 0));
  if (Object.keys(given).length === 0) return undefined;
  if (cgroups.version === 2) throw invalidArgument("daemon-scoped cpu-rt-period and cpu-rt-runtime are not implemented for cgroup v2");
  if (!support.cpuRealtime) throw invalidArgument("daemon-scoped cpu-rt-period and cpu-rt-runtime are not supported by the kernel");
  return async (parent) => {
    let path = "";
    for (const part of parent.split("/").filter(Boolean)) {
      path += `/${part}`;
      try {
        mkdirSync(directoryOf(cgroups, "cpu", path)!, { recursive: true });
        await writeLimits(cgroups, path, { cpu: given });
      } catch (error) {
        throw invalidArgument(`unable to init CPU RT controller of cgroup ${path}: ${messageOf(error)}`, error);
      }
    }
  };
}
