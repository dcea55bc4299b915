import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from "node:fs";
import { FFIType } from "bun:ffi";
import { cstr, errno, libc, SysError } from "./ffi.ts";
import { closeFd } from "./fs.ts";
import { MS, mount } from "./mount.ts";
import { AF_INET, AF_INET6, AF_NETLINK, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM, socketAddress } from "./socket.ts";
import { NETLINK_NETFILTER, NETLINK_ROUTE } from "./netlink.ts";

const c = libc({
  unshare: { args: [FFIType.i32], returns: FFIType.i32 },
  setns: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  setsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  listen: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  open: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  write: { args: [FFIType.i32, FFIType.ptr, FFIType.u64_fast], returns: FFIType.i64_fast },
});

const CLONE_NEWNET = 0x40000000;
const SOCK_FLAGS = 0o2000000 | 0o4000; // CLOEXEC, NONBLOCK
const O_RDONLY_CLOEXEC = 0o2000000;
const O_WRONLY_CLOEXEC = 1 | 0o2000000;

const ownNamespace = cstr("/proc/thread-self/ns/net");

/**
 * A thread's visits to other network namespaces.
 *
 * A thread that Bun starts while the one that starts it is away stays in the container's namespace for ever (pool, HTTP client, JIT), and would send the
 * engine's own traffic from there. So between leaving and coming back only ffi calls run, on buffers made before: no node or Bun API, no await.
 * Netlink sockets keep the namespace they were opened in, so most work needs no visit but the one that opens the socket.
 */
export interface NamespaceDoor extends Disposable {
  /** A new namespace, held by the first fd alone, and an rtnetlink socket into it. @throws SysError */
  create(): { namespace: number; routeSocket: number };
  /** A netlink socket inside the namespace that `fd` refers to. @throws SysError */
  netlinkSocket(fd: number, protocol: "route" | "netfilter"): number;
  /** UDP and TCP (listening) sockets bound inside to `address`; port 0 lets the kernel choose. @throws SysError */
  boundSockets(fd: number, address: Uint8Array, ports: { udp: number; tcp: number }): { udp: number; tcp: number };
  /** A socket of SOCK_STREAM or SOCK_DGRAM that belongs to the namespace for as long as it lives: it is used from outside. @throws SysError */
  socket(fd: number, family: "ipv4" | "ipv6", type: number): number;
  /** Writes /proc/sys files as seen from inside: absent files are passed over. Returns how many were written. @throws SysError on other failures */
  writeSysctls(fd: number, settings: readonly { path: string; value: string }[]): number;
}

export function openNamespaceDoor(): NamespaceDoor {
  // not the process's, which is its first thread's: that may be away
  const home = openSync("/proc/thread-self/ns/net", "r");

  const leave = (): void => {
    // staying would send everything from a container's network: better dead, containers live on
    if (c.setns(home, CLONE_NEWNET) !== 0) process.abort();
  };

  const socketInside = (namespace: number, family: number, type: number, protocol: number, what: string): number => {
    if (c.setns(namespace, CLONE_NEWNET) !== 0) throw new SysError("setns", errno());
    const socket = c.socket(family, type | SOCK_FLAGS, protocol);
    const failed = socket < 0 ? errno() : 0;
    leave();
    if (failed !== 0) throw new SysError("socket", failed, what);
    return socket;
  };

  return {
    create() {
      let call = "unshare";
      let failed = 0;
      let namespace = -1;
      let routeSocket = -1;
      if (c.unshare(CLONE_NEWNET) !== 0) failed = errno();
      else {
        namespace = c.open(ownNamespace, O_RDONLY_CLOEXEC);
        if (namespace < 0) {
          failed = errno();
          call = "open";
        } else {
          routeSocket = c.socket(AF_NETLINK, SOCK_RAW | SOCK_FLAGS, NETLINK_ROUTE);
          if (routeSocket < 0) failed = errno();
          call = "socket";
        }
        leave();
      }
      if (failed !== 0) {
        if (namespace >= 0) closeFd(namespace);
        throw new SysError(call, failed, "a new network namespace");
      }
      return { namespace, routeSocket };
    },

    netlinkSocket: (fd, protocol) => socketInside(fd, AF_NETLINK, SOCK_RAW, protocol === "route" ? NETLINK_ROUTE : NETLINK_NETFILTER, `netlink ${protocol}`),

    boundSockets(fd, address, ports) {
      const family = address.length === 4 ? AF_INET : AF_INET6;
      const udpName = socketAddress(address, ports.udp);
      const tcpName = socketAddress(address, ports.tcp);
      const length = udpName.length;
      const one = Buffer.of(1, 0, 0, 0);
      if (c.setns(fd, CLONE_NEWNET) !== 0) throw new SysError("setns", errno());
      const udp = c.socket(family, SOCK_DGRAM | SOCK_FLAGS, 0);
      const tcp = c.socket(family, SOCK_STREAM | SOCK_FLAGS, 0);
      // SOL_SOCKET, SO_REUSEADDR: a port that comes back after a restart may have connections in TIME_WAIT
      if (tcp >= 0) c.setsockopt(tcp, 1, 2, one, 4);
      let failed = 0;
      if (udp < 0 || tcp < 0 || c.bind(udp, udpName, length) !== 0 || c.bind(tcp, tcpName, length) !== 0 || c.listen(tcp, 64) !== 0) failed = errno();
      leave();
      if (failed !== 0) {
        if (udp >= 0) closeFd(udp);
        if (tcp >= 0) closeFd(tcp);
        throw new SysError("bind", failed, `${[...address].join(".")} inside a namespace`);
      }
      return { udp, tcp };
    },

    socket: (fd, family, type) => socketInside(fd, family === "ipv4" ? AF_INET : AF_INET6, type, 0, family),

    writeSysctls(fd, settings) {
      const paths = settings.map((s) => cstr(s.path));
      const values = settings.map((s) => Buffer.from(s.value));
      const codes = new Int32Array(settings.length);
      if (c.setns(fd, CLONE_NEWNET) !== 0) throw new SysError("setns", errno());
      for (let i = 0; i < paths.length; i++) {
        const file = c.open(paths[i]!, O_WRONLY_CLOEXEC);
        if (file < 0) codes[i] = errno();
        else {
          if (Number(c.write(file, values[i]!, values[i]!.length)) < 0) codes[i] = errno();
          closeFd(file);
        }
      }
      leave();
      let written = 0;
      codes.forEach((code, i) => {
        if (code === 0) written++;
        else if (code !== 2) throw new SysError("write", code, settings[i]?.path);
      });
      return written;
    },

    [Symbol.dispose]() {
      closeSync(home);
    },
  };
}

/** Gives a namespace a name: a bind mount on the new file `path`, which keeps it alive. @throws SysError, EEXIST where the file is there */
export function nameNamespace(namespace: number, path: string): void {
  closeSync(openSync(path, "wx", 0o444));
  try {
    mount(`/proc/self/fd/${namespace}`, path, "none", MS.BIND);
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

/**
 * What a /proc/sys file says in the main thread's own namespace. Undefined where it isn't there: its module isn't loaded, its link has gone.
 * @throws node's error on other failures
 */
export function readSysctl(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes a /proc/sys file of the main thread's own namespace. */
export function writeSysctl(path: string, value: string): void {
  const fd = openSync(path, "w");
  try {
    writeSync(fd, value);
  } finally {
    closeSync(fd);
  }
}
