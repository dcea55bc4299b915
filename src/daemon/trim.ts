import { dropCodePages } from "../kernel/memory.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";

/** How often the engine looks whether it is idle, in milliseconds. */
const interval = 2000;
/** Processor time within one interval under which it counts as idle, in microseconds. */
const idleBelow = 40_000;
/** Work since the last trim, below which another one gives nothing, in microseconds. */
const worthwhileAbove = 50_000;

/**
 * Gives memory back whenever the engine has come to rest after work: code pages go (kernel/memory.ts). With a hundred containers asleep an engine should cost next to nothing;
 * the first request afterwards pays under a millisecond.
 */
export function trimWhenIdle(log: Logger): Disposable {
  const used = (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  };
  let last = used();
  let trimmed = 0;
  const timer = setInterval(() => {
    const now = used();
    const isIdle = now - last < idleBelow;
    last = now;
    if (!isIdle || now - trimmed < worthwhileAbove) return;
    try {
      dropCodePages();
    } catch (error) {
      log.warn("code pages stay in memory", { error: messageOf(error) });
      clearInterval(timer);
    }
    trimmed = used();
  }, interval);
  timer.unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
