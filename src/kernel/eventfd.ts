import { FFIType } from "bun:ffi";
import { check, int, libc, stable } from "./ffi.ts";

const c = libc({
  eventfd: { args: [FFIType.u32, FFIType.i32], returns: FFIType.i32 },
  read: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  write: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
});

const EFD_FLAGS = 0o2000000 | 0o4000; // CLOEXEC, NONBLOCK

/** An eventfd: another thread of the process makes it readable. @throws SysError */
export function createWakeup(): number {
  return check(c.eventfd(0, EFD_FLAGS), "eventfd");
}

const one = stable(8);
one.writeBigUInt64LE(1n);
const sink = stable(8);

export function wake(fd: number): void {
  c.write(int(fd), one, 8);
}

/** Makes it unreadable again. */
export function clearWakeup(fd: number): void {
  c.read(int(fd), sink, 8);
}
