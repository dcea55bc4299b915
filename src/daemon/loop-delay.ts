import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { Histogram, type Exposition } from "../lib/metrics.ts";

/** Between two looks, in milliseconds: a stall that is longer is seen, less up to this much. */
const interval = 5;
/** Without work for this long, in milliseconds, nothing is measured. */
const rest = 200;
/** Share of a processor under which the engine counts as being at rest. */
const idleShare = 0.05;

const bounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** How late the event loop comes to its timers: whatever blocks it makes every client wait. */
export interface LoopDelay extends Disposable {
  /** There is work: measure for as long as it goes on. An engine at rest is not woken for the measuring. */
  touch(): void;
  write(out: Exposition): void;
}

export function createLoopDelay(): LoopDelay {
  const delays = new Histogram(bounds);
  const stalls = new Histogram(bounds);
  const queue = openRunQueue();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let due = 0;
  let touched = 0;
  let waited = 0;
  let checked = { at: 0, cpu: 0 };
  const cpuUsed = (): number => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  const arm = (now: number): void => {
    due = now + interval;
    waited = queue?.waited() ?? 0;
    timer = setTimeout(look, interval).unref();
  };
  function look(): void {
    const now = performance.now();
    const late = Math.max(0, now - due);
    delays.observe(late / 1000);
    // of the wait, as much as fits may have been before the timer was due
    if (queue !== undefined) stalls.observe(Math.max(0, late - Math.max(0, queue.waited() - waited - interval)) / 1000);
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
    write: (out) => {
      out.histogram("berth_event_loop_delay_seconds", "How late the event loop came to a timer, looked at every 5 ms while there is work", [[{}, delays]]);
      if (queue === undefined) return;
      out.histogram("berth_event_loop_stall_seconds", "The same without the time in which it was ready and all processors were taken", [[{}, stalls]]);
    },
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      queue?.[Symbol.dispose]();
    },
  };
}

/**
 * The time that this thread was ready to run and waited for a processor, in milliseconds since its start (second field of schedstat, in nanoseconds: Linux,
 * Documentation/scheduler/sched-stats.rst). A read takes some 3 µs. Undefined where the kernel doesn't count it (CONFIG_SCHED_INFO).
 */
function openRunQueue(): ({ waited(): number } & Disposable) | undefined {
  const path = "/proc/thread-self/schedstat";
  if (!existsSync(path)) return undefined;
  const fd = openSync(path, "r");
  const buffer = Buffer.alloc(96);
  return {
    waited: () => Number(buffer.toString("latin1", 0, readSync(fd, buffer, 0, buffer.length, 0)).split(" ")[1]) / 1e6,
    [Symbol.dispose]: () => closeSync(fd),
  };
}
