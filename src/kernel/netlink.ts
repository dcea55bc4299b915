import { AF_NETLINK, joinNetlinkGroups, netlinkPort, openSocket, receiveMessage, sendMessage, setOption, setSendBuffer, SOCK_RAW } from "./socket.ts";
import { settleCarrier } from "./carrier.ts";
import { closeFd } from "./fs.ts";
import { SysError } from "./ffi.ts";
import { createPause } from "../lib/turns.ts";

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const NLM_F_REQUEST = 1;
export const NLM_F_ACK = 4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const headerSize = 16;

/** One netlink message; its sequence number is set when it is sent. `label` names the attempt in errors. */
export interface NetlinkMessage {
  label: string;
  bytes: Buffer;
}

const align = (n: number): number => (n + 3) & ~3;

/** One attribute, padded to 4 bytes. */
export function attribute(type: number, data: Uint8Array): Buffer {
  const result = Buffer.alloc(align(4 + data.length));
  result.writeUInt16LE(4 + data.length, 0);
  result.writeUInt16LE(type, 2);
  result.set(data, 4);
  return result;
}

export function nested(type: number, ...attributes: Uint8Array[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(attributes));
}

/** A NUL-terminated string, as names of links and sets are sent. */
export function text(type: number, value: string): Buffer {
  return attribute(type, Buffer.from(`${value}\0`, "utf8"));
}

export function u8(type: number, value: number): Buffer {
  return attribute(type, Uint8Array.of(value));
}

export function u16be(type: number, value: number): Buffer {
  const data = Buffer.alloc(2);
  data.writeUInt16BE(value);
  return attribute(type, data);
}

/** In the machine's order (both our architectures are little-endian). */
export function u16(type: number, value: number): Buffer {
  const data = Buffer.alloc(2);
  data.writeUInt16LE(value);
  return attribute(type, data);
}

/** In the machine's order, too. */
export function u32(type: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32LE(value >>> 0);
  return attribute(type, data);
}

/** Network order, as nfnetlink wants its integers. */
export function u32be(type: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32BE(value >>> 0);
  return attribute(type, data);
}

/** A whole message: header, then `parts`. NLM_F_REQUEST is always set. */
export function message(label: string, type: number, flags: number, ...parts: Uint8Array[]): NetlinkMessage {
  const bytes = Buffer.concat([Buffer.alloc(headerSize), ...parts]);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(flags | NLM_F_REQUEST, 6);
  return { label, bytes };
}

/** Attributes by type; of several with one type the last. Nested ones are parsed by calling this on their data. */
export function parseAttributes(data: Buffer, from = 0): Map<number, Buffer> {
  const result = new Map<number, Buffer>();
  for (let at = from; at + 4 <= data.length;) {
    const length = data.readUInt16LE(at);
    if (length < 4 || at + length > data.length) break;
    result.set(data.readUInt16LE(at + 2) & NLA_TYPE_MASK, data.subarray(at + 4, at + length));
    at += align(length);
  }
  return result;
}

interface Reply {
  type: number;
  sequence: number;
  flags: number;
  /** The socket it answers, or whose change it tells of. */
  port: number;
  payload: Buffer;
}

/** The messages of one datagram. */
export function* replies(data: Buffer): Generator<Reply> {
  for (let at = 0; at + headerSize <= data.length;) {
    const length = data.readUInt32LE(at);
    if (length < headerSize || at + length > data.length) return;
    yield {
      type: data.readUInt16LE(at + 4),
      flags: data.readUInt16LE(at + 6),
      sequence: data.readUInt32LE(at + 8),
      port: data.readUInt32LE(at + 12),
      payload: data.subarray(at + headerSize, at + length),
    };
    at += align(length);
  }
}

/** The error an NLMSG_ERROR or NLMSG_DONE carries, with the kernel's own sentence where it gives one. */
function errorOf(reply: Reply, label: string): SysError | undefined {
  const code = -reply.payload.readInt32LE(0);
  if (code === 0) return undefined;
  let detail = label;
  if (reply.type === NLMSG_ERROR && (reply.flags & NLM_F_ACK_TLVS) !== 0) {
    const said = parseAttributes(reply.payload, 4 + headerSize).get(NLMSGERR_ATTR_MSG);
    if (said !== undefined) detail += ` (${said.toString("utf8").replace(/\0+$/, "")})`;
  }
  return new SysError("netlink", code, detail);
}

/**
 * A netlink socket. It talks to the network namespace it was opened in, wherever the thread is later: so a namespace is configured from
 * the host's side of the fence. The kernel answers within send(2), hence nothing here waits.
 */
export class NetlinkSocket implements Disposable {
  readonly fd: number;
  #sequence = 1;
  #closed = false;
  /** Bytes that a packet may surely have: half of net.core.wmem_default, as it is everywhere. */
  #sendRoom = 106_496;

