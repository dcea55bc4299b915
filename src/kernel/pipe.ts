import { FFIType } from "bun:ffi";
import { addressOf, check, cstr, errno, int, libc, stable, SysError } from "./ffi.ts";
import { closeFd, O } from "./fs.ts";
import { AF_UNIX, SUN_PATH, unixAddress } from "./socket.ts";

const c = libc({
  open: { args: [FFIType.ptr, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  pipe2: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  socketpair: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  connect: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  listen: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  accept4: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  shutdown: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  send: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i32], returns: FFIType.i64_fast },
  recv: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i32], returns: FFIType.i64_fast },
  recvmsg: { args: [FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i64_fast },
  fcntl: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  read: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  write: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  ioctl: { args: [FFIType.i32, FFIType.u64_fast, FFIType.ptr], returns: FFIType.i32 },
});

const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x40000000;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const FIONREAD = 0x541b;
const EINTR = 4;
const EAGAIN = 11;

/** open(2) of something that exists, close-on-exec. @throws SysError */
export function openFd(path: string, flags: number): number {
  return check(c.open(cstr(path), int(flags | O.CLOEXEC), 0), "open", path);
}

/** A real pipe, both ends close-on-exec. Bun's own `pipe` is a socketpair, on which a container can't open /dev/stdout. @throws SysError */
export function makePipe(): { read: number; write: number } {
  const fds = stable(8);
  check(c.pipe2(fds, O.CLOEXEC), "pipe2");
  return { read: fds.readInt32LE(0), write: fds.readInt32LE(4) };
}

/** Two connected stream sockets, close-on-exec. @throws SysError */
export function makeSocketPair(): [number, number] {
  const fds = stable(8);
  check(c.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "socketpair");
  return [fds.readInt32LE(0), fds.readInt32LE(4)];
}

/** Sets O_NONBLOCK on the description behind `fd`, which was opened with `access` (O.RDONLY, O.WRONLY or O.RDWR). @throws SysError */
export function setNonBlocking(fd: number, access: number): void {
  check(c.fcntl(int(fd), F_SETFL, access | O.NONBLOCK), "fcntl");
}

/** Bytes that were written into a pipe, or have come into a socket, and that nobody has read yet. @throws SysError */
export function bytesWaiting(fd: number): number {
  const count = stable(4);
  check(c.ioctl(int(fd), FIONREAD, count), "ioctl FIONREAD");
  return count.readInt32LE(0);
}

/** One write(2). Returns the bytes taken, 0 where it would block. @throws SysError, e.g. EPIPE */
export function writeFd(fd: number, bytes: Uint8Array): number {
  for (;;) {
    const n = Number(c.write(int(fd), bytes, bytes.length));
    if (n >= 0) return n;
    const code = errno();
    if (code === EAGAIN) return 0;
    if (code !== EINTR) throw new SysError("write", code);
  }
}

/** One read(2). Returns the bytes, empty at the end, undefined where it would block. @throws SysError */
export function readFd(fd: number, size: number): Uint8Array | undefined {
  const buffer = stable(size);
  for (;;) {
    const n = Number(c.read(int(fd), buffer, size));
    if (n >= 0) return buffer.subarray(0, n);
    const code = errno();
    if (code === EAGAIN) return undefined;
    if (code !== EINTR) throw new SysError("read", code);
  }
}

/**
 * sockaddr_un for `directory/name`. sun_path ends at 107 bytes, so a longer path goes through an open directory: `use` runs while that is open.
 */
function withUnixAddress<T>(directory: string, name: string, use: (address: Buffer, length: number) => T): T {
  let path = `${directory}/${name}`;
  let dir = -1;
  if (Buffer.byteLength(path) >= SUN_PATH) {
    dir = openFd(directory, O.PATH | O.DIRECTORY);
    path = `/proc/self/fd/${dir}/${name}`;
  }
  try {
    const address = unixAddress(path);
    return use(address, address.length);
  } finally {
    if (dir >= 0) closeFd(dir);
  }
}

/** Connects a non-blocking SOCK_SEQPACKET socket (conmon's attach socket). @throws SysError ENOENT, ECONNREFUSED */
export function connectSeqpacket(directory: string, name: string): number {
  const fd = check(c.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
  try {
    withUnixAddress(directory, name, (address, length) => check(c.connect(fd, address, length), "connect", `${directory}/${name}`));
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** A listening non-blocking stream socket at `directory/name`. @throws SysError */
export function listenStream(directory: string, name: string): number {
  const fd = check(c.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
  try {
    withUnixAddress(directory, name, (address, length) => check(c.bind(fd, address, length), "bind", `${directory}/${name}`));
    check(c.listen(fd, 1), "listen");
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Takes one waiting connection, or undefined. @throws SysError */
export function acceptSocket(listener: number): number | undefined {
  const fd = c.accept4(int(listener), null, null, SOCK_CLOEXEC);
  if (fd >= 0) return fd;
  const code = errno();
  if (code === EAGAIN || code === EINTR) return undefined;
  throw new SysError("accept4", code);
}

/** Ends our sending side; the peer reads an end of input, its output still comes. @throws SysError */
export function shutdownWrite(socket: number): void {
  check(c.shutdown(int(socket), 1), "shutdown");
}

/** One packet. False where the peer's queue is full: nothing was sent. @throws SysError EPIPE, ECONNRESET */
export function sendPacket(socket: number, packet: Uint8Array): boolean {
  for (;;) {
    if (Number(c.send(int(socket), packet, packet.length, MSG_NOSIGNAL | MSG_DONTWAIT)) >= 0) return true;
    const code = errno();
    if (code === EAGAIN) return false;
    if (code !== EINTR) throw new SysError("send", code);
  }
}

/** Another descriptor of the same, close-on-exec. @throws SysError */
export function duplicateFd(fd: number): number {
  return check(c.fcntl(int(fd), F_DUPFD_CLOEXEC, 0), "fcntl");
}

/** One packet that waits already, into `memory`. Its length; 0 where none waits, or the other side is gone: whoever watches the socket is told. */
export function takePacket(socket: number, memory: Uint8Array): number {
  return Math.max(0, Number(c.recv(int(socket), memory, memory.length, MSG_DONTWAIT)));
}

/** Receives one message with the file descriptor that came along (SCM_RIGHTS), or undefined where none did, or nothing is there yet. @throws SysError */
export function receiveFd(socket: number): number | undefined {
  const header = stable(56);
  const iov = stable(16);
  const data = stable(4096);
  const control = stable(256);
  iov.writeBigUInt64LE(BigInt(addressOf(data)), 0);
  iov.writeBigUInt64LE(BigInt(data.length), 8);
  header.writeBigUInt64LE(BigInt(addressOf(iov)), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(BigInt(addressOf(control)), 32);
  header.writeBigUInt64LE(BigInt(control.length), 40);
  if (Number(c.recvmsg(int(socket), header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)) < 0) {
    const code = errno();
    if (code === EAGAIN) return undefined;
    throw new SysError("recvmsg", code);
  }
  const used = Number(header.readBigUInt64LE(40));
  // cmsghdr: u64 length, i32 level, i32 type, then the descriptors; only the first is expected
  const isRights = used >= 20 && control.readInt32LE(8) === 1 && control.readInt32LE(12) === 1;
  // the buffers are named again so that the collector can't have freed them before the call
  if (iov.length + data.length === 0) return undefined;
  return isRights ? control.readInt32LE(16) : undefined;
}
