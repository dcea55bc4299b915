import type { Socket } from "node:net";
import { closeFd } from "../../kernel/fs.ts";
import { duplicateFd } from "../../kernel/pipe.ts";
import { hungUp } from "../../kernel/poll.ts";
import { widenSendBuffer } from "../../kernel/socket.ts";
import { cancelled, invalidArgument } from "../../lib/errors.ts";
import { BadRequest, BodyDecoder, type Framing } from "../../lib/http-body.ts";
import type { LentInput, LentOutput, Upload } from "../../lib/lent.ts";
import type { Logger } from "../../lib/log.ts";
import { nextTurn } from "../../lib/turns.ts";
import { HeadScanner, parseHead, type RequestHead } from "./head.ts";
import { statusText } from "./status.ts";

/** Largest head: X-Registry-Config of many registries reaches 400 KB. */
const maxHead = 1 << 20;
/** A head must be complete this long after its first byte; a silent new connection may wait longer (clients connect ahead). */
const headTimeout = 30_000;
const silentTimeout = 300_000;
/** Input kept for a handler that doesn't read, before the socket is paused. */
const highWater = 256 * 1024;
/** Rest of a request's body that is read and dropped so that the connection can be used again (Go's figure). */
const maxDrain = 256 * 1024;
/** How long we go on reading after our last byte, so that a reset doesn't overtake the answer. */
const lingerTime = 5_000;

export type HttpHandler = (exchange: Exchange) => void | Promise<void>;

export interface HttpOptions {
  handler: HttpHandler;
  /** Header lines of every answer, each with its CRLF. */
  commonHeaders: string;
  log: Logger;
}

/** The body of a request. One reader at a time. */
export interface RequestBody {
  /** Is there one, going by the head? */
  readonly present: boolean;
  /** As declared; undefined for chunked bodies. */
  readonly length: number | undefined;
  /** The next piece, or undefined at the end. Waiting is the back-pressure. @throws EngineError invalidArgument where it is cut short or malformed */
  read(): Promise<Uint8Array | undefined>;
  /** All of it. @throws BadRequest 413 above `limit` bytes */
  bytes(limit: number): Promise<Buffer>;
  stream(): Upload;
}

/** An answer whose head is out. */
export interface ResponseStream {
  /** Returns a promise where the client is slower than we are. @throws EngineError cancelled once the client is gone */
  write(chunk: Uint8Array | string): Promise<void> | undefined;
  /** Lets somebody else write what comes next, until it is given back. Undefined where it can't be: TLS, or the kernel hasn't taken all yet. */
  lend(): LentOutput | undefined;
  end(): void;
}

/** The bare connection after a hijack. */
export interface Hijacked {
  /** What the client sends, undefined after its end of input. */
  read(): Promise<Uint8Array | undefined>;
  /** As `ResponseStream.write`. */
  write(chunk: Uint8Array | string): Promise<void> | undefined;
  /** Bytes given to `write` that the kernel hasn't taken yet. */
  readonly buffered: number;
  /** Sends our end of stream after what was written; the connection goes once the client has closed too, or soon after. */
  end(): void;
  /** Cuts the client off. */
  destroy(): void;
}

/** One request and its answer. */
export interface Exchange {
  readonly head: RequestHead;
  readonly body: RequestBody;
  /** Aborted when the client has gone or the server closes. A half-close of the client isn't its leaving. */
  readonly signal: AbortSignal;
  /** Head of the answer sent, or connection hijacked. */
  readonly responded: boolean;
  /** Called once, as the head of the answer goes out; 101 for a hijacked connection. */
  onAnswer: ((status: number) => void) | undefined;
  reply(status: number, headers: Record<string, string>, body?: string | Uint8Array): void;
  /** Sends the head at once. */
  stream(status: number, headers: Record<string, string>): ResponseStream;
  /** Takes the connection over. `head` (status line and headers, without the empty line) is sent at once and alone. */
  hijack(head: string): Hijacked;
}

