import { becomeSubreaper, endedChildren, isInNestedNamespace, reapChild } from "../kernel/reaper.ts";

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
 * Bun reaps its own children when its event loop polls, so that one of the main thread's that stays over several turns is none of Bun's; in other pid
 * namespaces Bun starts nothing. `isAwaited`: somebody will still ask for its exit code.
 */
export function startReaper(isAwaited: (pid: number) => boolean): Reaper {
  becomeSubreaper();
  /** Looks at which each was found. */
  let suspects = new Map<number, number>();

  /** Gives the ended children that aren't in a container. */
  const reapContained = (): number[] => {
    const ended = endedChildren().filter((pid) => !isAwaited(pid));
    const contained = ended.filter(isInNestedNamespace);
    for (const pid of contained) reapChild(pid);
    return ended.filter((pid) => !contained.includes(pid));
  };
  let isComing = false;
  const look = (): void => {
    isComing = false;
    suspects = new Map(reapContained().map((pid) => [pid, (suspects.get(pid) ?? 0) + 1]));
    for (const [pid, looks] of suspects) {
      if (looks < PATIENCE) continue;
      reapChild(pid);
      suspects.delete(pid);
    }
    if (suspects.size > 0) lookSoon();
  };
  /** Where nothing ends, an engine at rest isn't woken: a look every second would fetch code into memory that was just given back. */
  const lookSoon = (): void => {
    if (!isComing) setTimeout(look, INTERVAL_MS).unref();
    isComing = true;
  };
  process.on("SIGCHLD", lookSoon);
  lookSoon();
  return { soon: () => void setTimeout(reapContained, SOON_MS) };
}
