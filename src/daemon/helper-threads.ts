import { readdirSync, readFileSync } from "node:fs";
import { raisePriority } from "../kernel/priority.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

/** Of the event loop's thread: every client waits for it, so it goes before the engine's own Workers. Containers never have it. */
export const niceness = -10;

/** Between two looks for new ones, in milliseconds. */
const interval = 200;

/**
 * Threads of JavaScriptCore that the event loop's own waits for: the compilers, which a collection stops first, and the collector's helpers. A name is cut to
 * its last 15 characters (JSC Heap Collector Thread).
 */
const names = new Set(["JITWorker", "HeapHelper", "ollector Thread"]);

/**
 * Gives the threads that the event loop waits for its own niceness: a loop that goes before everything else is no quicker than a helper that doesn't get a
 * processor. They come and go with the work (a compiler ends after 10 s at rest), so that what is returned is to be called whenever there is some.
 */
export function createHelperThreads(log: Logger): () => void {
  const unnamed = nameOf(String(process.pid));
  const known = new Set<string>();
  let due = 0;
  return () => {
    const now = performance.now();
    if (now < due) return;
    due = now + interval;
    const all = new Set(readdirSync("/proc/self/task"));
    for (const thread of known) if (!all.has(thread)) known.delete(thread);
    for (const thread of all) {
      if (known.has(thread)) continue;
      try {
        const name = nameOf(thread);
        // one that has just been made hasn't got its own name yet
        if (name === unnamed) continue;
        if (names.has(name)) raisePriority(niceness, Number(thread));
        known.add(thread);
      } catch (error) {
        const { code } = error as { code?: string };
        if (code === "ENOENT" || code === "ESRCH") continue;
        log.debug("helper threads stay at their priority", { error: messageOf(error) });
        due = Infinity;
        return;
      }
    }
  };
}

function nameOf(thread: string): string {
  return readFileSync(`/proc/self/task/${thread}/comm`, "latin1").trim();
}
