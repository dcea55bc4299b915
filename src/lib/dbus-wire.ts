/**
 * D-Bus messages as bytes (dbus.freedesktop.org/doc/dbus-specification.html, "Type System" and "Message Protocol"). What comes in may be anyone's: lengths and depths are checked
 * before anything is allocated or entered.
 */

/** Decoded: x and t are bigints, structs and dict entries arrays, a variant what it holds. */
export type Decoded = number | bigint | boolean | string | Decoded[];
/** To be encoded, as its signature says; dictionaries are lists of pairs. */
export type Encodable = number | boolean | string | Variant | readonly Encodable[];

export interface Variant {
  signature: string;
  value: Encodable;
}

export interface Message {
  /** 1 call, 2 return, 3 error, 4 signal */
  type: number;
  serial: number;
  path?: string;
  interface?: string;
  member?: string;
  /** Of an error. */
  errorName?: string;
  replySerial?: number;
  destination?: string;
  /** Who it comes from; the bus says so, not the sender. */
  sender?: string;
  body: Decoded[];
}

export const CALL = 1;
export const RETURN = 2;
export const ERROR = 3;
export const SIGNAL = 4;

/** A flag: nobody is started just because we ask. */
const NO_AUTO_START = 2;

/** The specification allows 128 MiB; what we ask for takes a few hundred bytes. */
export const MAX_MESSAGE = 1 << 20;
/** Containers in each other, variants too; half of what the specification allows. */
const MAX_DEPTH = 32;
/** Before the header fields: byte order, type, flags, version, lengths of body, serial, length of fields. */
const PREAMBLE = 16;

const alignments: Record<string, number> = { y: 1, g: 1, v: 1, n: 2, q: 2, b: 4, i: 4, u: 4, h: 4, s: 4, o: 4, a: 4, x: 8, t: 8, d: 8, "(": 8, "{": 8 };

/** Fields of the header by their codes. */
const fields = { 1: "path", 2: "interface", 3: "member", 4: "errorName", 5: "replySerial", 6: "destination", 7: "sender", 8: "signature" } as const;
const fieldTypes = { path: "o", interface: "s", member: "s", errorName: "s", replySerial: "u", destination: "s", sender: "s", signature: "g" } as const;

const padded = (length: number, alignment: number): number => Math.ceil(length / alignment) * alignment;

/** Where the complete type ends that begins at `at`. @throws Error */
function typeEnd(signature: string, at: number, depth = 0): number {
  const code = signature[at];
  if (code === undefined || depth > MAX_DEPTH) throw new Error(`bad D-Bus signature ${JSON.stringify(signature.slice(0, 80))}`);
  if (code === "a") return typeEnd(signature, at + 1, depth + 1);
  if (code === "(" || code === "{") {
    // at least one member: arrays of what takes no bytes would have no end
    let next = typeEnd(signature, at + 1, depth + 1);
    while (signature[next] !== (code === "(" ? ")" : "}")) next = typeEnd(signature, next, depth + 1);
    return next + 1;
  }
  if (alignments[code] === undefined) throw new Error(`D-Bus type ${JSON.stringify(code)} is unknown`);
  return at + 1;
}

/** Reads values off `bytes`, whose start is aligned. @throws Error where they aren't what a signature says */
class Reader {
  readonly #bytes: Buffer;
  readonly #little: boolean;
  #at: number;

  constructor(bytes: Buffer, little: boolean, at = 0) {
    this.#bytes = bytes;
    this.#little = little;
    this.#at = at;
  }

  all(signature: string): Decoded[] {
    const values: Decoded[] = [];
    for (let at = 0; at < signature.length; at = typeEnd(signature, at)) values.push(this.#value(signature.slice(at, typeEnd(signature, at)), 0));
    return values;
  }

  #take(size: number): number {
    const start = this.#at;
    if (start + size > this.#bytes.length) throw new Error("a D-Bus message ends too early");
    this.#at += size;
    return start;
  }

  #uint32(): number {
    const at = this.#take(4);
    return this.#little ? this.#bytes.readUInt32LE(at) : this.#bytes.readUInt32BE(at);
  }

