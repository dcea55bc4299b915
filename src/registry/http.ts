import type { BunFile } from "bun";
import { messageOf } from "../lib/errors.ts";
import { Fault } from "./faults.ts";

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  /** Left out of a HEAD's answer, whose headers are those of the GET. A file (or a slice of one) is sent by the kernel where that can be. */
  body?: string | Uint8Array | { file: BunFile; size: number } | { stream: ReadableStream<Uint8Array>; size: number };
}

/** What handlers see of a request. */
export interface Call {
  method: string;
  /** Over TLS. */
  secure: boolean;
  headers: Headers;
  query: URLSearchParams;
  /** The body's chunks; each is fetched from the socket when it is asked for. @throws Fault where the client stalls or goes away */
  body(): AsyncGenerator<Uint8Array>;
}

/** Milliseconds in which a client must send something. Whoever takes nothing is cut off by the server's idle timeout. */
const stallTimeout = 120_000;
/** Milliseconds for which the rest of a refused body is still taken. */
const lingerTime = 2000;

/** A request's body: chunks as they are asked for, and the end of it. */
export interface Body {
  /** Ended by an error where the client is gone or silent. */
  chunks(): AsyncGenerator<Uint8Array>;
  /** The answer is there: what nobody has read isn't wanted. */
  refuse(): void;
}

/** To be called as soon as a request is there: what comes before its body is looked at, Bun keeps in memory (measured, 1.4.5), however much it is. */
export function bodyOf(request: Request): Body {
  const stream = request.body;
  if (stream === null) return { chunks: async function* () {}, refuse: () => undefined };
  const reader = stream.getReader();
  let isRead = false;
  return {
    chunks: () => {
      isRead = true;
      return chunksOf(reader);
    },
    refuse: () => {
      if (!isRead) linger(reader);
    },
  };
}

type Reader = Pick<ReadableStreamDefaultReader<Uint8Array>, "read" | "cancel">;

async function* chunksOf(reader: Reader): AsyncGenerator<Uint8Array> {
  let [isReading, isSilent] = [false, false];
  // Not by Promise.race: a promise that waits beside all reads would keep all their chunks.
  const timer = setTimeout(() => {
    // Where the disk is slow, it isn't the client who is silent.
    if (!isReading) return void timer.refresh();
    isSilent = true;
    reader.cancel().catch(() => undefined);
  }, stallTimeout);
  try {
    for (;;) {
      timer.refresh();
      isReading = true;
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw new Fault("BLOB_UPLOAD_INVALID", "the client went away before the end of the body", { detail: messageOf(error) });
      });
      isReading = false;
      if (isSilent) throw new Fault("BLOB_UPLOAD_INVALID", `the client sent nothing for ${stallTimeout / 1000} seconds`, { status: 408 });
      if (done) return;
      yield value;
    }
  } finally {
    clearTimeout(timer);
    linger(reader);
  }
}

/** Reads on for a moment, so that a client that is still sending what was refused gets to see its answer, then lets go. */
function linger(reader: Reader): void {
  const timer = setTimeout(() => void reader.cancel().catch(() => undefined), lingerTime);
  timer.unref();
  const drain = async (): Promise<void> => {
    while (!(await reader.read()).done);
  };
  drain()
    .catch(() => undefined)
    .finally(() => clearTimeout(timer));
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

/** An If-None-Match (RFC 9110, 13.1.2): compared weakly, several tags, or `*`. */
export function matchesEtag(header: string | null, etag: string): boolean {
  return header?.split(",").some((tag) => tag.trim() === "*" || tag.trim().replace(/^W\//, "") === etag) ?? false;
}

export function toResponse(method: string, { status, headers, body }: Answer): Response {
  const all: Record<string, string> = { "docker-distribution-api-version": "registry/2.0", "x-content-type-options": "nosniff", ...headers };
  const size = body === undefined ? 0 : typeof body === "string" ? Buffer.byteLength(body) : body instanceof Uint8Array ? body.length : body.size;
  if (status !== 204 && status !== 304) all["content-length"] ??= String(size);
  if (method === "HEAD" || body === undefined || size === 0) return new Response(null, { status, headers: all });
  if (typeof body === "string" || body instanceof Uint8Array) return new Response(body, { status, headers: all });
  if ("stream" in body) return new Response(body.stream, { status, headers: all });
  // Bun would tell the file's name.
  all["content-disposition"] = "attachment";
  return new Response(body.file, { status, headers: all });
}
