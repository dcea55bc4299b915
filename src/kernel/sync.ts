import { FFIType } from "bun:ffi";
import { check, int, libc } from "./ffi.ts";

const c = libc({
  syncfs: { args: [FFIType.i32], returns: FFIType.i32 },
  fallocate: { args: [FFIType.i32, FFIType.i32, FFIType.i64_fast, FFIType.i64_fast], returns: FFIType.i32 },
});

const FALLOC_FL_KEEP_SIZE = 1;

/** Writes everything dirty of the file system that `fd` lies on. Takes as long as the disk needs: for Workers. */
export function syncFileSystem(fd: number): void {
  check(c.syncfs(int(fd)), "syncfs");
}

/** Has the file own blocks for its first `bytes` bytes without changing its size: writes up to there can't fail for want of space. @throws SysError ENOSPC, ENOTSUP */
export function reserveBlocks(fd: number, bytes: number): void {
  check(c.fallocate(int(fd), FALLOC_FL_KEEP_SIZE, 0, bytes), "fallocate");
}
