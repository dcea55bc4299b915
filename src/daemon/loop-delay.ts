import { Histogram, type Exposition } from "../lib/metrics.ts";

/** Between two looks, in milliseconds: a stall that is longer is seen, less up to this much. */
const interval = 5;
/** Without work for this long, in milliseconds, nothing is measured. */
const rest = 200;
/** Share of a processor under which the engine counts as being at rest. */
const idleShare = 0.05;

/** How late the event loop comes to its timers: whatever blocks it makes every client wait. */
export interface LoopDelay extends Disposable {
  /** There is work: measure for as long as it goes on. An engine at rest is not woken for the measuring. */
  touch(): void;
  write(out: Exposition): void;
}

export function createLoopDelay(): LoopDelay {
  const histogram = new Histogram([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5]);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due = 0;
  let touched = 0;
  let checked = { at: 0, cpu: 0 };
  const cpuUsed = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  const arm = (now: number): void => {
    due = now + interval;
    timer = setTimeout(look, interval).unref();
  };
  function look(): void {
    const now = performance.now();
    histogram.observe(Math.max(0, now - due) / 1000);
    if (now - touched < rest) return arm(now);
    // a stream or a build under way touches nothing, and works
    if (now - checked.at >= rest) {
      const cpu = cpuUsed();
      const share = (cpu - checked.cpu) / (now - checked.at);
      checked = { at: now, cpu };
      if (share < idleShare) {
        timer = undefined;
        return;
      }
    }
    arm(now);
  }
  return {
    touch: () => {
      touched = performance.now();
      if (timer !== undefined) return;
      checked = { at: touched, cpu: cpuUsed() };
      arm(touched);
    },
    write: (out) =>
      out.histogram("berth_event_loop_delay_seconds", "How late the event loop came to a timer, looked at every 5 ms while there is work", [[{}, histogram]]),
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
