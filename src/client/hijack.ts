import type { Socket } from "bun";
import { ApiError, errorMessage } from "./errors.ts";
import type { Host } from "./host.ts";

/** A connection taken over from HTTP: raw bytes both ways, each way closed on its own. */
export interface HijackedConnection extends Disposable {
  readonly contentType: string;
  /** What the engine sends, from the first byte after the head. Read it once. Ends at the engine's half-close. */
  readonly output: AsyncIterable<Uint8Array>;
  /** Resolves when the bytes are with the kernel; rejects when the connection is gone. */
  write(bytes: Uint8Array): Promise<void>;
  /** Sends end-of-file and keeps reading. */
  closeWrite(): void;
}

export interface HijackOptions {
  host: SocketHost;
  tls?: { ca?: string; cert?: string; key?: string; rejectUnauthorized: boolean };
  /** Path and query. */
  target: string;
  headers: Record<string, string>;
  json?: unknown;
  signal?: AbortSignal;
}

const maxHead = 64 * 1024;
const maxErrorBody = 1024 * 1024;
/** The socket is paused while more than this waits for its reader. */
const highWater = 1024 * 1024;

/** Chunks that wait for their reader, with back-pressure on the socket they came from. */
class Inbox {
  #chunks: Uint8Array[] = [];
  #size = 0;
  #ended = false;
  #error: unknown;
  #wake: () => void = () => {};
  readonly #pause: () => void;
  readonly #resume: () => void;

  constructor(pause: () => void, resume: () => void) {
    this.#pause = pause;
    this.#resume = resume;
  }

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size > highWater) this.#pause();
    this.#wake();
  }

  end(error?: unknown): void {
    this.#ended = true;
    this.#error ??= error;
    this.#wake();
  }

  /** The next chunk, undefined at the end. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0) {
      if (this.#ended) {
        if (this.#error !== undefined) throw this.#error;
        return undefined;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const chunk = this.#chunks.shift() as Uint8Array;
    const wasFull = this.#size > highWater;
    this.#size -= chunk.length;
    if (wasFull && this.#size <= highWater) this.#resume();
    return chunk;
  }

  unshift(chunk: Uint8Array): void {
    this.#chunks.unshift(chunk);
    this.#size += chunk.length;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (let chunk = await this.next(); chunk !== undefined; chunk = await this.next()) yield chunk;
  }
}

/** A bare connection to an engine: bytes both ways, each way closed on its own. */
export interface RawConnection extends Pick<HijackedConnection, "write" | "closeWrite">, Disposable {
  readonly inbox: Inbox;
}

export type SocketHost = Exclude<Host, { kind: "ssh" }>;

export async function connectRaw({ host, tls, signal }: { host: SocketHost; tls?: HijackOptions["tls"]; signal?: AbortSignal }): Promise<RawConnection> {
  let drained: () => void = () => {};
  let closed = false;
  let failure: unknown;
  const inbox = new Inbox(
    () => socket.pause(),
    () => socket.resume(),
  );
  const shut = (error?: unknown): void => {
    closed = true;
    failure ??= error;
    inbox.end(failure);
    drained();
  };
  signal?.throwIfAborted();
  const handler = {
    // The chunk's memory is the socket's own: keep a copy.
    data: (_: Socket, chunk: Buffer) => inbox.push(new Uint8Array(chunk)),
    drain: () => drained(),
    end: () => inbox.end(),
    close: (_: Socket, error?: Error) => shut(error),
    error: (_: Socket, error: Error) => shut(error),
    handshake: (_: Socket, trusted: boolean, error: Error | null) => {
      if (!trusted && error !== null) shut(error);
    },
    connectError: (_: Socket, error: Error) => shut(error),
  };
  const socket: Socket =
    host.kind === "unix"
      ? await Bun.connect({ unix: host.path, allowHalfOpen: true, socket: handler })
      : await Bun.connect({
          hostname: host.hostname.replace(/^\[|\]$/g, ""),
          port: host.port,
          allowHalfOpen: true,
          socket: handler,
          ...(tls === undefined ? {} : { tls }),
        });
  const abort = (): void => {
    socket.terminate();
    shut(signal?.reason);
  };
  signal?.addEventListener("abort", abort, { once: true });

  const write = async (bytes: Uint8Array): Promise<void> => {
    for (let rest = bytes; rest.length > 0;) {
      const sent = closed ? -1 : socket.write(rest);
      if (sent < 0) throw failure ?? Object.assign(new Error("the connection to the engine was closed"), { code: "EPIPE" });
      rest = rest.subarray(sent);
      if (rest.length > 0) await new Promise<void>((resolve) => (drained = resolve));
    }
  };

  return {
    inbox,
    write,
    closeWrite: () => {
      if (!closed) socket.shutdown();
    },
    [Symbol.dispose]: () => {
      signal?.removeEventListener("abort", abort);
      socket.end();
    },
  };
}

