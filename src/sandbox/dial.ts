import type { NamespaceDoor } from "../kernel/namespace.ts";
import type { Readiness } from "../kernel/epoll.ts";
import { closeFd, O } from "../kernel/fs.ts";
import { openFd, readFd, writeFd } from "../kernel/pipe.ts";
import { checkConnected, connectSocket, socketAddress, SOCK_STREAM } from "../kernel/socket.ts";

const readSize = 8 << 10;

/** A TCP connection from inside a network namespace, made and used without any process there. */
export interface Connection extends Disposable {
  /** @throws SysError where the other side is gone */
  send(bytes: Uint8Array): Promise<void>;
  /** What has come; empty at the end. @throws SysError */
  receive(): Promise<Uint8Array>;
}

/**
 * Connects from the network namespace of process `pid`. The socket belongs to that namespace by its making, so that the visit is one system call long; what
 * follows is done from outside, never blocking. An aborted `signal` closes it at once and leaves what was awaited pending.
 * @throws SysError, e.g. code ECONNREFUSED
 */
export async function dial(
  { door, readiness }: { door: NamespaceDoor; readiness: Readiness },
  pid: number,
  address: Uint8Array,
  port: number,
  signal: AbortSignal,
): Promise<Connection> {
  const namespace = openFd(`/proc/${pid}/ns/net`, O.RDONLY);
  let fd: number;
  try {
    fd = door.socket(namespace, address.length === 4 ? "ipv4" : "ipv6", SOCK_STREAM);
  } finally {
    closeFd(namespace);
  }
  const close = (): void => {
    signal.removeEventListener("abort", close);
    if (fd < 0) return;
    readiness.abandon(fd);
    closeFd(fd);
    fd = -1;
  };
  signal.addEventListener("abort", close, { once: true });
  try {
    if (!connectSocket(fd, socketAddress(address, port))) {
      await readiness.wait(fd, "write");
      checkConnected(fd);
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    send: async (bytes) => {
      for (let offset = 0; offset < bytes.length;) {
        const sent = writeFd(fd, bytes.subarray(offset));
        offset += sent;
        if (sent === 0) await readiness.wait(fd, "write");
      }
    },
    receive: async () => {
      for (;;) {
        const chunk = readFd(fd, readSize);
        if (chunk !== undefined) return chunk;
        await readiness.wait(fd);
      }
    },
    [Symbol.dispose]: close,
  };
}