  /** Takes over `fd`. */
  constructor(fd: number) {
    this.fd = fd;
    setOption(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
    setOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  }

  static open(protocol: number): NetlinkSocket {
    return new NetlinkSocket(openSocket(AF_NETLINK, SOCK_RAW, protocol));
  }

  /** Lists are of what was asked for alone: else rtnetlink gives the addresses of all links and the routes of all tables (Linux 4.20). */
  filterLists(): void {
    setOption(this.fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  }

  /** The name under which the kernel tells others of this socket's changes. */
  get port(): number {
    // the first message would bind it, too
    if (netlinkPort(this.fd) === 0) joinNetlinkGroups(this.fd, []);
    return netlinkPort(this.fd);
  }

  /** Sends `messages` (each must ask for an ack) in one system call and counts the acks. All are tried. @throws SysError the first failure */
  request(...messages: NetlinkMessage[]): void {
    if (messages.length === 0) return; // the kernel would say ENODATA (netlink_sendmsg)
    const first = this.#number(messages);
    sendMessage(this.fd, Buffer.concat(messages.map((m) => m.bytes)));
    const buffer = Buffer.allocUnsafe(1024);
    let open = messages.length;
    let failure: SysError | undefined;
    while (open > 0) {
      const n = receiveMessage(this.fd, buffer);
      if (n === undefined) throw failure ?? new SysError("netlink", 61, `${messages[0]?.label}: ${open} acknowledgements missing`);
      for (const reply of replies(buffer.subarray(0, n))) {
        const sent = messages[reply.sequence - first];
        if (reply.type !== NLMSG_ERROR || sent === undefined) continue;
        open--;
        failure ??= errorOf(reply, sent.label);
      }
    }
    if (failure !== undefined) throw failure;
  }

  /** Sends one nfnetlink batch; its last message must ask for an ack. It is all or nothing. @throws SysError the first failure */
  batch(messages: NetlinkMessage[]): void {
    const first = this.#number(messages);
    const bytes = Buffer.concat(messages.map((m) => m.bytes));
    // a batch is one packet, whatever its size; the kernel counts its own overhead too
    if (bytes.length * 2 > this.#sendRoom) setSendBuffer(this.fd, (this.#sendRoom = bytes.length * 2));
    sendMessage(this.fd, bytes);
    const buffer = Buffer.allocUnsafe(4096);
    let answered = false;
    let failure: SysError | undefined;
    for (let n = receiveMessage(this.fd, buffer); n !== undefined; n = receiveMessage(this.fd, buffer)) {
      for (const reply of replies(buffer.subarray(0, n))) {
        if (reply.type !== NLMSG_ERROR) continue;
        answered = true;
        failure ??= errorOf(reply, messages[reply.sequence - first]?.label ?? "batch");
      }
    }
    if (failure !== undefined) throw failure;
    if (!answered) throw new SysError("netlink", 61, `${messages[1]?.label}: no acknowledgement`);
  }

  /** One question whose answer is one message: its payload. @throws SysError */
  query(question: NetlinkMessage): Buffer {
    this.#number([question]);
    sendMessage(this.fd, question.bytes);
    const buffer = Buffer.alloc(16384);
    const n = receiveMessage(this.fd, buffer);
    for (const reply of n === undefined ? [] : replies(buffer.subarray(0, n))) {
      if (reply.type !== NLMSG_ERROR) return reply.payload;
      const failure = errorOf(reply, question.label);
      if (failure !== undefined) throw failure;
    }
    throw new SysError("netlink", 61, question.label);
  }

  /** A dump: the payload of each message of the answer. @throws SysError */
  dump(question: NetlinkMessage): Buffer[] {
    return [...this.#answers(question)].flat();
  }

  /** The same, each message parsed, in turns with everything else: the socket is to have no other use meanwhile. @throws SysError */
  async dumpInTurns<T>(question: NetlinkMessage, parse: (payload: Buffer) => T): Promise<T[]> {
    const pause = createPause();
    const result: T[] = [];
    for (const payloads of this.#answers(question)) {
      for (const payload of payloads) {
        result.push(parse(payload));
        await pause();
      }
    }
    return result;
  }

  /** The payloads of a dump's messages, a datagram at a time: that is some twenty links. */
  *#answers(question: NetlinkMessage): Generator<Buffer[], void> {
    this.#number([question]);
    sendMessage(this.fd, question.bytes);
    for (;;) {
      const payloads: Buffer[] = [];
      const buffer = Buffer.alloc(65536);
      const n = receiveMessage(this.fd, buffer);
      if (n === undefined) throw new SysError("netlink", 61, `${question.label}: the answer ends early`);
      for (const reply of replies(buffer.subarray(0, n))) {
        if (reply.type === NLMSG_ERROR || reply.type === NLMSG_DONE) {
          const failure = reply.payload.length >= 4 ? errorOf(reply, question.label) : undefined;
          if (failure !== undefined) throw failure;
          yield payloads;
          return;
        }
        payloads.push(reply.payload);
      }
      yield payloads;
    }
  }

  /** carrier.ts, for links of the socket's namespace. */
  settleCarriers(...names: string[]): void {
    for (const name of names) settleCarrier(this.fd, name);
  }

  #number(messages: NetlinkMessage[]): number {
    const first = this.#sequence;
    for (const m of messages) m.bytes.writeUInt32LE(this.#sequence++, 8);
    if (this.#sequence > 0x7fffffff) this.#sequence = 1;
    return first;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    closeFd(this.fd);
  }
}
