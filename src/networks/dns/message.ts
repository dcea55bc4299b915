import { type Address, parseAddress } from "../../lib/address.ts";

export const recordType = { A: 1, SOA: 6, PTR: 12, AAAA: 28, OPT: 41, IXFR: 251, AXFR: 252 } as const;
export const responseCode = { ok: 0, formatError: 1, serverFailure: 2, noSuchName: 3, notImplemented: 4, refused: 5 } as const;

const HEADER = 12;
const CLASS_IN = 1;
const RESPONSE = 0x8000;
const TRUNCATED = 0x0200;
const RECURSION_DESIRED = 0x0100;
const RECURSION_AVAILABLE = 0x0080;
const AUTHENTIC_DATA = 0x0020;
const CHECKING_DISABLED = 0x0010;
const OPCODE = 0x7800;
const DNSSEC_OK = 0x8000;
/** Seconds. Docker says 600, for which servers that heed it (nginx) send requests to containers that are gone; asking again costs next to nothing. */
const TTL = 10;
const SMALLEST_UDP = 512;
/** What we say we take by UDP: nobody sends us answers there. */
const OUR_UDP_SIZE = 4096;
const OPT_SIZE = 11;

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
  /** It said so in an OPT record, and wants one in the answer (RFC 6891, 6.1.1). */
  edns?: { dnssecOk: boolean };
}

export interface Answer {
  type: number;
  data: Uint8Array;
}

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Undefined for what is no plain query with one question of class IN. Hostile bytes: every length is checked, no pointer is followed. */
export function parseQuery(message: Uint8Array): Query | undefined {
  const data = bufferOf(message);
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
  return { id: data.readUInt16BE(0), flags, name: labels.join("."), type: data.readUInt16BE(at), questionEnd, ...extensionOf(data, questionEnd) };
}

/** The OPT record, where that is the first thing after the question, as every client sends it. */
function extensionOf(data: Buffer, at: number): Pick<Query, "udpSize" | "edns"> {
  const plain = data.readUInt16BE(6) === 0 && data.readUInt16BE(8) === 0 && data.readUInt16BE(10) > 0;
  if (!plain || at + OPT_SIZE > data.length || data[at] !== 0 || data.readUInt16BE(at + 1) !== recordType.OPT) return { udpSize: SMALLEST_UDP };
  const dnssecOk = (data.readUInt16BE(at + 7) & DNSSEC_OK) !== 0;
  return { udpSize: Math.max(SMALLEST_UDP, data.readUInt16BE(at + 3)), edns: { dnssecOk } };
}

/** What to say to a message that `parseQuery` doesn't take; undefined where that is itself an answer, or no DNS at all. */
export function refusalOf(message: Uint8Array): Buffer | undefined {
  const data = bufferOf(message);
  if (data.length < HEADER || (data.readUInt16BE(2) & RESPONSE) !== 0) return undefined;
  const flags = data.readUInt16BE(2);
  const reply = Buffer.alloc(HEADER);
  reply.writeUInt16BE(data.readUInt16BE(0), 0);
  // another operation, another class: well formed, but nothing that we do
  const known = (flags & OPCODE) !== 0 || (data.readUInt16BE(4) === 1 && hasWholeQuestion(data));
  const code = known ? responseCode.notImplemented : responseCode.formatError;
  reply.writeUInt16BE(RESPONSE | (flags & (OPCODE | RECURSION_DESIRED)) | RECURSION_AVAILABLE | code, 2);
  return reply;
}

/** A question that is well formed, of whatever class. */
function hasWholeQuestion(data: Buffer): boolean {
  const end = nameEnd(data, HEADER);
  return end !== undefined && end + 4 <= data.length;
}

const opt = (size: number, dnssecOk: boolean): Buffer => {
  const record = Buffer.alloc(OPT_SIZE);
  record.writeUInt16BE(recordType.OPT, 1);
  record.writeUInt16BE(size, 3);
  if (dnssecOk) record.writeUInt16BE(DNSSEC_OK, 7);
  return record;
};

