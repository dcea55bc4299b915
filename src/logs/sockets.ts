import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { closeFd } from "../kernel/fs.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  connectSocket,
  isClosedByPeer,
  openSocket,
  sendSome,
  setSendBuffer,
  SOCK_DGRAM,
  SOCK_STREAM,
  socketAddress,
  unixAddress,
} from "../kernel/socket.ts";
import { bytesOf, parseAddress } from "../lib/address.ts";
import type { Sink } from "./sink.ts";

export type SocketTarget = { kind: "unix" | "unixgram"; path: string } | { kind: "udp" | "tcp"; host: string; port: number };

const connectMs = 10_000;
/** Larger than any message, so that none is refused for its size. */
const datagramBuffer = 8 << 20;

/**
 * The plain ways out: sockets of our own, since whoever counts must know what the kernel has taken: bytes that it has will arrive also when the
 * engine is killed right then, bytes in a buffer of a library won't. Several targets: the first that answers.
 */
export function socketSink(targets: readonly SocketTarget[], format: Sink["format"]): Sink {
  let fd = -1;
  let isStream = false;
  let current: SocketTarget | undefined;
  const close = (): void => {
    if (fd >= 0) closeFd(fd);
    fd = -1;
  };
  return {
    format,
    isDirect: true,
    get isStream() {
      return isStream;
    },
    target: targets.map(nameOf).join(", "),
    async connect(signal) {
      close();
      let failure: unknown;
      for (const target of targets) {
        try {
          fd = await open(target, signal);
          current = target;
          isStream = target.kind === "tcp" || target.kind === "unix";
          return;
        } catch (error) {
          failure = error;
        }
      }
      throw failure;
    },
    send(message) {
      try {
        // a peer that has closed takes one more message without a word, and loses it
        if (isStream && isClosedByPeer(fd)) throw new Error("the other side has closed the connection");
        return isStream ? sendSome(fd, message) : sendDatagram(fd, message, current?.kind === "udp");
      } catch (error) {
        close();
        throw error;
      }
    },
    [Symbol.asyncDispose]: async () => close(),
  };
}

function nameOf(target: SocketTarget): string {
  return "path" in target
    ? `${target.kind}://${target.path}`
    : `${target.kind}://${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
}

async function open(target: SocketTarget, signal: AbortSignal): Promise<number> {
  const type = target.kind === "tcp" || target.kind === "unix" ? SOCK_STREAM : SOCK_DGRAM;
  const { family, address } = "path" in target ? { family: AF_UNIX, address: unixAddress(target.path) } : await inetAddress(target.host, target.port);
  const fd = openSocket(family, type);
  try {
    if (type === SOCK_DGRAM) setSendBuffer(fd, datagramBuffer);
    const begun = performance.now();
    for (let wait = 1; !connectSocket(fd, address); wait = Math.min(wait * 2, 50)) {
      if (performance.now() - begun > connectMs) throw new Error("connect: timed out");
      signal.throwIfAborted();
      await Bun.sleep(wait);
    }
    return fd;
  } catch (error) {
    closeFd(fd);
    throw new Error(`dial ${nameOf(target)}: ${(error as Error).message}`, { cause: error });
  }
}

async function inetAddress(host: string, port: number): Promise<{ family: number; address: Buffer }> {
  const text = isIP(host) === 0 ? (await lookup(host)).address : host;
  const address = parseAddress(text.replace(/%.*$/, ""));
  if (address === undefined) throw new Error(`${text} is no address`);
  return { family: address.family === 6 ? AF_INET6 : AF_INET, address: socketAddress(bytesOf(address), port) };
}

/** All or nothing. A refusal on UDP tells of an earlier datagram, and this one wasn't sent: once more, then it is UDP's loss. */
function sendDatagram(fd: number, message: Buffer, isUdp: boolean): number {
  for (let tries = 0; ; tries++) {
    try {
      return sendSome(fd, message);
    } catch (error) {
      const { code } = error as { code?: string };
      if (!isUdp || (code !== "ECONNREFUSED" && code !== "EMSGSIZE")) throw error;
      if (tries > 0 || code === "EMSGSIZE") return message.length;
    }
  }
}
