import type { Digest } from "../oci/digest.ts";
import type { Descriptor } from "../oci/image.ts";
import type { Endpoint } from "./endpoints.ts";
import { misbehaviour, RegistryError } from "./errors.ts";
import { withRetries, type RetryOptions } from "./retry.ts";
import type { Call, Caller } from "./repository.ts";
import type { BlobTarget } from "./types.ts";

/** Blobs from this size on are fetched in pieces, some at once: one connection rarely gets all that a line has. */
const PIECE = 16 << 20;
const PIECEWISE = 2 * PIECE;
const LANES = 4;
/** Bytes that are written at once, */
const GATHERED = 1 << 19;
/** and milliseconds after which fewer are. */
const PATIENCE = 100;
/** Bytes that a broken download must have got further by, for its next failure to count as the first. */
const realProgress = 256 * 1024;

interface Range {
  start: number;
  /** Exclusive. */
  end: number;
}

/** Thrown where a registry answered one of several ranges with the whole blob. */
class NoRanges extends Error {}

export interface DownloadOptions extends RetryOptions {
  /** Over one connection, in order. */
  sequential?: boolean;
}

/** Fills what `target` misses, where bytes that it has already may come again. @throws RegistryError, or EngineError `cancelled` */
export async function downloadBlob(call: Caller, endpoint: Endpoint, blob: Descriptor, target: BlobTarget, options: DownloadOptions): Promise<void> {
  const missing = target.missing();
  if (options.sequential !== true && blob.size >= PIECEWISE) {
    try {
      return await inPieces(call, endpoint, blob, target, missing.flatMap(cut), options);
    } catch (error) {
      if (!(error instanceof NoRanges)) throw error;
    }
  }
  for (const range of missing) {
    await withRetries(options, (progressed) => downloadRange({ call, endpoint, blob, target, sole: true, progressed, ...signalOf(options) }, range));
  }
}

async function inPieces(call: Caller, endpoint: Endpoint, blob: Descriptor, target: BlobTarget, pieces: Range[], options: RetryOptions): Promise<void> {
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  let failure: { error: unknown } | undefined;
  const sole = pieces.length === 1;
  const lane = async (): Promise<void> => {
    try {
      for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift()) {
        const range = piece;
        await withRetries({ ...options, signal }, (progressed) => downloadRange({ call, endpoint, blob, target, sole, progressed, signal }, range));
      }
    } catch (error) {
      // The first failure, not the cancellations that it causes.
      failure ??= { error };
      stop.abort();
    }
  };
  await Promise.all(Array.from({ length: Math.min(LANES, pieces.length) }, lane));
  if (failure !== undefined) throw failure.error;
}

function signalOf({ signal }: { signal?: AbortSignal }): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function cut({ start, end }: Range): Range[] {
  return Array.from({ length: Math.ceil((end - start) / PIECE) }, (_, i) => ({ start: start + i * PIECE, end: Math.min(start + (i + 1) * PIECE, end) }));
}

interface Try {
  call: Caller;
  endpoint: Endpoint;
  blob: Descriptor;
  target: BlobTarget;
  /** No other range is asked for at the same time. */
  sole: boolean;
  progressed: () => void;
  signal?: AbortSignal;
}

/** Moves the range's start forward with what has been written. */
async function downloadRange({ call, endpoint, blob: { digest, size }, target, sole, progressed, signal }: Try, range: Range): Promise<void> {
  const begun = range.start;
  if (begun === range.end && size > 0) return;
  try {
    using exchange = await call(endpoint, rangeRequest(digest, size, range, signal));
    const whole = exchange.status === 200;
    if (whole && begun > 0 && !sole) throw new NoRanges();
    if (!whole) checkRange(exchange.headers.get("content-range"), range, size, digest);
    const expected = whole ? { start: 0, end: size } : { start: begun, end: range.end };
    const length = Number(exchange.headers.get("content-length") ?? NaN);
    if (Number.isSafeInteger(length) && length !== expected.end - expected.start)
      throw misbehaviour(`the registry sends ${length} bytes for blob ${digest}, where the manifest says ${expected.end - expected.start}`);
    const write: BlobTarget["write"] = async (at, chunks) => {
      await target.write(at, chunks);
      range.start = Math.max(range.start, at + lengthOf(chunks));
    };
    const reached = await pour(exchange.body(), expected, write, () =>
      misbehaviour(`the registry sends more than the ${size} bytes that the manifest says for blob ${digest}`),
    );
    if (reached < expected.end)
      throw new RegistryError("unavailable", `Get "${exchange.url}": unexpected EOF after ${reached} of ${size} bytes`, { temporary: true });
  } finally {
    if (range.start - begun >= realProgress) progressed();
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

/** Writes what comes, several chunks at once; returns where it ended. */
async function pour(body: AsyncIterable<Uint8Array>, { start, end }: Range, write: BlobTarget["write"], tooMuch: () => Error): Promise<number> {
  let at = start;
  let gathered: Uint8Array[] = [];
  let length = 0;
  let since = performance.now();
  const flush = async (): Promise<void> => {
    const [chunks, bytes] = [gathered, length];
    gathered = [];
    length = 0;
    since = performance.now();
    if (bytes === 0) return;
    await write(at, chunks);
    at += bytes;
  };
  try {
    for await (const chunk of body) {
      if (at + length + chunk.length > end) throw tooMuch();
      gathered.push(chunk);
      length += chunk.length;
      if (length >= GATHERED || performance.now() - since > PATIENCE) await flush();
    }
  } finally {
    // What came before a connection was lost need not come again.
    await flush();
  }
  return at;
}

function rangeRequest(digest: Digest, size: number, { start, end }: Range, signal?: AbortSignal): Call {
  const headers = start === 0 && end === size ? undefined : { range: `bytes=${start}-${end === size ? "" : end - 1}` };
  return { method: "GET", path: `blobs/${digest}`, accept: [200, 206], decompress: false, ...(headers && { headers }), ...(signal && { signal }) };
}

function checkRange(header: string | null, { start, end }: Range, size: number, digest: Digest): void {
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(header ?? "");
  if (match === null || Number(match[1]) !== start || Number(match[2]) >= end || (match[3] !== "*" && Number(match[3]) !== size)) {
    throw misbehaviour(`the registry answered a range of blob ${digest} from byte ${start} with ${JSON.stringify(header)?.slice(0, 100)}`);
  }
}