/** A response to `query`. Answers that don't fit into `limit` are left out and the message says it is truncated. */
export function respond(message: Uint8Array, query: Query, code: number, answers: readonly Answer[], limit: number): Buffer {
  const question = Buffer.from(message.subarray(0, query.questionEnd));
  const extension = query.edns === undefined ? [] : [opt(OUR_UDP_SIZE, query.edns.dnssecOk)];
  const records: Buffer[] = [];
  let size = question.length + (query.edns === undefined ? 0 : OPT_SIZE);
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
  question.writeUInt16BE(0, 8);
  question.writeUInt16BE(extension.length, 10);
  return Buffer.concat([question, ...records, ...extension]);
}

/** An A or AAAA record of 4 or 16 bytes. */
export function addressAnswer(address: Uint8Array): Answer {
  return { type: address.length === 4 ? recordType.A : recordType.AAAA, data: address };
}

/** A name as the data of a PTR record. */
export function nameAnswer(name: string): Answer {
  const labels = name.split(".").map((label) => Buffer.from(label, "latin1"));
  return { type: recordType.PTR, data: Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), Buffer.of(0)]) };
}

/** Whether DNS can carry a name: labels of 1 to 63 bytes, 253 in all. */
export const isNameable = (name: string): boolean => name.length <= 253 && name.split(".").every((label) => label.length > 0 && label.length <= 63);

/** The address that a name under in-addr.arpa or ip6.arpa stands for. */
export function reverseAddress(name: string): Address | undefined {
  const v4 = /^((?:\d{1,3}\.){4})in-addr\.arpa$/i.exec(name);
  if (v4 !== null) return parseAddress(v4[1]!.split(".").slice(0, 4).toReversed().join("."));
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/i.exec(name);
  if (v6 === null) return undefined;
  const digits = v6[1]!.replaceAll(".", "").split("").toReversed().join("");
  return parseAddress(digits.replace(/(.{4})(?!$)/g, "$1:"));
}

/** The question as we ask it: our id, the client's flags, and of EDNS size and DO alone, since its options go from one hop to the next (RFC 6891, 6). */
export function ask(message: Uint8Array, query: Query, id: number): Buffer {
  const question = Buffer.from(message.subarray(0, query.questionEnd));
  question.writeUInt16BE(id, 0);
  question.writeUInt16BE(query.flags & (RECURSION_DESIRED | AUTHENTIC_DATA | CHECKING_DISABLED), 2);
  question.fill(0, 6, HEADER);
  if (query.edns === undefined) return question;
  question.writeUInt16BE(1, 10);
  return Buffer.concat([question, opt(query.udpSize, query.edns.dnssecOk)]);
}

/** Questions with one key have one answer, but for the id, the case of the name, and its size. */
export function keyOf({ name, type, flags, edns }: Query): string {
  const asked = flags & (RECURSION_DESIRED | AUTHENTIC_DATA | CHECKING_DISABLED);
  return `${name.toLowerCase()} ${type} ${asked} ${edns === undefined ? "" : edns.dnssecOk}`;
}

/** Whether `reply` is a response to the question `asked`, id included: what a stranger sends to our port isn't. */
export function answersQuestion(reply: Uint8Array, asked: Uint8Array, { questionEnd }: Query): boolean {
  const [answer, question] = [bufferOf(reply), bufferOf(asked)];
  if (answer.length < questionEnd || (answer[2]! & 0x80) === 0 || answer.readUInt16BE(0) !== question.readUInt16BE(0)) return false;
  if (answer.readUInt16BE(4) !== 1) return false;
  const lower = (bytes: Buffer): string => bytes.toString("latin1", HEADER, questionEnd).toLowerCase();
  return lower(answer) === lower(question);
}

export const codeOf = (reply: Uint8Array): number => reply[3]! & 15;
export const isTruncated = (reply: Uint8Array): boolean => (reply[2]! & (TRUNCATED >> 8)) !== 0;
export const answerCount = (reply: Uint8Array): number => (reply[6]! << 8) | reply[7]!;

/** What a whole response says about how long it holds. */
export interface Lifetime {
  /** Seconds; 0 where it must not be kept. */
  ttl: number;
  /** Where the records' own times stand, each a u32. */
  offsets: number[];
}

