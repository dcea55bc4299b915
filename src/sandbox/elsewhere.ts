import { pidsIn } from "../kernel/cgroup.ts";
import { argumentsOf, kinOf, sharesMounts } from "../kernel/process.ts";
import { cgroupPathOf } from "../runtime/spec.ts";
import type { SandboxContext } from "./context.ts";
import type { SandboxSpec } from "./types.ts";

/**
 * The first of these that runs, with its monitor, where that is in another mount namespace than the engine: roots, state and sockets are mounted there, out of
 * reach. An engine starts all in its own, so that one tells of all.
 */
export function runningElsewhere(ctx: SandboxContext, specs: Iterable<Pick<SandboxSpec, "id" | "host">>): { id: string; monitor: number } | undefined {
  for (const { id, host } of specs) {
    for (const pid of pidsIn(ctx.runtime.cgroups, cgroupPathOf(id, host, ctx.runtime.cgroupParent))) {
      const monitor = kinOf(pid)?.parent;
      if (monitor === undefined || !argumentsOf(monitor).includes(id)) continue;
      const isOurs = sharesMounts(monitor);
      if (isOurs !== undefined) return isOurs ? undefined : { id, monitor };
    }
  }
  return undefined;
}
