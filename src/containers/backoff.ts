import type { RestartPolicy } from "../oci/container.ts";

/** Docker's figures: 100 ms, doubled each time up to a minute; a run of ten seconds counts as a success and starts anew. */
const firstDelay = 100;
const longestDelay = 60_000;
const goodRunSeconds = 10;

/**
 * Milliseconds until a restart by policy, or undefined for none. `lastDelay` is the delay before the run that ended (0: started by a user).
 * A user's stop is the caller's to see.
 */
export function nextRestart(
  policy: RestartPolicy | undefined,
  exitCode: number,
  restartCount: number,
  ranSeconds: number,
  lastDelay: number,
): number | undefined {
  if (!wanted(policy, exitCode, restartCount)) return undefined;
  if (ranSeconds >= goodRunSeconds || lastDelay === 0) return firstDelay;
  return Math.min(lastDelay * 2, longestDelay);
}

function wanted(policy: RestartPolicy | undefined, exitCode: number, restartCount: number): boolean {
  switch (policy?.Name) {
    case "always":
    case "unless-stopped":
      return true;
    case "on-failure":
      return exitCode !== 0 && (!policy.MaximumRetryCount || restartCount < policy.MaximumRetryCount);
    default:
      return false;
  }
}
