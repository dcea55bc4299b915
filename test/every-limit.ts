import type { LimitSupport } from "../src/runtime/support.ts";

/** A host that can keep every limit. */
export const everyLimit: LimitSupport = {
  memory: true,
  reservation: true,
  swap: true,
  swappiness: true,
  oomKillDisable: true,
  pids: true,
  cpuShares: true,
  cpuQuota: true,
  cpuRealtime: true,
  cpuset: true,
  blkioWeight: true,
  blkioThrottle: true,
};