/**
 * POSTs with `Upgrade: tcp` over a socket of its own (fetch can't give its connection away) and hands the connection over on 101, or on 200 as
 * old engines answer. @throws ApiError for any other answer
 */
export async function connectHijack(options: HijackOptions): Promise<HijackedConnection> {
  const connection = await connectRaw(options);
  const { inbox, write, closeWrite } = connection;
  try {
    await write(requestHead(options));
    const { status, statusText, headers } = await readHead(inbox);
    if (status !== 101 && status !== 200) {
      throw new ApiError(status, errorMessage(await readErrorBody(inbox, headers), status, statusText));
    }
    return {
      contentType: headers.get("content-type") ?? "",
      output: inbox,
      write,
      closeWrite,
      [Symbol.dispose]: () => connection[Symbol.dispose](),
    };
  } catch (error) {
    connection[Symbol.dispose]();
    throw error;
  }
}

function requestHead(options: HijackOptions): Uint8Array {
  const body = options.json === undefined ? "" : JSON.stringify(options.json);
  const headers: Record<string, string> = {
    Host: options.host.kind === "unix" ? "berth" : `${options.host.hostname}:${options.host.port}`,
    ...options.headers,
    Connection: "Upgrade",
    Upgrade: "tcp",
    "Content-Type": options.json === undefined ? "text/plain" : "application/json",
    "Content-Length": String(Buffer.byteLength(body)),
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value.replace(/[\r\n]/g, " ")}\r\n`);
  return Buffer.from(`POST ${options.target} HTTP/1.1\r\n${lines.join("")}\r\n${body}`);
}

/** Reads the answer's head; bytes after it go back to the inbox. */
async function readHead(inbox: Inbox): Promise<{ status: number; statusText: string; headers: Map<string, string> }> {
  let bytes: Buffer = Buffer.alloc(0);
  let end = -1;
  while (end < 0) {
    const chunk = await inbox.next();
    if (chunk === undefined) throw Object.assign(new Error("the engine closed the connection without an answer"), { code: "ECONNRESET" });
    bytes = Buffer.concat([bytes, chunk]);
    end = bytes.indexOf("\r\n\r\n");
    if (end < 0 && bytes.length > maxHead) throw new Error("the engine's answer has a head of more than 64 KiB");
  }
  if (bytes.length > end + 4) inbox.unshift(new Uint8Array(bytes.subarray(end + 4)));
  const [first = "", ...rest] = bytes.toString("latin1", 0, end).split("\r\n");
  const match = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(first);
  if (match === null) throw new Error(`the engine's answer is not HTTP: ${JSON.stringify(first.slice(0, 80))}`);
  const headers = new Map<string, string>();
  for (const line of rest) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return { status: Number(match[1]), statusText: match[2] ?? "", headers };
}

/** An error's body, by length, by chunks or up to the end of the connection. */
async function readErrorBody(inbox: Inbox, headers: Map<string, string>): Promise<string> {
  const chunked = headers.get("transfer-encoding")?.toLowerCase() === "chunked";
  const length = Number(headers.get("content-length") ?? Number.POSITIVE_INFINITY);
  let body: Buffer = Buffer.alloc(0);
  const complete = (): boolean => (chunked ? /(?:^|\r\n)0\r\n(?:.*\r\n)*\r\n$/.test(body.toString("latin1")) : body.length >= length);
  while (!complete() && body.length < maxErrorBody) {
    const chunk = await inbox.next();
    if (chunk === undefined) break;
    body = Buffer.concat([body, chunk]);
  }
  if (!chunked) return body.toString();
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const eol = body.indexOf("\r\n", at);
    const size = eol < 0 ? 0 : Number.parseInt(body.toString("latin1", at, eol), 16);
    if (!(size > 0)) return Buffer.concat(parts).toString();
    parts.push(body.subarray(eol + 2, eol + 2 + size));
    at = eol + 2 + size + 2;
  }
}
