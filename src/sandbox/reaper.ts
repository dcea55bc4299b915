import { becomeSubreaper, endedChild, isInNestedNamespace, reapChild } from "../kernel/reaper.ts";

const INTERVAL_MS = 1000;
const SOON_MS = 20;

/** See `startReaper`. */
export interface Reaper {
  /** Orphans are likely just now: a container can't end while a zombie of its pid namespace is left. */
  soon(): void;
}

/**
 * Reaps orphans: crun leaves the child of a failed exec behind, a killed conmon its container, an exec in the host's pid namespace its
 * background processes. pid 1 would, but not every pid 1 does (in a container it often is no init; the engine may be pid 1 itself).
 * `isAwaited`: somebody will still ask for its exit code.
 * Bun reaps its own children at the next turn of the event loop: one that is still there after a turn and a while is nobody's.
 */
export function startReaper(isAwaited: (pid: number) => boolean): Reaper {
  becomeSubreaper();
  let suspect: number | undefined;
  const look = (): void => {
    for (;;) {
      const pid = endedChild();
      // Bun starts nothing in other pid namespaces
      const isOurs = pid !== undefined && !isAwaited(pid) && (pid === suspect || isInNestedNamespace(pid));
      if (!isOurs) {
        suspect = pid;
        return;
      }
      reapChild(pid);
    }
  };
  setInterval(look, INTERVAL_MS).unref();
  return { soon: () => void setTimeout(look, SOON_MS) };
}
