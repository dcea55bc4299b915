import { FFIType } from "bun:ffi";
import { closeSync, mkdtempSync, openSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { libc } from "../src/kernel/ffi.ts";

const c = libc({ ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 } });
const FS_IOC_SETFLAGS = 0x40086602;
const FS_IMMUTABLE_FL = 0x10;

/** As `chattr +i` and `-i` do (ioctl_fs(2)): such a file isn't removed even by root. False where the file system has no such flag. */
export function setImmutable(path: string, on: boolean): boolean {
  const fd = openSync(path, "r");
  const flags = Buffer.alloc(8);
  flags.writeUInt32LE(on ? FS_IMMUTABLE_FL : 0);
  const isDone = c.ioctl(fd, FS_IOC_SETFLAGS, flags) === 0;
  closeSync(fd);
  return isDone;
}

/** Whether the file system of temporary files has such. */
export function canBeImmutable(): boolean {
  const probe = mkdtempSync(join(tmpdir(), "berth-immutable-"));
  try {
    return setImmutable(probe, true) && setImmutable(probe, false);
  } finally {
    rmdirSync(probe);
  }
}
