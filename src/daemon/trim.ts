import { dropCodePages } from "../kernel/memory.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

/** How often the engine looks whether it is idle, in milliseconds. */
const interval = 250;
/** Processor time within one interval under which it counts as idle, in microseconds. */
const idleBelow = 12_000;
/**
 * Intervals at rest before memory is given back: at first, and at the most. What the engine does at rest itself (its looks, the end of a collection, a checkpoint)
 * fetches some code again, for which it shouldn't come and go all the time.
 */
const rests = { first: 2, most: 8 };
/**
 * Work since each was last done, below which it isn't worth its price, in microseconds of processor time. A collection takes some 10 ms. Compiled functions are
 * 12 of 55 MB after a hundred containers, but the first request without them is some 10 ms slower.
 */
const worth = { garbage: 100_000, functions: 300_000 };

/**
 * Gives memory back whenever the engine has come to rest after work, and ever more seldom from then on: garbage (collected beside the loop: one that the loop
 * waits for holds it up for 11 to 36 ms), functions compiled for a load that is over, and code pages (kernel/memory.ts). With a hundred containers asleep an
 * engine should cost next to nothing; the first request afterwards pays under a millisecond.
 */
export function trimWhenIdle(log: Logger): Disposable {
  const used = (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  };
  let last = used();
  const done = { garbage: 0, functions: 0 };
  let resting = 0;
  let wanted = rests.first;
  const timer = setInterval(() => {
    const now = used();
    const isIdle = now - last < idleBelow;
    last = now;
    if (!isIdle) {
      resting = 0;
      wanted = rests.first;
      return;
    }
    if (++resting < wanted) return;
    resting = 0;
    wanted = Math.min(2 * wanted, rests.most);
    try {
      const isShrinking = now - done.functions > worth.functions;
      const isCollecting = isShrinking || now - done.garbage > worth.garbage;
      // the first is the second and more (Bun 1.4: bytecode and machine code go, then a full collection)
      if (isShrinking) Bun.shrink();
      else if (isCollecting) Bun.gc(false);
      dropCodePages();
      last = used();
      if (isCollecting) done.garbage = last;
      if (isShrinking) done.functions = last;
    } catch (error) {
      log.warn("code pages stay in memory", { error: messageOf(error) });
      clearInterval(timer);
    }
  }, interval);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