/** Reads every record of a response. Undefined where it isn't well formed. No pointer is followed: a loop of them costs nothing. */
export function lifetimeOf(reply: Uint8Array, { questionEnd }: Query): Lifetime | undefined {
  const data = bufferOf(reply);
  const [answers, authorities] = [data.readUInt16BE(6), data.readUInt16BE(8)];
  const total = answers + authorities + data.readUInt16BE(10);
  const offsets: number[] = [];
  let ttl = Number.POSITIVE_INFINITY;
  let isNegativeKept = false;
  let at: number | undefined = questionEnd;
  for (let i = 0; i < total; i++) {
    at = nameEnd(data, at);
    if (at === undefined || at + 10 > data.length) return undefined;
    const type = data.readUInt16BE(at);
    const end = at + 10 + data.readUInt16BE(at + 8);
    if (end > data.length) return undefined;
    if (type !== recordType.OPT) {
      offsets.push(at + 4);
      ttl = Math.min(ttl, timeAt(data, at + 4));
      // how long a name may be taken for absent is the last number of its zone's SOA (RFC 2308, 5)
      if (type === recordType.SOA && i >= answers && i < answers + authorities && end - at >= 30) {
        ttl = Math.min(ttl, timeAt(data, end - 4));
        isNegativeKept = true;
      }
    }
    at = end;
  }
  const keeps = offsets.length > 0 && (isNegativeKept || (answers > 0 && codeOf(reply) === responseCode.ok));
  return { ttl: keeps ? ttl : 0, offsets };
}

/** A time to live is at most 2^31 - 1; what has the top bit set is 0 (RFC 2181, 8). */
function timeAt(data: Buffer, at: number): number {
  const value = data.readUInt32BE(at);
  return value > 0x7fffffff ? 0 : value;
}

/** Where the name that begins at `at` ends in its record. */
function nameEnd(data: Buffer, start: number): number | undefined {
  let at = start;
  while (at - start < 256) {
    const length = data[at];
    if (length === undefined) return undefined;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2 <= data.length ? at + 2 : undefined;
    if (length > 63) return undefined;
    at += 1 + length;
  }
  return undefined;
}

/** A response that others got as the answer to `query`, `age` seconds later; what is longer than `limit` is cut. */
export function reuse(reply: Uint8Array, offsets: readonly number[], age: number, message: Uint8Array, query: Query, limit: number): Buffer {
  const copy = Buffer.from(reply);
  copy.writeUInt16BE(query.id, 0);
  // in the client's case: some check that (draft-vixie-dnsext-dns0x20)
  copy.set(message.subarray(HEADER, query.questionEnd), HEADER);
  for (const at of offsets) copy.writeUInt32BE(Math.max(0, timeAt(copy, at) - age), at);
  return copy.length > limit ? cut(copy, query, limit) : copy;
}

/** As many answers as fit, and that there are more. Names point backwards only, so the beginning of a message is whole by itself. */
function cut(reply: Buffer, query: Query, limit: number): Buffer {
  const extension = query.edns === undefined ? [] : [opt(OUR_UDP_SIZE, query.edns.dnssecOk)];
  const room = limit - (query.edns === undefined ? 0 : OPT_SIZE);
  let kept = 0;
  let end = query.questionEnd;
  for (; kept < answerCount(reply); kept++) {
    const at = nameEnd(reply, end);
    const next = at === undefined || at + 10 > reply.length ? undefined : at + 10 + reply.readUInt16BE(at + 8);
    if (next === undefined || next > room) break;
    end = next;
  }
  const begin = Buffer.from(reply.subarray(0, end));
  begin[2]! |= TRUNCATED >> 8;
  begin.writeUInt16BE(kept, 6);
  begin.writeUInt16BE(0, 8);
  begin.writeUInt16BE(extension.length, 10);
  return Buffer.concat([begin, ...extension]);
}

/** A message as TCP carries it: its length first. */
export function framed(message: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(message.length >> 8, message.length & 255), message]);
}
