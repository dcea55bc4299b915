import { FFIType } from "bun:ffi";
import { check, cstr, errno, int, libc, stable, SysError } from "./ffi.ts";
import { closeFd } from "./fs.ts";

const c = libc({
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  listen: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  connect: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  getsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
  getsockname: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
  setsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  send: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i32], returns: FFIType.i64_fast },
  sendfile: { args: [FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
  sendto: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i64_fast },
  recv: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast, FFIType.i32], returns: FFIType.i64_fast },
});

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_PEEK = 2;
const MSG_NOSIGNAL = 0x4000;
const EAGAIN = 11;
const EINTR = 4;
const EINPROGRESS = 115;
const EALREADY = 114;
const EISCONN = 106;

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

/** A new non-blocking, close-on-exec socket in the calling thread's network namespace. @throws SysError */
export function openSocket(family: number, type: number, protocol = 0): number {
  return check(c.socket(int(family), int(type) | SOCK_CLOEXEC | SOCK_NONBLOCK, int(protocol)), "socket");
}

/** A sockaddr_in or sockaddr_in6 for an address of 4 or 16 bytes. */
export function socketAddress(address: Uint8Array, port: number): Buffer {
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new TypeError(`not a port: ${port}`);
  const v4 = address.length === 4;
  if (!v4 && address.length !== 16) throw new TypeError(`not an address: ${address.length} bytes`);
  const result = Buffer.alloc(v4 ? 16 : 28);
  result.writeUInt16LE(v4 ? AF_INET : AF_INET6, 0);
  result.writeUInt16BE(port, 2);
  result.set(address, v4 ? 4 : 8);
  return result;
}

/** Bytes of sun_path, the NUL at its end among them. */
export const SUN_PATH = 108;

/** A sockaddr_un. @throws SysError for a path of more than 107 bytes */
export function unixAddress(path: string): Buffer {
  return unixName(cstr(path), path);
}

function unixName(name: Uint8Array, path: string): Buffer {
  if (name.length > SUN_PATH) throw new SysError("sockaddr_un", 36, path);
  return Buffer.concat([Buffer.of(AF_UNIX, 0), name]);
}

/** setsockopt with an int. @throws SysError */
export function setOption(fd: number, level: number, option: number, value: number): void {
  const data = Buffer.alloc(4);
  data.writeInt32LE(value);
  check(c.setsockopt(int(fd), int(level), int(option), data, 4), "setsockopt", `${level}/${option}`);
}

/**
 * A socket bound to `address`:`port` (0 = the kernel chooses), listening if it is a stream. An IPv6 socket takes IPv6 only, so that both
 * families can hold one port, unless it is to be for both. @throws SysError, code EADDRINUSE or EADDRNOTAVAIL among others
 */
