import { internal, messageOf } from "./errors.ts";
import { createWorkerCalls } from "./worker-calls.ts";

/**
 * Bytes of one gzip member. A file may have any number of them (RFC 1952, section 2.2), which is what lets several processors work on one layer; every
 * reader of layers takes them (estargz layers are made so, too). Smaller pieces gain nothing, greater ones hold more memory.
 */
export const MEMBER = 256 << 10;

/** More than these are no faster than what feeds them: one stream of bytes that is read, hashed and stored. */
const MOST_WORKERS = 8;

/** Packs streams in Workers, on all processors. The Workers start with the first need for them and stay. */
export interface Gzip extends Disposable {
  /** The same bytes always give the same bytes, however they come. Chunks that fill a buffer of MEMBER bytes are taken over without a copy. */
  pack(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined>;
}

export function createGzip(workers = Math.min(navigator.hardwareConcurrency, MOST_WORKERS)): Gzip {
  const pool = Array.from({ length: workers }, () => createWorkerCalls<Uint8Array<ArrayBuffer>, Uint8Array>("lib/gzip.worker.ts"));

  const pieceOf = (bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> => {
    const leastBusy = pool.reduce((best, each) => (each.open < best.open ? each : best));
    const packed = leastBusy.call(bytes, [bytes.buffer]).catch((error: unknown) => {
      throw internal(`compressing failed: ${messageOf(error)}`, error);
    });
    // Whoever awaits it may have gone by the time that it fails.
    packed.catch(() => {});
    return packed;
  };

  return {
    async *pack(source) {
      const packed: Promise<Uint8Array>[] = [];
      let any = false;
      for await (const piece of inPieces(source)) {
        any = true;
        packed.push(pieceOf(piece));
        // Two for each Worker, so that none waits for us.
        if (packed.length >= 2 * workers) yield await packed.shift()!;
      }
      if (!any) packed.push(pieceOf(new Uint8Array(0)));
      for (const piece of packed) yield await piece;
    },
    [Symbol.dispose]: () => {
      for (const each of pool) each[Symbol.dispose]();
    },
  };
}

/** Cut into pieces of MEMBER bytes, each in a buffer of its own. */
async function* inPieces(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  let piece: Buffer<ArrayBuffer> | undefined;
  let length = 0;
  for await (const chunk of source) {
    if (length === 0 && chunk.length === MEMBER && chunk.buffer instanceof ArrayBuffer && chunk.buffer.byteLength === MEMBER) {
      yield chunk as Uint8Array<ArrayBuffer>;
      continue;
    }
    for (let at = 0; at < chunk.length;) {
      piece ??= Buffer.allocUnsafeSlow(MEMBER);
      const part = chunk.subarray(at, at + MEMBER - length);
      piece.set(part, length);
      at += part.length;
      length += part.length;
      if (length < MEMBER) break;
      yield piece;
      piece = undefined;
      length = 0;
    }
  }
  if (piece !== undefined) yield piece.subarray(0, length);
}
