import { FFIType } from "bun:ffi";
import { check, int, libc } from "./ffi.ts";

const c = libc({ syncfs: { args: [FFIType.i32], returns: FFIType.i32 } });

/** Writes everything dirty of the file system that `fd` lies on. Takes as long as the disk needs: for Workers. */
export function syncFileSystem(fd: number): void {
  check(c.syncfs(int(fd)), "syncfs");
}
