import type { IncomingMessage, ServerResponse } from "node:http";
import { once } from "node:events";
import { Fault } from "./faults.ts";

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  /** Left out of a HEAD's answer, whose headers are those of the GET. */
  body?: string | Uint8Array | { stream: () => ReadableStream<Uint8Array>; size: number };
}

/** What handlers see of a request. */
export interface Call {
  method: string;
  headers: IncomingMessage["headers"];
  query: URLSearchParams;
  /** The body's chunks; each is fetched from the socket when it is asked for. @throws Fault where the client stalls or goes away */
  body(): AsyncGenerator<Uint8Array>;
}

/** Milliseconds in which a client must send or take something. */
const stallTimeout = 120_000;

/** The request's body as it arrives, ended by an error where the client is gone or silent. */
export async function* bodyOf(request: IncomingMessage): AsyncGenerator<Uint8Array> {
  const stalled = (): void => {
    request.destroy(new Fault("BLOB_UPLOAD_INVALID", `the client sent nothing for ${stallTimeout / 1000} seconds`, { status: 408 }));
  };
  let timer = setTimeout(stalled, stallTimeout);
  try {
    for await (const chunk of request) {
      clearTimeout(timer);
      yield chunk as Uint8Array;
      timer = setTimeout(stalled, stallTimeout);
    }
    if (!request.complete) throw new Fault("BLOB_UPLOAD_INVALID", "the client went away before the end of the body");
  } finally {
    clearTimeout(timer);
  }
}

/** A body in memory. @throws Fault 413 above `limit` bytes */
export async function readAll(call: Call, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of call.body()) {
    size += chunk.length;
    if (size > limit) throw new Fault("SIZE_INVALID", `a manifest may have ${limit} bytes at most`, { status: 413 });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Writes an answer, waiting for the client where it is slow. */
export async function writeAnswer(request: IncomingMessage, response: ServerResponse, { status, headers, body }: Answer): Promise<void> {
  const size = body === undefined ? 0 : typeof body === "string" ? Buffer.byteLength(body) : body instanceof Uint8Array ? body.length : body.size;
  const all: Record<string, string> = { "docker-distribution-api-version": "registry/2.0", "x-content-type-options": "nosniff", ...headers };
  if (status !== 204 && status !== 304) all["content-length"] ??= String(size);
  if (!request.complete) all.connection = "close";
  response.writeHead(status, all);
  if (request.method === "HEAD" || body === undefined || size === 0) {
    response.end();
    return;
  }
  if (typeof body === "string" || body instanceof Uint8Array) {
    response.end(body);
    return;
  }
  await pump(body.stream(), response);
}

async function pump(stream: ReadableStream<Uint8Array>, response: ServerResponse): Promise<void> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || response.destroyed) break;
      if (!response.write(value)) await drained(response);
    }
    response.end();
  } catch (error) {
    // The head is out: a broken connection is the only way left to say that the body isn't whole.
    response.destroy();
    throw error;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

async function drained(response: ServerResponse): Promise<void> {
  const abort = new AbortController();
  const timer = setTimeout(() => response.destroy(), stallTimeout);
  try {
    await Promise.race([once(response, "drain", { signal: abort.signal }), once(response, "close", { signal: abort.signal })]);
  } finally {
    clearTimeout(timer);
    abort.abort();
  }
}
