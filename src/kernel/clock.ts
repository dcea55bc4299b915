import { FFIType } from "bun:ffi";
import { check, libc } from "./ffi.ts";

const c = libc({
  clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
});

const CLOCK_REALTIME = 0;

/** Unix time in nanoseconds. Date.now() knows milliseconds only, too coarse for the order of log lines and events. */
export function realtimeNano(): bigint {
  const spec = Buffer.alloc(16);
  check(c.clock_gettime(CLOCK_REALTIME, spec), "clock_gettime");
  return spec.readBigInt64LE(0) * 1_000_000_000n + spec.readBigInt64LE(8);
}
