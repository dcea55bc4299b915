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
  /** The answer is there: what nobody has read isn't wanted. Until when it is taken all the same; undefined where there is no more. */
  refuse(): Promise<void> | undefined;
}

/** To be called as soon as a request is there: what comes before its body is looked at, Bun keeps in memory (measured, 1.4.5), however much it is. */
export function bodyOf(request: Request): Body {
  const stream = request.body;
  if (stream === null) return { chunks: async function* () {}, refuse: () => undefined };
  const reader = stream.getReader();
  const state: Reading = { reader, isOver: false, lingering: undefined };
  return {
    chunks: () => chunksOf(state),
    refuse: () => (state.isOver ? undefined : (state.lingering ??= linger(reader))),
  };
}

interface Reading {
  reader: Reader;
  /** All of it was read. */
  isOver: boolean;
  lingering: Promise<void> | undefined;
}

type Reader = Pick<ReadableStreamDefaultReader<Uint8Array>, "read" | "cancel">;

async function* chunksOf(state: Reading): AsyncGenerator<Uint8Array> {
  const { reader } = state;
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
      if (done) {
        state.isOver = true;
        return;
      }
      yield value;
    }
  } finally {
    clearTimeout(timer);
    if (!state.isOver) state.lingering ??= linger(reader);
  }
}

/** Reads on for a moment, so that a client that is still sending what was refused gets to see its answer, then lets go. */
async function linger(reader: Reader): Promise<void> {
  const timer = setTimeout(() => void reader.cancel().catch(() => undefined), lingerTime);
  timer.unref();
  try {
    while (!(await reader.read()).done);
  } catch {
    // the client is gone, and has no use for an answer
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

/** An If-None-Match (RFC 9110, 13.1.2): compared weakly, several tags, or `*`. */
export function matchesEtag(header: string | null, etag: string): boolean {
  return header?.split(",").some((tag) => tag.trim() === "*" || tag.trim().replace(/^W\//, "") === etag) ?? false;
}

/** `lingering`: the rest of a body that was refused still comes, until then. */
export function toResponse(method: string, { status, headers, body }: Answer, lingering?: Promise<void>): Response {
  const all: Record<string, string> = { "docker-distribution-api-version": "registry/2.0", "x-content-type-options": "nosniff", ...headers };
  const size = body === undefined ? 0 : typeof body === "string" ? Buffer.byteLength(body) : body instanceof Uint8Array ? body.length : body.size;
  if (status !== 204 && status !== 304) all["content-length"] ??= String(size);
  if (method === "HEAD" || body === undefined || size === 0) return new Response(null, { status, headers: all });
  if (typeof body === "string" || body instanceof Uint8Array)
    return new Response(lingering === undefined ? body : heldOpen(body, lingering), { status, headers: all });
  if ("stream" in body) return new Response(body.stream, { status, headers: all });
  // Bun would tell the file's name.
  all["content-disposition"] = "attachment";
  return new Response(body.file, { status, headers: all });
}

/**
 * All of `body` at once, but its end only after `until`: with the end Bun closes the connection where the request's body hasn't come whole (1.4.5), and what the
 * client sends then makes the kernel reset it and drop what the client hasn't read yet.
 */
function heldOpen(body: string | Uint8Array, until: Promise<void>): ReadableStream<Uint8Array> {
  let isOpen = true;
  return new ReadableStream<Uint8Array>({
    start: (controller) => {
      controller.enqueue(typeof body === "string" ? new TextEncoder().encode(body) : body);
      void until.then(() => {
        if (isOpen) controller.close();
      });
    },
    cancel: () => {
      isOpen = false;
    },
  });
}
