import { FFIType } from "bun:ffi";
import { check, cstr, errno, int, libc, SysError } from "./ffi.ts";

/** Copies of files that share their blocks, or that leave holes as they are. Synchronous: for Workers. */
const c = libc({
  ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.i64_fast], returns: FFIType.i32 },
  lseek: { args: [FFIType.i32, FFIType.i64_fast, FFIType.i32], returns: FFIType.i64_fast },
  copy_file_range: { args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.u32], returns: FFIType.i64_fast },
  pread: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i64_fast], returns: FFIType.i64_fast },
  pwrite: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i64_fast], returns: FFIType.i64_fast },
  renameat2: { args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
});

/** ioctl_ficlone(2). */
const FICLONE = 0x40049409;
const ENXIO = 6;
const EINVAL = 22;
/** What file systems say that share no blocks, or not with each other: EXDEV, EINVAL, ENOTTY, ENOSYS, EOPNOTSUPP; EPERM, ETXTBSY of odd files. */
const cannot = new Set([1, 18, EINVAL, 25, 26, 38, 95]);

/** Makes the empty file `to` share all blocks of `from` (xfs, btrfs and others). False where they can't. @throws SysError, e.g. ENOSPC */
export function shareBlocks(from: number, to: number): boolean {
  if (c.ioctl(int(to), FICLONE, int(from)) === 0) return true;
  const code = errno();
  if (cannot.has(code)) return false;
  throw new SysError("ioctl FICLONE", code);
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/**
 * The next run of bytes at or after `offset` that isn't a hole, as far as the file system knows; undefined where there is none. A file system that knows
 * nothing of holes has one run. Moves the descriptor's position.
 */
export function nextData(fd: number, offset: number, size: number): { offset: number; length: number } | undefined {
  if (offset >= size) return undefined;
  const start = Number(c.lseek(int(fd), offset, SEEK_DATA));
  if (start < 0) {
    const code = errno();
    if (code === ENXIO) return undefined;
    if (code === EINVAL) return { offset, length: size - offset };
    throw new SysError("lseek SEEK_DATA", code);
  }
  if (start >= size) return undefined;
  const end = check(c.lseek(int(fd), start, SEEK_HOLE), "lseek SEEK_HOLE");
  return { offset: start, length: Math.min(end, size) - start };
}

/** Copies up to `length` bytes at `offset` to the same place in `to`; how many, 0 at the end of `from`. `buffer` is used where the kernel can't by itself. @throws SysError, e.g. ENOSPC */
export function copyRange(from: number, to: number, offset: number, length: number, buffer: Uint8Array): number {
  const [source, target] = [Buffer.alloc(8), Buffer.alloc(8)];
  for (const at of [source, target]) at.writeBigInt64LE(BigInt(offset));
  const copied = Number(c.copy_file_range(int(from), source, int(to), target, length, 0));
  // 0 is the end, or a file system that can't and doesn't say so (before Linux 5.19): a read tells
  if (copied > 0) return copied;
  const code = errno();
  if (copied < 0 && !cannot.has(code)) throw new SysError("copy_file_range", code);
  const n = check(c.pread(int(from), buffer, Math.min(length, buffer.length), offset), "pread");
  for (let written = 0; written < n;) written += check(c.pwrite(int(to), buffer.subarray(written, n), n - written, offset + written), "pwrite");
  return n;
}

/** Bytes at `offset` of a file; 0 at its end. */
export function readAt(fd: number, buffer: Uint8Array, offset: number): number {
  return check(c.pread(int(fd), buffer, buffer.length, offset), "pread");
}

const AT_FDCWD = -100;
const RENAME_EXCHANGE = 2;

/** Two names of one file system change places, in one step (renameat2(2)). @throws SysError, e.g. EINVAL where the file system can't */
export function exchange(one: string, other: string): void {
  check(c.renameat2(AT_FDCWD, cstr(one), AT_FDCWD, cstr(other), RENAME_EXCHANGE), "renameat2", `${one} ${other}`);
}