  /** Text of `length` bytes, and the zero byte behind it. */
  #text(length: number): string {
    const start = this.#take(length + 1);
    return this.#bytes.toString("utf8", start, start + length);
  }

  #value(type: string, depth: number): Decoded {
    if (depth > MAX_DEPTH) throw new Error("a D-Bus message is nested too deep");
    const code = type[0]!;
    this.#at = padded(this.#at, alignments[code]!);
    if (code === "a") return this.#array(type.slice(1), depth);
    if (code === "(" || code === "{") return this.#members(type.slice(1, -1), depth);
    if (code === "v") {
      const signature = this.#text(this.#bytes[this.#take(1)]!);
      if (typeEnd(signature, 0) !== signature.length) throw new Error("a D-Bus variant holds other than one value");
      return this.#value(signature, depth + 1);
    }
    if (code === "s" || code === "o") return this.#text(this.#uint32());
    if (code === "g") return this.#text(this.#bytes[this.#take(1)]!);
    return this.#number(code);
  }

  #array(element: string, depth: number): Decoded[] {
    const length = this.#uint32();
    this.#at = padded(this.#at, alignments[element[0]!]!);
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new Error("a D-Bus array ends after its message");
    const values: Decoded[] = [];
    while (this.#at < end) values.push(this.#value(element, depth + 1));
    if (this.#at !== end) throw new Error("a D-Bus array ends within a value");
    return values;
  }

  #members(signature: string, depth: number): Decoded[] {
    const values: Decoded[] = [];
    for (let at = 0; at < signature.length; at = typeEnd(signature, at)) values.push(this.#value(signature.slice(at, typeEnd(signature, at)), depth + 1));
    return values;
  }

  #number(code: string): number | bigint | boolean {
    const at = this.#take(alignments[code]!);
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + at);
    if (code === "y") return view.getUint8(0);
    if (code === "n") return view.getInt16(0, this.#little);
    if (code === "q") return view.getUint16(0, this.#little);
    if (code === "i") return view.getInt32(0, this.#little);
    if (code === "x") return view.getBigInt64(0, this.#little);
    if (code === "t") return view.getBigUint64(0, this.#little);
    if (code === "d") return view.getFloat64(0, this.#little);
    const value = view.getUint32(0, this.#little);
    return code === "b" ? value !== 0 : value;
  }
}

/** Writes values, little-endian: the types of what we send. */
class Writer {
  readonly #bytes: number[] = [];

  get bytes(): Buffer {
    return Buffer.from(this.#bytes);
  }

  align(alignment: number): void {
    while (this.#bytes.length % alignment !== 0) this.#bytes.push(0);
  }

  uint32(value: number): void {
    this.align(4);
    this.#bytes.push(value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24);
  }

  all(signature: string, values: readonly Encodable[]): void {
    let at = 0;
    for (const value of values) {
      const end = typeEnd(signature, at);
      this.value(signature.slice(at, end), value);
      at = end;
    }
    if (at !== signature.length) throw new Error(`too few values for D-Bus signature ${signature}`);
  }

  value(type: string, value: Encodable): void {
    const code = type[0]!;
    this.align(alignments[code]!);
    if (code === "a") this.#array(type.slice(1), value as readonly Encodable[]);
    else if (code === "(" || code === "{") this.all(type.slice(1, -1), value as readonly Encodable[]);
    else if (code === "v") {
      const { signature, value: inner } = value as Variant;
      this.value("g", signature);
      this.value(signature, inner);
    } else if (code === "s" || code === "o" || code === "g") {
      const text = Buffer.from(value as string);
      if (code === "g") this.#bytes.push(text.length);
      else this.uint32(text.length);
      this.#bytes.push(...text, 0);
    } else if (code === "u") this.uint32(value as number);
    else if (code === "b") this.uint32(value === true ? 1 : 0);
    else if (code === "y") this.#bytes.push(value as number);
    else throw new Error(`values of D-Bus type ${code} aren't sent`);
  }

  #array(element: string, values: readonly Encodable[]): void {
    this.uint32(0);
    const lengthAt = this.#bytes.length - 4;
    this.align(alignments[element[0]!]!);
    const start = this.#bytes.length;
    for (const value of values) this.value(element, value);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(this.#bytes.length - start);
    this.#bytes.splice(lengthAt, 4, ...length);
  }
}

export type Outgoing = Omit<Message, "body" | "sender"> & { signature?: string; body?: readonly Encodable[] };

export function encodeMessage(message: Outgoing): Buffer {
  const body = new Writer();
  body.all(message.signature ?? "", message.body ?? []);
  const header: Encodable[] = Object.entries(fields).flatMap(([code, name]) => {
    const value = name === "sender" ? undefined : message[name];
    return value === undefined || value === "" ? [] : [[Number(code), { signature: fieldTypes[name], value }]];
  });
  const head = new Writer();
  for (const byte of ["l".charCodeAt(0), message.type, NO_AUTO_START, 1]) head.value("y", byte);
  head.uint32(body.bytes.length);
  head.uint32(message.serial);
  head.value("a(yv)", header);
  head.align(8);
  return Buffer.concat([head.bytes, body.bytes]);
}

/** Bytes of the message that begins with `start`; undefined where that isn't enough to tell. @throws Error where it is none, or too large */
export function messageLength(start: Buffer): number | undefined {
  if (start.length < PREAMBLE) return undefined;
  if (start[0] !== 0x6c && start[0] !== 0x42) throw new Error("not a D-Bus message");
  const little = start[0] === 0x6c;
  const uint32 = (at: number): number => (little ? start.readUInt32LE(at) : start.readUInt32BE(at));
  const length = padded(PREAMBLE + uint32(12), 8) + uint32(4);
  if (length > MAX_MESSAGE) throw new Error(`a D-Bus message of ${length} bytes is too large`);
  return length;
}

/** @throws Error where `bytes` aren't one whole message of `messageLength` bytes */
export function decodeMessage(bytes: Buffer): Message {
  const little = bytes[0] === 0x6c;
  const uint32 = (at: number): number => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const bodyStart = padded(PREAMBLE + uint32(12), 8);
  const [pairs] = new Reader(bytes.subarray(0, bodyStart), little, 12).all("a(yv)");
  const message: Message = { type: bytes[1]!, serial: uint32(8), body: [] };
  let signature = "";
  for (const [code, value] of pairs as [number, Decoded][]) {
    const name = fields[code as keyof typeof fields];
    if (name === "replySerial" && typeof value === "number") message.replySerial = value;
    else if (name === "signature" && typeof value === "string") signature = value;
    else if (name !== undefined && name !== "replySerial" && name !== "signature" && typeof value === "string") message[name] = value;
  }
  message.body = new Reader(bytes.subarray(bodyStart), little).all(signature);
  return message;
}
