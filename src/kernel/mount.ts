import { unlinkSync } from "node:fs";
import { FFIType } from "bun:ffi";
import { check, cstr, errno, int, libc, SysError } from "./ffi.ts";

const c = libc({
  mount: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 },
  umount2: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
});

/** Flags of mount(2). */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  SYNCHRONOUS: 16,
  REMOUNT: 32,
  DIRSYNC: 128,
  NOATIME: 1024,
  NODIRATIME: 2048,
  BIND: 4096,
  REC: 16384,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
  RELATIME: 1 << 21,
  STRICTATIME: 1 << 24,
} as const;

const MNT_DETACH = 2;

const nothing = Buffer.alloc(1);
const EINVAL = 22;
const ENOENT = 2;

/** mount(2). `data` ends at one page, NUL included. @throws SysError */
export function mount(source: string, target: string, type: string, flags = 0, data = ""): void {
  const options = data === "" ? nothing : cstr(data);
  if (options.length > 4096) throw new SysError("mount", 7, `${target}: ${options.length} bytes of options`);
  check(c.mount(cstr(source), cstr(target), cstr(type), flags, options), "mount", `${type} on ${target}`);
}

/** Unmounts. Returns false where nothing is mounted there (EINVAL, ENOENT). @throws SysError, e.g. EBUSY */
export function unmount(target: string, options: { lazy?: boolean } = {}): boolean {
  if (c.umount2(cstr(target), int(options.lazy === true ? MNT_DETACH : 0)) === 0) return true;
  const code = errno();
  if (code === EINVAL || code === ENOENT) return false;
  throw new SysError("umount2", code, target);
}

/**
 * Takes away a file and what is mounted on it. Safe to repeat. Both calls wait for RCU, the second where another mount namespace has a copy of the mount
 * (namespace_unlock in fs/namespace.c): under a millisecond on a quiet machine, 20 ms and more on a busy one.
 */
export function removeMountedFile(path: string): void {
  while (unmount(path, { lazy: true }));
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
  }
}
