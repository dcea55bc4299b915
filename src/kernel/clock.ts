import { FFIType } from "bun:ffi";
import { check, libc } from "./ffi.ts";

const c = libc({
  clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  usleep: { args: [FFIType.u32], returns: FFIType.i32 },
});

const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;

function nanoseconds(clock: number): bigint {
  const spec = Buffer.alloc(16);
  check(c.clock_gettime(clock, spec), "clock_gettime");
  return spec.readBigInt64LE(0) * 1_000_000_000n + spec.readBigInt64LE(8);
}

/** Unix time in nanoseconds. Date.now() knows milliseconds only, too coarse for the order of log lines and events. */
export function realtimeNano(): bigint {
  return nanoseconds(CLOCK_REALTIME);
}

/** The kernel's monotonic clock, which processes share; performance.now() counts from this process's start. */
export function monotonicNano(): bigint {
  return nanoseconds(CLOCK_MONOTONIC);
}

/**
 * Tells the nanoseconds since the unix time `since`, from now on by the clock that nobody sets: a step of the host's clock (a board without a battery at boot,
 * a machine that slept) is no time that has passed.
 */
export function stopwatch(since: bigint, { realtime = realtimeNano, monotonic = monotonicNano } = {}): () => number {
  const passed = realtime() - since;
  const zero = monotonic() - (passed > 0n ? passed : 0n);
  return () => Number(monotonic() - zero);
}

/** Stops the calling thread, and with it the event loop: for so short a time that a timer's millisecond would be too long. */
export function briefSleep(micros: number): void {
  if (!(micros >= 0 && micros <= 1000)) throw new RangeError(`not a brief sleep: ${micros} µs`);
  c.usleep(micros);
}
