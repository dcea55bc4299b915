import { dlopen, FFIType, ptr, read, type FFIFunction } from "bun:ffi";
import { errnoNames } from "./errno.ts";

/**
 * The one door to libc. Each file in kernel/ declares the symbols it needs with `libc({...})`.
 *
 * Rules (measured, Bun 1.4):
 * - pass the Buffer itself for an `FFIType.ptr` argument; never `ptr(temporary)`: the collector may free it before the call;
 * - integer arguments are coerced, not checked (`close(undefined)` closes fd 0): wrap every symbol in a typed function;
 * - addresses inside structures must point into `stable(n)` buffers, since small buffers move.
 */
export function libc<S extends Record<string, FFIFunction>>(symbols: S): ReturnType<typeof dlopen<S>>["symbols"] {
  return dlopen("libc.so.6", symbols).symbols;
}

const base = libc({ __errno_location: { args: [], returns: FFIType.ptr } });

/** errno of the call just made in the same synchronous function. */
export function errno(): number {
  return read.i32(base.__errno_location() as never, 0);
}

/** A failed system call. `code` is the kernel's name (ENOENT, EBUSY…), so that callers match it as they match node's errors. */
export class SysError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;

  constructor(syscall: string, number: number, detail?: string) {
    const known = errnoNames[number];
    super(`${syscall}${detail === undefined ? "" : ` ${detail}`}: ${known === undefined ? `errno ${number}` : `${known[1]} (${known[0]})`}`);
    this.name = "SysError";
    this.syscall = syscall;
    this.errno = number;
    this.code = known?.[0] ?? `E${number}`;
  }
}

/** Returns `result`, or throws SysError with the present errno when it is negative. */
export function check(result: number | bigint, syscall: string, detail?: string): number {
  const n = Number(result);
  if (n < 0) throw new SysError(syscall, errno(), detail);
  return n;
}

/** A NUL-terminated buffer for a `const char *` argument. File names are bytes: pass a Buffer where they may not be UTF-8. */
export function cstr(text: string | Uint8Array): Buffer {
  const bytes = typeof text === "string" ? Buffer.from(text, "utf8") : Buffer.from(text);
  if (bytes.includes(0)) throw new SysError("cstr", 22, JSON.stringify(bytes.toString("utf8")));
  return Buffer.concat([bytes, Buffer.of(0)]);
}

/** A zeroed buffer whose address never moves: for iovec, msghdr and the like. Keep a reference until after the call. */
export function stable(size: number): Buffer {
  return Buffer.from(new ArrayBuffer(size));
}

/** The address of a `stable` buffer, for use inside a structure. */
export function addressOf(buffer: Buffer): number {
  return ptr(buffer);
}

/** Refuses what would be coerced to 0 or truncated on its way to an `i32` argument. */
export function int(value: number): number {
  if (!Number.isInteger(value) || value < -0x80000000 || value > 0xffffffff) throw new TypeError(`not a 32-bit integer: ${value}`);
  return value;
}
