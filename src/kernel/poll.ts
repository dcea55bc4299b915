import { FFIType } from "bun:ffi";
import { int, libc, stable } from "./ffi.ts";

const c = libc({ poll: { args: [FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i32 } });

const POLLIN = 1;
const POLLOUT = 4;
const POLLERR = 8;
const POLLHUP = 16;
const POLLNVAL = 32;
const pollfd = stable(8);

/**
 * Has the peer of a stream socket gone altogether? A half-close (shutdown of its writing side) isn't that. Bun reports both as
 * `end` and nothing afterwards; only the kernel tells them apart: on unix sockets at once, on TCP once the peer's reset has come.
 */
export function hungUp(fd: number): boolean {
  pollfd.writeInt32LE(int(fd), 0);
  pollfd.writeInt16LE(0, 4);
  pollfd.writeInt16LE(0, 6);
  const ready = c.poll(pollfd, 1n, 0);
  return ready > 0 && (pollfd.readInt16LE(6) & (POLLERR | POLLHUP | POLLNVAL)) !== 0;
}

/** Blocks until `fd` can be read from or written to, or has failed, for `milliseconds` at the most: for Workers. */
export function awaitFd(fd: number, direction: "read" | "write", milliseconds: number): boolean {
  pollfd.writeInt32LE(int(fd), 0);
  pollfd.writeInt16LE(direction === "read" ? POLLIN : POLLOUT, 4);
  pollfd.writeInt16LE(0, 6);
  return c.poll(pollfd, 1n, int(milliseconds)) > 0;
}
