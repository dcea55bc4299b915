import { FFIType } from "bun:ffi";
import { check, cstr, errno, int, libc, SysError } from "./ffi.ts";
import { nameBytes } from "./fs.ts";

const c = libc({
  lsetxattr: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64_fast, FFIType.i32], returns: FFIType.i32 },
  fsetxattr: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.u64_fast, FFIType.i32], returns: FFIType.i32 },
  lgetxattr: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  llistxattr: { args: [FFIType.ptr, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
});

const ENODATA = 61;
const EOPNOTSUPP = 95;
/** XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h. */
const MOST = 65536;

/** Marks a directory that hides what lies under it. */
export const OPAQUE = "trusted.overlay.opaque";

/**
 * There is no `*xattrat` before Linux 6.13, so the name is reached through the directory's descriptor: `/proc/self/fd/N/name`, whose last part the
 * `l` calls don't follow.
 */
function pathOf(dir: number, name: string): Buffer {
  return nameBytes(name === "" ? `/proc/self/fd/${int(dir)}/.` : `/proc/self/fd/${int(dir)}/${name}`);
}

/** An empty Uint8Array has no address that FFI could take. */
function addressable(value: Uint8Array): Uint8Array {
  return value.length === 0 ? Buffer.alloc(1) : value;
}

/** Of `name` under `dir` itself, or of `dir` for the empty name. */
export function setXattrAt(dir: number, name: string, key: string, value: Uint8Array): void {
  check(c.lsetxattr(pathOf(dir, name), cstr(key), addressable(value), value.length, 0), "lsetxattr", `${key} of ${name}`);
}

/** Of an open file. */
export function setXattrFd(fd: number, key: string, value: Uint8Array): void {
  check(c.fsetxattr(int(fd), cstr(key), addressable(value), value.length, 0), "fsetxattr", key);
}

/** Undefined where it isn't set, or the file system has none. */
export function getXattrAt(dir: number, name: string, key: string): Buffer | undefined {
  const small = Buffer.alloc(256);
  const path = pathOf(dir, name);
  let length = Number(c.lgetxattr(path, cstr(key), small, small.length));
  if (length >= 0) return small.subarray(0, length);
  let code = errno();
  if (code === 34) {
    const large = Buffer.alloc(MOST);
    length = Number(c.lgetxattr(path, cstr(key), large, large.length));
    if (length >= 0) return Buffer.from(large.subarray(0, length));
    code = errno();
  }
  if (code === ENODATA || code === EOPNOTSUPP) return undefined;
  throw new SysError("lgetxattr", code, `${key} of ${name}`);
}

/** Names of the extended attributes of `name` under `dir` itself. */
export function listXattrAt(dir: number, name: string): string[] {
  const path = pathOf(dir, name);
  let buffer = Buffer.alloc(1024);
  let length = Number(c.llistxattr(path, buffer, buffer.length));
  if (length < 0 && errno() === 34) {
    buffer = Buffer.alloc(MOST);
    length = Number(c.llistxattr(path, buffer, buffer.length));
  }
  if (length < 0) {
    const code = errno();
    if (code === EOPNOTSUPP) return [];
    throw new SysError("llistxattr", code, name);
  }
  return buffer
    .toString("latin1", 0, length)
    .split("\0")
    .filter((key) => key !== "");
}
