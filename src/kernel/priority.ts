import { FFIType } from "bun:ffi";
import { check, int, libc } from "./ffi.ts";

const c = libc({
  getpriority: { args: [FFIType.i32, FFIType.u32], returns: FFIType.i32 },
  setpriority: { args: [FFIType.i32, FFIType.u32, FFIType.i32], returns: FFIType.i32 },
  sched_setscheduler: { args: [FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
});

const PRIO_PROCESS = 0;
const SCHED_OTHER = 0;
const SCHED_RESET_ON_FORK = 0x40000000;

/**
 * Gives the calling thread, and it alone, the niceness `nice` (-20 to 19) where its own is higher. Threads and processes that it makes afterwards get 0:
 * on Linux niceness belongs to a thread, and SCHED_RESET_ON_FORK keeps a negative one from children (sched(7)).
 * @throws SysError EACCES or EPERM without CAP_SYS_NICE
 */
export function raisePriority(nice: number): void {
  // for the calling thread getpriority cannot fail: -1 is a niceness
  if (c.getpriority(PRIO_PROCESS, 0) <= nice) return;
  // before the priority itself: no child may slip out between the two
  check(c.sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, Buffer.alloc(4)), "sched_setscheduler");
  check(c.setpriority(PRIO_PROCESS, 0, int(nice)), "setpriority", String(nice));
}
