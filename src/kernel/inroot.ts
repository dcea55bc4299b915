import { FFIType } from "bun:ffi";
import { closeSync } from "node:fs";
import { check, cstr, int, libc } from "./ffi.ts";

const c = libc({
  open: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  syscall: { args: [FFIType.i64_fast, FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
});

/** The same number on x86-64 and arm64. */
const SYS_openat2 = 437;
const O_PATH = 0o10000000;
const O_DIRECTORY = 0o200000;
const O_CLOEXEC = 0o2000000;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_IN_ROOT = 0x10;

/** A path held open, whatever becomes of its name. */
export interface HeldPath extends Disposable {
  readonly fd: number;
  /** Good for this process and its children's parent-relative use: /proc/<pid>/fd/<n>. */
  readonly path: string;
}

/** A directory within `root`, symbolic links taken as if `root` were `/`, so that none leads out of it. @throws SysError, e.g. ENOENT, ENOTDIR */
export function holdDirectoryInRoot(root: string, path: string): HeldPath {
  const rootFd = check(c.open(cstr(root), int(O_PATH | O_DIRECTORY | O_CLOEXEC)), "open", root);
  try {
    const how = Buffer.alloc(24);
    how.writeBigUInt64LE(BigInt(O_PATH | O_DIRECTORY | O_CLOEXEC), 0);
    how.writeBigUInt64LE(BigInt(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), 16);
    const fd = check(c.syscall(SYS_openat2, rootFd, cstr(path), how, how.length), "openat2", path);
    return { fd, path: `/proc/${process.pid}/fd/${fd}`, [Symbol.dispose]: () => closeSync(fd) };
  } finally {
    closeSync(rootFd);
  }
}
