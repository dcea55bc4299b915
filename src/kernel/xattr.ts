import { FFIType } from "bun:ffi";
import { check, cstr, errno, int, libc, SysError } from "./ffi.ts";
import { nameBytes } from "./fs.ts";

const c = libc({
  lsetxattr: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64_fast, FFIType.i32], returns: FFIType.i32 },
  fsetxattr: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.u64_fast, FFIType.i32], returns: FFIType.i32 },
  lgetxattr: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  fgetxattr: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  flistxattr: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
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
  const path = pathOf(dir, name);
  const named = cstr(key);
  return valueOf((buffer) => c.lgetxattr(path, named, buffer, buffer.length), `${key} of ${name}`);
}

/** As getXattrAt, of an open file (not O_PATH). */
export function getXattrFd(fd: number, key: string): Buffer | undefined {
  const named = cstr(key);
  return valueOf((buffer) => c.fgetxattr(int(fd), named, buffer, buffer.length), key);
}

/** Names of the extended attributes of `name` under `dir` itself. */
export function listXattrAt(dir: number, name: string): string[] {
  const path = pathOf(dir, name);
  return keysOf((buffer) => c.llistxattr(path, buffer, buffer.length), name);
}

/** As listXattrAt, of an open file (not O_PATH). */
export function listXattrFd(fd: number): string[] {
  return keysOf((buffer) => c.flistxattr(int(fd), buffer, buffer.length), "");
}

type Call = (buffer: Buffer) => number | bigint;

const ERANGE = 34;

/** What the call wrote: into a small buffer first, into one of the greatest size where that is too small. The code of what went wrong instead. */
function written(call: Call, size: number): Buffer | number {
  const small = Buffer.alloc(size);
  let length = Number(call(small));
  if (length >= 0) return small.subarray(0, length);
  const code = errno();
  if (code !== ERANGE) return code;
  const large = Buffer.alloc(MOST);
  length = Number(call(large));
  if (length >= 0) return Buffer.from(large.subarray(0, length));
  return errno();
}

function valueOf(call: Call, what: string): Buffer | undefined {
  const value = written(call, 256);
  if (typeof value !== "number") return value;
  if (value === ENODATA || value === EOPNOTSUPP) return undefined;
  throw new SysError("getxattr", value, what);
}

function keysOf(call: Call, what: string): string[] {
  const keys = written(call, 1024);
  if (keys === EOPNOTSUPP) return [];
  if (typeof keys === "number") throw new SysError("listxattr", keys, what);
  // nearly every file
  if (keys.length === 0) return [];
  return keys
    .toString("latin1")
    .split("\0")
    .filter((key) => key !== "");
}