export function bindSocket(type: "tcp" | "udp", address: Uint8Array, port: number, options: { bothFamilies?: boolean } = {}): number {
  const v6 = address.length === 16;
  const fd = openSocket(v6 ? AF_INET6 : AF_INET, type === "tcp" ? SOCK_STREAM : SOCK_DGRAM);
  try {
    if (v6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.bothFamilies === true ? 0 : 1);
    // without it, connections in TIME_WAIT from an earlier publication would block the port for a minute
    if (type === "tcp") setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    const name = socketAddress(address, port);
    check(c.bind(fd, name, name.length), "bind");
    if (type === "tcp") check(c.listen(fd, 4096), "listen");
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/**
 * connect(2) of a non-blocking socket to a `socketAddress` or `unixAddress`. False while it is under way: ask again until it is true, or, once the
 * socket is writable, `checkConnected`. @throws SysError ECONNREFUSED, ETIMEDOUT and the like
 */
export function connectSocket(fd: number, address: Buffer): boolean {
  if (c.connect(int(fd), address, address.length) === 0) return true;
  const code = errno();
  if (code === EISCONN) return true;
  // EAGAIN is a unix socket's listener whose queue is full
  if ([EINPROGRESS, EALREADY, EAGAIN, EINTR].includes(code)) return false;
  throw new SysError("connect", code);
}

/** What came of a connection that took its time. @throws SysError, e.g. ECONNREFUSED */
export function checkConnected(fd: number): void {
  const value = Buffer.alloc(4);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(4);
  check(c.getsockopt(int(fd), SOL_SOCKET, SO_ERROR, value, length), "getsockopt");
  const code = value.readInt32LE(0);
  if (code !== 0) throw new SysError("connect", code);
}

/** The port a socket is bound to. @throws SysError */
export function boundPort(fd: number): number {
  const name = Buffer.alloc(28);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(28);
  check(c.getsockname(int(fd), name, length), "getsockname");
  return name.readUInt16BE(2);
}

/** Binds a netlink socket and joins multicast groups, by number. @throws SysError */
export function joinNetlinkGroups(fd: number, groups: readonly number[]): void {
  const address = Buffer.alloc(12); // struct sockaddr_nl; port 0: the kernel chooses
  address.writeUInt16LE(AF_NETLINK, 0);
  address.writeUInt32LE(
    groups.reduce((mask, group) => mask | (1 << (group - 1)), 0),
    8,
  );
  check(c.bind(int(fd), address, address.length), "bind", "netlink");
}

/** What the kernel calls a netlink socket in messages; 0 before it is bound or has sent something. @throws SysError */
export function netlinkPort(fd: number): number {
  const name = Buffer.alloc(12);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(12);
  check(c.getsockname(int(fd), name, length), "getsockname");
  return name.readUInt32LE(4);
}

/** Room for that many bytes that wait to be read, beyond the host's usual limit. @throws SysError */
export function setReceiveBuffer(fd: number, size: number): void {
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, size);
}

/** send(2) of the whole buffer as one message. @throws SysError */
export function sendMessage(fd: number, data: Buffer): void {
  for (;;) {
    const sent = Number(c.send(int(fd), data, data.length, 0));
    if (sent >= 0) return;
    const code = errno();
    if (code !== EINTR) throw new SysError("send", code);
  }
}

/**
 * One datagram to the unix socket at `path`; a leading `@` stands for the NUL of the abstract name space, as in sd_notify(3). Never blocks.
 * @throws SysError, among others ECONNREFUSED and ENOENT where nobody listens
 */
export function sendToUnix(path: string, data: Buffer): void {
  const address = path.startsWith("@") ? unixName(Buffer.from(`\0${path.slice(1)}`), path) : unixAddress(path);
  const fd = openSocket(AF_UNIX, SOCK_DGRAM);
  try {
    check(Number(c.sendto(fd, data, data.length, 0, address, address.length)), "sendto", path);
  } finally {
    closeFd(fd);
  }
}

/** One message into `into`, of a stream what has come: its length (0 at a stream's end), or undefined where nothing waits. Never blocks. @throws SysError */
export function receiveMessage(fd: number, into: Buffer): number | undefined {
  for (;;) {
    const n = Number(c.recv(int(fd), into, into.length, MSG_DONTWAIT));
    if (n >= 0) return n;
    const code = errno();
    if (code === EAGAIN) return undefined;
    if (code !== EINTR) throw new SysError("recv", code);
  }
}

/** Room for that many bytes that wait to be sent, beyond the host's usual limit. @throws SysError */
export function setSendBuffer(fd: number, size: number): void {
  setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, size);
}

/** As much room as the host allows anybody (twice net.core.wmem_max), which is twice what a socket has. @throws SysError */
export function widenSendBuffer(fd: number): void {
  setOption(fd, SOL_SOCKET, SO_SNDBUF, 0x7fffffff);
}

/** Bytes that the kernel took: of a stream perhaps a part, of a datagram all; 0 where it would block. @throws SysError EPIPE, ECONNREFUSED, EMSGSIZE … */
export function sendSome(fd: number, data: Uint8Array): number {
  for (;;) {
    const sent = Number(c.send(int(fd), data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL));
    if (sent >= 0) return sent;
    const code = errno();
    if (code === EAGAIN) return 0;
    if (code !== EINTR) throw new SysError("send", code);
  }
}

const position = stable(8);

/**
 * Bytes of a file at `offset` that the kernel took for a stream, without a copy of them: 0 at the file's end, undefined where it would block. The descriptor itself says whether it
 * blocks. What the file gets before the peer has read it may be what the peer sees. @throws SysError EPIPE, ECONNRESET; EINVAL where the file system can't
 */
export function sendFile(fd: number, file: number, offset: number, length: number): number | undefined {
  for (;;) {
    position.writeBigInt64LE(BigInt(offset));
    const sent = Number(c.sendfile(int(fd), int(file), position, length));
    if (sent >= 0) return sent;
    const code = errno();
    if (code === EAGAIN) return undefined;
    if (code !== EINTR) throw new SysError("sendfile", code);
  }
}

const peeked = stable(8);

/** The peer of a stream has closed its side, or is gone. */
export function isClosedByPeer(fd: number): boolean {
  const n = Number(c.recv(int(fd), peeked, 1, MSG_PEEK | MSG_DONTWAIT));
  return n === 0 || (n < 0 && errno() !== EAGAIN && errno() !== EINTR);
}
