import { becomeSubreaper, endedChild, isInNestedNamespace, reapChild } from "../kernel/reaper.ts";

const INTERVAL_MS = 1000;
const SOON_MS = 20;
/** Looks, an interval apart, at which an ended child must be found before it counts as nobody's. */
const PATIENCE = 3;

/** See `startReaper`. */
export interface Reaper {
  /** Orphans of containers are likely just now: a container can't end while a zombie of its pid namespace is left. */
  soon(): void;
}

/**
 * Reaps orphans: crun leaves the child of a failed exec behind, a killed conmon its container, an exec in the host's pid namespace its
 * background processes. pid 1 would, but not every pid 1 does (in a container it often is no init; the engine may be pid 1 itself).
 * Bun reaps its own children when its event loop polls, so that one that stays over several turns is none of Bun's; in other pid namespaces
 * Bun starts nothing. `isAwaited`: somebody will still ask for its exit code.
 */
export function startReaper(isAwaited: (pid: number) => boolean): Reaper {
  becomeSubreaper();
  let suspect = { pid: 0, looks: 0 };

  /** The next ended child that isn't in a container, if any. */
  const reapContained = (): number | undefined => {
    for (;;) {
      const pid = endedChild();
      if (pid === undefined || isAwaited(pid) || !isInNestedNamespace(pid)) return pid;
      reapChild(pid);
    }
  };
  const look = (): void => {
    const pid = reapContained();
    if (pid === undefined || isAwaited(pid)) return;
    suspect = { pid, looks: pid === suspect.pid ? suspect.looks + 1 : 1 };
    if (suspect.looks >= PATIENCE) reapChild(pid);
  };
  setInterval(look, INTERVAL_MS).unref();
  return { soon: () => void setTimeout(reapContained, SOON_MS) };
}
