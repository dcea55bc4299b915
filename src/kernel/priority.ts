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
 * Gives one thread (0: the calling one), and it alone, the niceness `nice` (-20 to 19) where its own is higher. Threads and processes that it makes afterwards
 * get 0: on Linux niceness belongs to a thread, and SCHED_RESET_ON_FORK keeps a negative one from children (sched(7)).
 * @throws SysError EACCES or EPERM without CAP_SYS_NICE, ESRCH for a thread that has ended
 */
export function raisePriority(nice: number, thread = 0): void {
  // -1 is a niceness; where it means that there is no such thread, the next call says so
  if (c.getpriority(PRIO_PROCESS, int(thread)) <= nice) return;
  // before the priority itself: no child may slip out between the two
  check(c.sched_setscheduler(int(thread), SCHED_OTHER | SCHED_RESET_ON_FORK, Buffer.alloc(4)), "sched_setscheduler");
  check(c.setpriority(PRIO_PROCESS, int(thread), int(nice)), "setpriority", String(nice));
}
