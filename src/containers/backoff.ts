import type { RestartPolicy } from "../oci/container.ts";

/** Docker's figures: 100 ms, doubled each time up to a minute; a run of ten seconds counts as a success and starts anew. */
const firstDelay = 100;
const longestDelay = 60_000;
const goodRunSeconds = 10;

/** A run that has ended, or that would be ended because it is unhealthy. */
export interface EndedRun {
  exitCode: number;
  /** The engine has ended it because its health checks fail, and the user wants such a one restarted. */
  unhealthy?: boolean;
  seconds: number;
  /** Restarts by policy so far. */
  restartCount: number;
  /** Milliseconds that were waited before this run; 0: it was started by a user. */
  lastDelay: number;
}

/** Milliseconds until a restart by policy, or undefined for none. A user's stop is the caller's to see. */
export function nextRestart(policy: RestartPolicy | undefined, run: EndedRun): number | undefined {
  if (!wanted(policy, run)) return undefined;
  return run.seconds >= goodRunSeconds || run.lastDelay === 0 ? firstDelay : longerDelay(run.lastDelay);
}

export const longerDelay = (delay: number): number => Math.min(Math.max(delay, firstDelay / 2) * 2, longestDelay);

function wanted(policy: RestartPolicy | undefined, { exitCode, unhealthy = false, restartCount }: EndedRun): boolean {
  switch (policy?.Name) {
    case "always":
    case "unless-stopped":
      return true;
    case "on-failure":
    case "on-unhealthy":
      return (exitCode !== 0 || unhealthy) && (!policy.MaximumRetryCount || restartCount < policy.MaximumRetryCount);
    default:
      return unhealthy;
  }
}
