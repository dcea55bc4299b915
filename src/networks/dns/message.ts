import { type Address, bytesOf, parseAddress } from "../../lib/address.ts";

export const recordType = { A: 1, PTR: 12, AAAA: 28, OPT: 41 } as const;
export const responseCode = { ok: 0, serverFailure: 2, notImplemented: 4, refused: 5 } as const;

const HEADER = 12;
const CLASS_IN = 1;
const RESPONSE = 0x8000;
const TRUNCATED = 0x0200;
const RECURSION_DESIRED = 0x0100;
const RECURSION_AVAILABLE = 0x0080;
const CHECKING_DISABLED = 0x0010;
const OPCODE = 0x7800;
/** Docker's, in seconds. */
const TTL = 600;
const SMALLEST_UDP = 512;

/** A question as a client asks it. */
export interface Query {
  id: number;
  flags: number;
  /** Without the final dot, in the case it came in. */
  name: string;
  type: number;
  /** Offset at which the question ends. */
  questionEnd: number;
  /** What the client takes by UDP (EDNS), at least 512. */
  udpSize: number;
}

export interface Answer {
  type: number;
  data: Uint8Array;
}

/** Undefined for what is no plain query with one question of class IN. Hostile bytes: every length is checked, no pointer is followed. */
export function parseQuery(message: Uint8Array): Query | undefined {
  const data = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  if (data.length < HEADER + 5) return undefined;
  const flags = data.readUInt16BE(2);
  if ((flags & (RESPONSE | OPCODE)) !== 0 || data.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = HEADER;
  for (;;) {
    const length = data[at];
    if (length === undefined || length > 63 || at - HEADER > 254) return undefined;
    at++;
    if (length === 0) break;
    if (at + length > data.length) return undefined;
    labels.push(data.toString("latin1", at, at + length));
    at += length;
  }
  if (at + 4 > data.length || data.readUInt16BE(at + 2) !== CLASS_IN) return undefined;
  const questionEnd = at + 4;
  return { id: data.readUInt16BE(0), flags, name: labels.join("."), type: data.readUInt16BE(at), questionEnd, udpSize: udpSizeOf(data, questionEnd) };
}

/** The size in an OPT record, where that is the first thing after the question, as every client sends it. */
function udpSizeOf(data: Buffer, at: number): number {
  const plain = data.readUInt16BE(6) === 0 && data.readUInt16BE(8) === 0 && data.readUInt16BE(10) > 0;
  if (!plain || at + 11 > data.length || data[at] !== 0 || data.readUInt16BE(at + 1) !== recordType.OPT) return SMALLEST_UDP;
  return Math.max(SMALLEST_UDP, data.readUInt16BE(at + 3));
}

/** A response to `query`. Answers that don't fit into `limit` are left out and the message says it is truncated. */
export function respond(message: Uint8Array, query: Query, code: number, answers: readonly Answer[], limit: number): Buffer {
  const question = Buffer.from(message.subarray(0, query.questionEnd));
  const records: Buffer[] = [];
  let size = question.length;
  let flags = RESPONSE | RECURSION_AVAILABLE | (query.flags & (RECURSION_DESIRED | CHECKING_DISABLED)) | code;
  for (const answer of answers) {
    const record = Buffer.alloc(12 + answer.data.length);
    record.writeUInt16BE(0xc000 | HEADER, 0); // the name of the question
    record.writeUInt16BE(answer.type, 2);
    record.writeUInt16BE(CLASS_IN, 4);
    record.writeUInt32BE(TTL, 6);
    record.writeUInt16BE(answer.data.length, 10);
    record.set(answer.data, 12);
    if (size + record.length > limit) {
      flags |= TRUNCATED;
      break;
    }
    size += record.length;
    records.push(record);
  }
  question.writeUInt16BE(flags, 2);
  question.writeUInt16BE(records.length, 6);
  question.writeUInt32BE(0, 8);
  return Buffer.concat([question, ...records]);
}

export function addressAnswer(address: Address): Answer {
  return { type: address.family === 4 ? recordType.A : recordType.AAAA, data: bytesOf(address) };
}

/** A name as the data of a PTR record. */
export function nameAnswer(name: string): Answer {
  const labels = name.split(".").map((label) => Buffer.from(label, "latin1").subarray(0, 63));
  return { type: recordType.PTR, data: Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), Buffer.of(0)]) };
}

/** The address that a name under in-addr.arpa or ip6.arpa stands for. */
export function reverseAddress(name: string): Address | undefined {
  const v4 = /^((?:\d{1,3}\.){4})in-addr\.arpa$/i.exec(name);
  if (v4 !== null) return parseAddress(v4[1]!.split(".").slice(0, 4).toReversed().join("."));
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/i.exec(name);
  if (v6 === null) return undefined;
  const digits = v6[1]!.replaceAll(".", "").split("").toReversed().join("");
  return parseAddress(digits.replace(/(.{4})(?!$)/g, "$1:"));
}

/** Whether `reply` is a response to the question of `asked` (id apart): what a stranger sends to our port isn't. */
export function answersQuestion(reply: Uint8Array, asked: Uint8Array, query: Query): boolean {
  if (reply.length < query.questionEnd || (reply[2]! & 0x80) === 0) return false;
  const lower = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1", HEADER, query.questionEnd).toLowerCase();
  return lower(reply) === lower(asked);
}

export const codeOf = (reply: Uint8Array): number => reply[3]! & 15;
