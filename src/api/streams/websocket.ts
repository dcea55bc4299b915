import { createHash } from "node:crypto";
import { invalidArgument } from "../../lib/errors.ts";
import type { Exchange, Hijacked } from "../http/connection.ts";

/** RFC 6455 section 1.3. */
const handshakeId = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const closeCodes = { normal: 1000, protocolError: 1002 } as const;
/** Control frames carry no more (section 5.5). */
const maxControl = 125;
/** Pings of a client that leaves more than this unread aren't answered any more. */
const maxUnread = 1 << 20;

interface Frame {
  opcode: number;
  length: number;
  mask: Buffer;
}

/** The bytes of a WebSocket's messages, as a connection of their own. `left`: the client closed it, or broke the protocol. */
export interface WebSocketConnection {
  readonly connection: Hijacked;
  readonly left: Promise<void>;
}

/**
 * Answers a WebSocket's opening handshake. Each write is a message of its own: of text where `text` is set, in which bytes that are no UTF-8 show as
 * U+FFFD (browsers end a connection that sends them), else binary. Either sort is taken from the client.
 * @throws EngineError invalidArgument where the request is no handshake
 */
export function acceptWebSocket(exchange: Exchange, options: { text: boolean }): WebSocketConnection {
  const { upgrade, headers } = exchange.head;
  const key = headers["sec-websocket-key"] ?? "";
  if (
    !(upgrade ?? "")
      .toLowerCase()
      .split(/[\s,]+/)
      .includes("websocket")
  )
    throw invalidArgument("not websocket protocol");
  if (headers["sec-websocket-version"] !== "13") throw invalidArgument("unsupported websocket version: want Sec-WebSocket-Version: 13");
  if (Buffer.from(key, "base64").length !== 16) throw invalidArgument("malformed Sec-WebSocket-Key header");
  const lines = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${createHash("sha1")
      .update(key + handshakeId)
      .digest("base64")}`,
  ];
  const protocol = (headers["sec-websocket-protocol"] ?? "").split(",", 1)[0]!.trim();
  if (protocol !== "") lines.push(`Sec-WebSocket-Protocol: ${protocol}`);
  const connection = new Messages(exchange.hijack(lines.join("\r\n")), options.text);
  return { connection, left: connection.left };
}

class Messages implements Hijacked {
  readonly #raw: Hijacked;
  readonly #decoder: TextDecoder | undefined;
  readonly #left = Promise.withResolvers<void>();
  #input: Buffer = Buffer.alloc(0);
  /** The data frame whose payload is being read. */
  #frame: Frame | undefined;
  /** Of that payload. */
  #read = 0;
  #isOver = false;

  constructor(raw: Hijacked, text: boolean) {
    this.#raw = raw;
    if (text) this.#decoder = new TextDecoder();
  }

  get left(): Promise<void> {
    return this.#left.promise;
  }

  /** The next piece of payload; frames of any length are passed on as they come. */
  async read(): Promise<Uint8Array | undefined> {
    while (!this.#isOver) {
      const piece = this.#frame === undefined ? this.#nextFrame() : this.#payload(this.#frame);
      if (piece === "more") {
        const chunk = await this.#raw.read();
        if (chunk === undefined) break;
        this.#input = Buffer.concat([this.#input, chunk]);
      } else if (piece !== undefined) return piece;
    }
    this.#left.resolve();
    return undefined;
  }

  #payload(frame: Frame): Uint8Array | "more" | undefined {
    const length = Math.min(this.#input.length, frame.length - this.#read);
    if (length === 0 && this.#read < frame.length) return "more";
    const bytes = unmask(this.#input.subarray(0, length), frame.mask, this.#read);
    this.#input = this.#input.subarray(length);
    this.#read += length;
    if (this.#read === frame.length) this.#frame = undefined;
    return bytes.length === 0 ? undefined : bytes;
  }

  /** Takes a frame's head; control frames are dealt with here, whole. */
  #nextFrame(): "more" | undefined {
    const head = parseHead(this.#input);
    if (head === "more") return "more";
    if (head === undefined) return this.#fail();
    const { frame, size } = head;
    if (frame.opcode < opcodes.close) {
      this.#input = this.#input.subarray(size);
      this.#frame = frame;
      this.#read = 0;
      return undefined;
    }
    if (this.#input.length < size + frame.length) return "more";
    const payload = unmask(this.#input.subarray(size, size + frame.length), frame.mask, 0);
    this.#input = this.#input.subarray(size + frame.length);
    if (frame.opcode === opcodes.close) this.#close(payload.subarray(0, 2));
    else if (frame.opcode === opcodes.ping && this.#raw.buffered < maxUnread) this.#raw.write(encode(opcodes.pong, payload));
    return undefined;
  }

  #fail(): undefined {
    this.#close(closePayload(closeCodes.protocolError));
  }

  #close(payload: Uint8Array): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#raw.write(encode(opcodes.close, payload));
    this.#raw.end();
  }

  write(chunk: Uint8Array | string): Promise<void> | undefined {
    if (this.#isOver) return undefined;
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    if (this.#decoder === undefined) return this.#raw.write(encode(opcodes.binary, bytes));
    const text = this.#decoder.decode(bytes, { stream: true });
    return text === "" ? undefined : this.#raw.write(encode(opcodes.text, Buffer.from(text)));
  }

  get buffered(): number {
    return this.#raw.buffered;
  }

  end(): void {
    this.#close(closePayload(closeCodes.normal));
  }

  destroy(): void {
    this.#isOver = true;
    this.#raw.destroy();
  }
}

function closePayload(code: number): Buffer {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code);
  return payload;
}

/** "more": not all there yet; undefined: none of a client's. */
function parseHead(input: Buffer): { frame: Frame; size: number } | "more" | undefined {
  if (input.length < 2) return "more";
  const [first = 0, second = 0] = input;
  const opcode = first & 0x0f;
  const isControl = opcode >= opcodes.close;
  // no extension was agreed on, and a client masks what it sends
  if ((first & 0x70) !== 0 || (second & 0x80) === 0 || opcode > opcodes.pong || (opcode > opcodes.binary && !isControl)) return undefined;
  let length = second & 0x7f;
  if (isControl && (length > maxControl || (first & 0x80) === 0)) return undefined;
  let size = 2;
  if (length >= 126) {
    size = length === 126 ? 4 : 10;
    if (input.length < size) return "more";
    length = size === 4 ? input.readUInt16BE(2) : input.readUInt32BE(2) * 2 ** 32 + input.readUInt32BE(6);
    if (!Number.isSafeInteger(length)) return undefined;
  }
  if (input.length < size + 4) return "more";
  return { frame: { opcode, length, mask: Buffer.from(input.subarray(size, size + 4)) }, size: size + 4 };
}

/** A copy; `from`: where in the frame's payload `bytes` begins. */
function unmask(bytes: Uint8Array, mask: Buffer, from: number): Uint8Array {
  const result = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at++) result[at] = bytes[at]! ^ mask[(from + at) & 3]!;
  return result;
}

/** A whole message in one unmasked frame. */
function encode(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const size = length < 126 ? 2 : length < 65536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(size + length);
  frame[0] = 0x80 | opcode;
  frame[1] = size === 2 ? length : size === 4 ? 126 : 127;
  if (size === 4) frame.writeUInt16BE(length, 2);
  if (size === 10) frame.writeBigUInt64BE(BigInt(length), 2);
  frame.set(payload, size);
  return frame;
}
