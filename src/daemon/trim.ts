import { dropCodePages } from "../kernel/memory.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

/** How often the engine looks whether it is idle, in milliseconds. */
const interval = 250;
/** Intervals at rest before memory is given back. */
const restsWanted = 2;
/** Processor time within one interval under which it counts as idle, in microseconds. */
const idleBelow = 8_000;
/** Work since the last trim, below which dropping code or collecting garbage gives nothing, in microseconds. */
const codeAbove = 10_000;
const garbageAbove = 100_000;

/**
 * Gives memory back whenever the engine has come to rest after work: garbage (a collection of some 10 ms, which nobody waits for then), and code pages
 * (kernel/memory.ts). With a hundred containers asleep an engine should cost next to nothing; the first request afterwards pays under a millisecond.
 */
export function trimWhenIdle(log: Logger): Disposable {
  const used = (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  };
  let last = used();
  let trimmed = 0;
  let rests = 0;
  const timer = setInterval(() => {
    const now = used();
    rests = now - last < idleBelow ? rests + 1 : 0;
    last = now;
    if (rests < restsWanted || now - trimmed < codeAbove) return;
    try {
      if (now - trimmed > garbageAbove) Bun.gc(true);
      dropCodePages();
    } catch (error) {
      log.warn("code pages stay in memory", { error: messageOf(error) });
      clearInterval(timer);
    }
    trimmed = last = used();
  }, interval);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
