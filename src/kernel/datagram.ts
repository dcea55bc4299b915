import { FFIType } from "bun:ffi";
import { check, errno, int, libc, stable, SysError } from "./ffi.ts";

const c = libc({
  recvfrom: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i64_fast },
  sendto: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i64_fast },
  ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.i64_fast], returns: FFIType.i32 },
});

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EAGAIN = 11;
const EINTR = 4;
/** An fd of the network namespace that a socket belongs to (Linux 4.10). */
const SIOCGSKNS = 0x894c;
const NAME_SIZE = 28;

/** Where a datagram came from, as the kernel writes it: good for sending back, and nothing else. */
export type PeerName = Buffer;

const nameLength = stable(4);
const peer = stable(NAME_SIZE);

/** One datagram that waits, into `into`, and who sent it; undefined where none waits. What doesn't fit is cut off. @throws SysError, e.g. ECONNREFUSED */
export function receiveFrom(fd: number, into: Buffer): { length: number; from: PeerName } | undefined {
  for (;;) {
    nameLength.writeUInt32LE(NAME_SIZE);
    const length = Number(c.recvfrom(int(fd), into, into.length, MSG_DONTWAIT, peer, nameLength));
    if (length >= 0) return { length, from: Buffer.from(peer.subarray(0, nameLength.readUInt32LE())) };
    const code = errno();
    if (code === EAGAIN) return undefined;
    if (code !== EINTR) throw new SysError("recvfrom", code);
  }
}

/** Sends one datagram. False where the kernel didn't take it: a queue that is full, a peer that is gone. */
export function sendTo(fd: number, data: Uint8Array, to: PeerName): boolean {
  return Number(c.sendto(int(fd), data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL, to, to.length)) >= 0;
}

/** A descriptor of the network namespace in which `socket` was made. @throws SysError */
export function namespaceOfSocket(socket: number): number {
  return check(c.ioctl(int(socket), SIOCGSKNS, 0), "ioctl SIOCGSKNS");
}