/** All connections of a server; watches those that have a deadline or a half-closed client. */
export class Connections {
  readonly options: HttpOptions;
  readonly all = new Set<Connection>();
  readonly #watched = new Set<Connection>();
  #timer: Timer | undefined;
  #dateSecond = 0;
  #date = "";

  constructor(options: HttpOptions) {
    this.options = options;
  }

  accept(socket: Socket): void {
    this.all.add(new Connection(socket, this));
  }

  watch(connection: Connection): void {
    this.#watched.add(connection);
    this.#timer ??= setInterval(() => this.#tick(), 500).unref();
  }

  unwatch(connection: Connection): void {
    this.#watched.delete(connection);
  }

  remove(connection: Connection): void {
    this.#watched.delete(connection);
    this.all.delete(connection);
  }

  /** The Date header, made once a second. */
  date(): string {
    const now = Date.now();
    const second = Math.floor(now / 1000);
    if (second !== this.#dateSecond) {
      this.#dateSecond = second;
      this.#date = `Date: ${new Date(now).toUTCString()}\r\n`;
    }
    return this.#date;
  }

  #tick(): void {
    const now = performance.now();
    for (const connection of this.#watched) connection.tick(now);
    if (this.#watched.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

type Phase = "head" | "busy" | "draining" | "hijacked" | "lingering" | "closed";

/** One client connection: reads heads, runs one handler at a time, answers in order. */
export class Connection {
  readonly #socket: Socket;
  readonly #set: Connections;
  readonly #scanner = new HeadScanner();
  #phase: Phase = "head";
  readonly #hadFd: boolean;
  /** Bytes pass as they are: a descriptor is all that is needed to read and write them. */
  readonly #isPlain: boolean;
  #deadline: number;
  #input: Buffer = empty;
  #body = noBody;
  #drained = 0;
  #exchange: ServerExchange | undefined;
  /** The client has sent its FIN. */
  #ended = false;
  #paused = false;
  /** A Worker reads what comes. */
  #isLent = false;
  #processing = false;
  #closeAfterReply = false;
  #waiter: (() => void) | undefined;
  #drain: PromiseWithResolvers<void> | undefined;

  constructor(socket: Socket, set: Connections) {
    this.#socket = socket;
    this.#set = set;
    this.#hadFd = fdOf(socket) !== undefined;
    this.#isPlain = !("encrypted" in socket);
    this.#deadline = performance.now() + silentTimeout;
    set.watch(this);
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("end", () => this.#onEnd());
    socket.on("drain", () => this.#onDrain());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#onClose());
  }

  get idle(): boolean {
    return this.#phase === "head";
  }

  get closed(): boolean {
    return this.#phase === "closed";
  }

  get writable(): boolean {
    return this.#phase !== "closed" && this.#socket.writable;
  }

  get buffered(): number {
    return this.#socket.writableLength;
  }

  /** The server stops: streams are told by their signal, and after the answer under way the connection closes. */
  closeSoon(): void {
    this.#closeAfterReply = true;
    if (this.#phase === "head") this.#socket.destroy();
    else this.#exchange?.abort();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  tick(now: number): void {
    if (now >= this.#deadline) {
      if (this.#phase === "head" && this.#scanner.length > 0) this.#refuse(new BadRequest(408, "request head not complete in time"));
      else this.#socket.destroy();
    } else if ((this.#ended || this.#paused || this.#isLent) && this.#gone()) this.#socket.destroy();
  }

  // ---- input

  #onData(chunk: Buffer): void {
    if (this.#phase === "lingering" || this.#phase === "closed") return;
    this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
    if (this.#isLent) return;
    if (this.#phase === "head" || this.#phase === "draining") this.#process();
    else if (this.#waiter !== undefined) this.#wake();
    else if (this.#input.length > highWater) {
      this.#paused = true;
      this.#socket.pause();
      // a paused socket doesn't tell of its client's leaving
      this.#set.watch(this);
    }
  }

  #onEnd(): void {
    this.#ended = true;
    if (this.#phase === "head" || this.#phase === "draining" || this.#phase === "lingering") {
      this.#socket.destroySoon();
      return;
    }
    if (this.#gone()) {
      this.#socket.destroy();
      return;
    }
    this.#set.watch(this);
    this.#wake();
  }

  /** After the client's end of input: did it close altogether? Bun drops the handle of such a socket and says nothing. */
  #gone(): boolean {
    const fd = fdOf(this.#socket);
    return fd === undefined ? this.#hadFd : hungUp(fd);
  }

  #onDrain(): void {
    this.#drain?.resolve();
    this.#drain = undefined;
  }

  #onClose(): void {
    this.#phase = "closed";
    this.#set.remove(this);
    this.#input = empty;
    this.#exchange?.abort();
    this.#onDrain();
    this.#wake();
  }

  #wake(): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.();
  }

  /** Handles all complete requests that have arrived. */
  #process(): void {
    if (this.#processing) return;
    this.#processing = true;
    try {
      while (this.#input.length > 0) {
        if (this.#phase === "draining") this.#drainBody();
        if (this.#phase !== "head" || this.#input.length === 0) break;
        const input = this.#input;
        this.#input = empty;
        const found = this.#scanner.push(input);
        if (found === undefined) {
          this.#awaitHead();
          break;
        }
        this.#input = found.rest;
        if (found.head.length > maxHead) throw new BadRequest(431, `request head longer than ${maxHead} bytes`);
        this.#begin(parseHead(found.head));
      }
    } catch (error) {
      if (error instanceof BadRequest) this.#refuse(error);
      else throw error;
    } finally {
      this.#processing = false;
    }
    // what came before the client's FIN has been answered
    if (this.#ended && (this.#phase === "head" || this.#phase === "draining")) this.#linger();
  }

  #awaitHead(): void {
    if (this.#scanner.length > maxHead) throw new BadRequest(431, `request head longer than ${maxHead} bytes`);
    if (this.#scanner.length === 0) return;
    const deadline = performance.now() + headTimeout;
    if (this.#deadline > deadline) this.#deadline = deadline;
    this.#set.watch(this);
  }

  #begin(head: RequestHead): void {
    this.#phase = "busy";
    if (this.#deadline !== Infinity) {
      this.#deadline = Infinity;
      this.#set.unwatch(this);
    }
    this.#body = new BodyDecoder(head.framing);
    if (!head.keepAlive) this.#closeAfterReply = true;
    const exchange = new ServerExchange(head, this);
    this.#exchange = exchange;
    let running: void | Promise<void>;
    try {
      running = this.#set.options.handler(exchange);
    } catch (error) {
      this.#fail(exchange, error);
      return;
    }
    if (running === undefined) this.#finish(exchange);
    else
      running.then(
        () => this.#finish(exchange),
        (error: unknown) => this.#fail(exchange, error),
      );
  }

  /** A handler must answer its own errors: this is the last resort. The query stays out of the log: build arguments stand there. */
  #fail(exchange: ServerExchange, error: unknown): void {
    if (!this.closed) this.#set.options.log.error("request handler failed", { path: exchange.head.target.split("?", 1)[0], error });
    if (!exchange.responded) exchange.reply(500, { "Content-Type": "application/json" }, '{"message":"internal error"}\n');
    this.#finish(exchange);
  }

  #finish(exchange: ServerExchange): void {
    this.#exchange = undefined;
    // a hijacked connection that was ended still has bytes to send
    if (this.closed || this.#phase === "lingering") return;
    if (this.#phase === "hijacked") return this.#linger();
    if (!exchange.complete) {
      // an answer that broke off must not look whole
      this.#socket.destroy();
      return;
    }
    if (this.#closeAfterReply) return this.#linger();
    this.#drained = 0;
    this.#phase = this.#body.done ? "head" : "draining";
    this.#resume();
    this.#process();
  }

  #drainBody(): void {
    while (this.#input.length > 0 && !this.#body.done) {
      const { used } = this.#body.take(this.#input);
      this.#input = this.#input.subarray(used);
      this.#drained += used;
      if (this.#drained > maxDrain) return this.#linger();
    }
    if (this.#body.done) this.#phase = "head";
  }

  #refuse(error: BadRequest): void {
    this.#closeAfterReply = true;
    const body = JSON.stringify({ message: error.message }) + "\n";
    this.send(this.head(error.status, { "Content-Type": "application/json" }, 1) + `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
    this.#linger();
  }

  /** Sends our FIN, then drops input until the client's. */
  #linger(): void {
    if (this.#phase === "lingering" || this.closed) return;
    this.#phase = "lingering";
    this.#input = empty;
    if (this.#ended) {
      this.#socket.destroySoon();
      return;
    }
    this.#socket.end(() => {
      this.#deadline = performance.now() + lingerTime;
      this.#set.watch(this);
    });
    this.#resume();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (!this.#ended && this.#deadline === Infinity) this.#set.unwatch(this);
    this.#socket.resume();
  }

  // ---- for the exchange

  get bodyDone(): boolean {
    return this.#body.done;
  }

  /** An answer that overtakes more of the body than is worth reading is the connection's last, and says so: a client would send its next request here. */
  markCloseBeforeLongBody(): void {
    if (this.#body.left > maxDrain) this.#closeAfterReply = true;
  }

  async readBody(): Promise<Uint8Array | undefined> {
    while (!this.#body.done) {
      if (this.closed) throw cancelled("the client closed the connection before the request's body was complete");
      if (this.#input.length > 0) {
        const data = this.#takeBody();
        if (data.length > 0) return data;
        continue;
      }
      if (this.#ended) throw invalidArgument("the request's body ended before its declared length");
      await this.#moreInput();
    }
    return undefined;
  }

  #takeBody(): Buffer {
    try {
      const { data, used } = this.#body.take(this.#input);
      this.#input = this.#input.subarray(used);
      return data;
    } catch (error) {
      this.#closeAfterReply = true;
      this.#body = noBody;
      throw error;
    }
  }

  /**
   * Lets somebody else read the rest of the body, of which nothing may have been read yet. Undefined where it can't be: TLS, or a socket that doesn't stop.
   * Pausing a socket isn't enough: in Bun 1.4 it goes on until its buffer is full. Its handle's own pause holds, from the next round of the event loop on (the test "a body
   * that is lent" floods it).
   */
  async lendBody(framing: Framing): Promise<LentInput | undefined> {
    const fd = fdOf(this.#socket);
    const handle = handleOf(this.#socket);
    if (!this.#isPlain || this.#ended || fd === undefined || handle === undefined) return undefined;
    this.#isLent = true;
    this.#resume();
    await nextTurn();
    handle.pause();
    if (this.closed || fdOf(this.#socket) === undefined) {
      this.#isLent = false;
      return undefined;
    }
    const first = this.#input;
    this.#input = empty;
    const lent = duplicateFd(fd);
    // a paused socket doesn't tell of its client's leaving
    this.#set.watch(this);
    return {
      fd: lent,
      framing,
      first,
      giveBack: ({ isWhole, rest }) => {
        closeFd(lent);
        this.#isLent = false;
        if (this.#deadline === Infinity) this.#set.unwatch(this);
        this.#body = noBody;
        if (!isWhole) this.#closeAfterReply = true;
        if (this.closed) return;
        this.#input = Buffer.from(rest);
        handle.resume();
      },
    };
  }

  /** See ResponseStream.lend. */
  lendAnswer(isChunked: boolean): LentOutput | undefined {
    const fd = fdOf(this.#socket);
    if (!this.#isPlain || fd === undefined || !this.writable || this.#socket.writableLength > 0) return undefined;
    const lent = duplicateFd(fd);
    // fewer wake-ups for both; TCP finds the size itself
    if (this.#socket.remoteAddress === undefined) widenSendBuffer(lent);
    return { fd: lent, isChunked, giveBack: () => closeFd(lent) };
  }

  /** Raw bytes of a hijacked connection; a chunked body that nobody has read is decoded first (old clients stream stdin so). */
  async readRaw(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.closed) return undefined;
      if (this.#input.length > 0 && !this.#body.done) {
        const data = this.#takeBody();
        if (data.length > 0) return data;
        if (this.#body.done) return undefined;
      } else if (this.#input.length > 0) {
        const data = this.#input;
        this.#input = empty;
        return data;
      } else if (this.#ended || this.#phase === "lingering") return undefined;
      else await this.#moreInput();
    }
  }

  #moreInput(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiter = resolve;
    this.#resume();
    return promise;
  }

  takeOver(): void {
    this.#phase = "hijacked";
  }

  /** Nothing more is written to a hijacked connection. */
  endRaw(): void {
    this.#linger();
  }

  markClose(): void {
    this.#closeAfterReply = true;
  }

  /** Status line and headers, without length or encoding and without the empty line. */
  head(status: number, headers: Record<string, string>, minor: 0 | 1): string {
    let text = `HTTP/1.1 ${status} ${statusText(status)}\r\n${this.#set.options.commonHeaders}${this.#set.date()}`;
    for (const name in headers) text += `${name}: ${headers[name]!.replace(/[\r\n]+/g, " ")}\r\n`;
    if (this.#closeAfterReply) return text + "Connection: close\r\n";
    return minor === 0 ? text + "Connection: keep-alive\r\n" : text;
  }

  send(data: string | Uint8Array): Promise<void> | undefined {
    if (!this.writable) throw cancelled("the client has gone");
    if (this.#socket.write(data)) return undefined;
    this.#drain ??= Promise.withResolvers<void>();
    return this.#drain.promise;
  }
}

class ServerExchange implements Exchange, ResponseStream, Hijacked {
  readonly head: RequestHead;
  onAnswer: ((status: number) => void) | undefined;
  readonly #connection: Connection;
  #abort: AbortController | undefined;
  #gone = false;
  #state: "open" | "streaming" | "hijacked" | "done" = "open";
  #continueDue: boolean;
  #chunked = false;
  #body: RequestBody | undefined;

  constructor(head: RequestHead, connection: Connection) {
    this.head = head;
    this.#connection = connection;
    this.#continueDue = head.expectContinue && head.framing.kind !== "none";
  }

  get body(): RequestBody {
    return (this.#body ??= createBody(
      this.head.framing,
      () => this.read(),
      () => this.#lend(),
    ));
  }

  async #lend(): Promise<LentInput | undefined> {
    if (this.head.framing.kind === "none" || this.#state !== "open" || this.#connection.bodyDone) return undefined;
    this.#sendContinue();
    return await this.#connection.lendBody(this.head.framing);
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#gone) this.abort();
    }
    return this.#abort.signal;
  }

  abort(): void {
    this.#gone = true;
    this.#abort?.abort(cancelled("the client has gone"));
  }

  get responded(): boolean {
    return this.#state !== "open";
  }

  get complete(): boolean {
    return this.#state === "done";
  }

  read(): Promise<Uint8Array | undefined> {
    if (this.#state === "hijacked") return this.#connection.readRaw();
    this.#sendContinue();
    return this.#connection.readBody();
  }

  #sendContinue(): void {
    if (!this.#continueDue || this.#state !== "open") return;
    this.#continueDue = false;
    this.#connection.send("HTTP/1.1 100 Continue\r\n\r\n");
  }

  // ---- answer

  reply(status: number, headers: Record<string, string>, body: string | Uint8Array = ""): void {
    this.#start(status);
    this.#state = "done";
    if (!this.#connection.writable) return;
    this.#connection.markCloseBeforeLongBody();
    let head = this.#connection.head(status, headers, this.head.minor);
    if (status === 204 || status === 304) {
      this.#connection.send(head + "\r\n");
      return;
    }
    head += `Content-Length: ${typeof body === "string" ? Buffer.byteLength(body) : body.length}\r\n\r\n`;
    if (this.head.method === "HEAD") this.#connection.send(head);
    else if (typeof body === "string") this.#connection.send(head + body);
    else {
      this.#connection.send(head);
      this.#connection.send(body);
    }
  }

  stream(status: number, headers: Record<string, string>): ResponseStream {
    this.#start(status);
    this.#state = "streaming";
    this.#chunked = this.head.minor === 1;
    if (!this.#chunked) this.#connection.markClose();
    const head = this.#connection.head(status, headers, this.head.minor);
    this.#connection.send(head + (this.#chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n"));
    return this;
  }

  /** A client that still waits for our 100 must not take the next bytes for a new request: close afterwards. */
  #start(status: number): void {
    if (this.#state !== "open") throw new Error("the answer has been started already");
    this.onAnswer?.(status);
    if (this.#continueDue && !this.#connection.bodyDone) this.#connection.markClose();
  }

  write(chunk: Uint8Array | string): Promise<void> | undefined {
    if (this.#state === "hijacked") return this.#connection.send(chunk);
    if (this.#state !== "streaming") throw cancelled("the answer has ended");
    const size = typeof chunk === "string" ? Buffer.byteLength(chunk) : chunk.length;
    if (size === 0 || this.head.method === "HEAD") return undefined;
    if (!this.#chunked) return this.#connection.send(chunk);
    const line = `${size.toString(16)}\r\n`;
    if (typeof chunk === "string") return this.#connection.send(`${line}${chunk}\r\n`);
    if (size <= 16384) return this.#connection.send(Buffer.concat([Buffer.from(line, "latin1"), chunk, crlf]));
    this.#connection.send(line);
    this.#connection.send(chunk);
    return this.#connection.send("\r\n");
  }

  lend(): LentOutput | undefined {
    return this.#state === "streaming" && this.head.method !== "HEAD" ? this.#connection.lendAnswer(this.#chunked) : undefined;
  }

  end(): void {
    if (this.#state === "hijacked") this.#connection.endRaw();
    else if (this.#state === "streaming") {
      this.#state = "done";
      if (this.#chunked && this.head.method !== "HEAD" && this.#connection.writable) this.#connection.send("0\r\n\r\n");
    }
  }

  hijack(head: string): Hijacked {
    this.#start(101);
    this.#state = "hijacked";
    this.#connection.takeOver();
    this.#connection.send(`${head}\r\n\r\n`);
    return this;
  }

  get buffered(): number {
    return this.#connection.buffered;
  }

  destroy(): void {
    this.#connection.destroy();
  }
}

function createBody(framing: Framing, read: () => Promise<Uint8Array | undefined>, lend: () => Promise<LentInput | undefined>): RequestBody {
  const length = framing.kind === "chunked" ? undefined : framing.kind === "length" ? framing.length : 0;
  return {
    present: framing.kind !== "none",
    length,
    read,
    bytes: async (limit) => {
      const tooLarge = new BadRequest(413, `request body larger than ${limit} bytes`);
      if ((length ?? 0) > limit) throw tooLarge;
      const pieces: Uint8Array[] = [];
      let size = 0;
      for (let piece = await read(); piece !== undefined; piece = await read()) {
        size += piece.length;
        if (size > limit) throw tooLarge;
        pieces.push(piece);
      }
      return Buffer.concat(pieces, size);
    },
    stream: () => {
      const stream = new ReadableStream<Uint8Array>(
        {
          pull: async (controller) => {
            const piece = await read();
            if (piece === undefined) controller.close();
            else controller.enqueue(piece);
          },
        },
        { highWaterMark: 0 },
      );
      return Object.assign(stream, { lend });
    },
  };
}

const empty = Buffer.alloc(0);
const crlf = Buffer.from("\r\n");
const noBody = new BodyDecoder({ kind: "none" });

interface SocketHandle {
  fd?: number;
  pause(): void;
  resume(): void;
}

/** What Bun and Node have behind an open socket; neither has a public name for it. */
function handleOf(socket: Socket): SocketHandle | undefined {
  return (socket as unknown as { _handle?: SocketHandle | null })._handle ?? undefined;
}

function fdOf(socket: Socket): number | undefined {
  const fd = handleOf(socket)?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}
