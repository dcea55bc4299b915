import { FFIType } from "bun:ffi";
import { errno, int, libc, SysError } from "./ffi.ts";

const c = libc({ flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } });

const LOCK_EX = 2;
const LOCK_NB = 4;
const EWOULDBLOCK = 11;

/** Takes the exclusive lock on an open file without waiting; the kernel frees it when the fd closes, however the process ends. False where another holds it. */
export function tryLock(fd: number): boolean {
  if (c.flock(int(fd), LOCK_EX | LOCK_NB) === 0) return true;
  if (errno() === EWOULDBLOCK) return false;
  throw new SysError("flock", errno());
}
