import { existsSync } from "node:fs";
import { directoryOf, oomKills } from "../kernel/cgroup.ts";
import { openOomNotice } from "../kernel/oom.ts";
import type { SandboxContext } from "./context.ts";

/** A container that runs into its limit all the time must not keep the engine busy with it. */
const pauseMs = 100;

/** See RunningSandbox.onOom. */
export function watchOom(ctx: SandboxContext, cgroupPath: string, told: () => void, { isKnown }: { isKnown: boolean }): Disposable {
  const { cgroups } = ctx.runtime;
  const notice = openOomNotice(cgroups, cgroupPath);
  if (notice === undefined) return { [Symbol.dispose]: () => {} };
  let isOpen = true;
  let kills = isKnown ? oomKills(cgroups, cgroupPath) : 0;
  const look = (): void => {
    const before = kills;
    kills = Math.max(before, oomKills(cgroups, cgroupPath));
    if (kills > before) told();
  };
  const follow = async (): Promise<void> => {
    look();
    while (isOpen) {
      await ctx.readiness.wait(notice.fd, notice.direction);
      if (!isOpen) return;
      notice.clear();
      // v1 tells before the kill, also where killing is disabled, and when the group goes; v2 tells of other counts too
      if (cgroups.version === 2) look();
      else if (existsSync(directoryOf(cgroups, "memory", cgroupPath) ?? "")) told();
      await Bun.sleep(pauseMs);
      if (!isOpen) return;
      if (cgroups.version === 2) look();
      else kills = Math.max(kills, oomKills(cgroups, cgroupPath));
    }
  };
  void follow();
  return {
    [Symbol.dispose]: () => {
      if (!isOpen) return;
      isOpen = false;
      ctx.readiness.abandon(notice.fd);
      notice[Symbol.dispose]();
    },
  };
}
