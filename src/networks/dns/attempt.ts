import { readFileSync } from "node:fs";
import { closeFd } from "../../kernel/fs.ts";
import { checkConnected, connectSocket, receiveMessage, sendSome, SOCK_DGRAM, SOCK_STREAM, socketAddress } from "../../kernel/socket.ts";
import { bytesOf, parseAddress } from "../../lib/address.ts";
import type { Loop } from "./loop.ts";
import { framed } from "./message.ts";

/** One question to one server. */
export interface Attempt extends Disposable {
  /** Sends it once more, where that may help. */
  again(): void;
}

/** Opens a socket in the network from which the servers are asked. @throws SysError */
export type OpenSocket = (family: "ipv4" | "ipv6", type: number) => number;

export interface Ask {
  loop: Loop;
  open: OpenSocket;
  /** `address` or, of a link, `address%interface`. */
  server: string;
  port: number;
  question: Buffer;
  /** Takes a response if it is the one. */
  accepts(reply: Buffer): boolean;
  /** Undefined where the server can't be reached or says something else; called once, never before `attempt` has returned. */
  done(reply: Buffer | undefined): void;
}

const SCOPE_AT = 24; // sockaddr_in6's sin6_scope_id

/** @throws SysError, or Error where the text is no address */
function nameOf(server: string, port: number): { family: "ipv4" | "ipv6"; name: Buffer } {
  const [text = "", link] = server.split("%");
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`no address: ${server}`);
  const name = socketAddress(bytesOf(address), port);
  if (address.family === 6 && link !== undefined) name.writeUInt32LE(indexOf(link), SCOPE_AT);
  return { family: address.family === 4 ? "ipv4" : "ipv6", name };
}

const indexOf = (link: string): number => Number(/^\d+$/.test(link) ? link : readFileSync(`/sys/class/net/${link.replaceAll("/", "")}/ifindex`, "utf8"));

/** Starts an attempt. @throws SysError where the server can't be reached at all, and nothing is left */
export function attempt(protocol: "udp" | "tcp", ask: Ask): Attempt {
  const { family, name } = nameOf(ask.server, ask.port);
  const fd = ask.open(family, protocol === "udp" ? SOCK_DGRAM : SOCK_STREAM);
  try {
    return protocol === "udp" ? overUdp(fd, name, ask) : overTcp(fd, name, ask);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** A connected socket: the kernel passes nothing but what comes from the server, and says when nobody listens there. */
function overUdp(fd: number, name: Buffer, { loop, question, accepts, done }: Ask): Attempt {
  connectSocket(fd, name);
  sendSome(fd, question);
  const watch = loop.poller.watch(fd, "read", () => {
    let length: number | undefined;
    try {
      length = receiveMessage(fd, loop.scratch);
    } catch {
      return done(undefined); // ECONNREFUSED, EHOSTUNREACH: an ICMP message came
    }
    if (length === undefined) return;
    const reply = Buffer.from(loop.scratch.subarray(0, length));
    if (accepts(reply)) done(reply);
  });
  return { again: () => void trySend(fd, question), [Symbol.dispose]: () => close(fd, watch) };
}

function trySend(fd: number, bytes: Uint8Array): boolean {
  try {
    return sendSome(fd, bytes) === bytes.length;
  } catch {
    return false;
  }
}

function overTcp(fd: number, name: Buffer, { loop, question, accepts, done }: Ask): Attempt {
  connectSocket(fd, name);
  let connected = false;
  let received = Buffer.alloc(0);
  const whole = (): Buffer | undefined => {
    if (received.length < 2) return undefined;
    const end = 2 + received.readUInt16BE(0);
    return received.length < end ? undefined : received.subarray(2, end);
  };
  const watch = loop.poller.watch(fd, "write", () => {
    try {
      if (!connected) {
        checkConnected(fd);
        connected = true;
        // a question fits into the empty buffer of a new connection
        if (!trySend(fd, framed(question))) return done(undefined);
        return watch.want("read");
      }
      const length = receiveMessage(fd, loop.scratch);
      if (length === undefined) return;
      if (length === 0) return done(undefined);
      received = Buffer.concat([received, loop.scratch.subarray(0, length)]);
      const reply = whole();
      if (reply !== undefined) done(accepts(reply) ? reply : undefined);
    } catch {
      done(undefined);
    }
  });
  return { again: () => {}, [Symbol.dispose]: () => close(fd, watch) };
}

function close(fd: number, watch: Disposable): void {
  watch[Symbol.dispose]();
  closeFd(fd);
}
