import { internal } from "./errors.ts";
import { startWorker, type WorkerHandle } from "./worker.ts";

export interface GzipRequest {
  id: number;
  bytes: Uint8Array<ArrayBuffer>;
}
export interface GzipReply {
  id: number;
  bytes: Uint8Array<ArrayBuffer>;
}

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

interface Member {
  handle: WorkerHandle<GzipRequest, GzipReply>;
  waiting: Map<number, PromiseWithResolvers<Uint8Array>>;
}

export function createGzip(workers = Math.min(navigator.hardwareConcurrency, MOST_WORKERS)): Gzip {
  const pool: (Member | undefined)[] = Array.from({ length: workers });
  let nextId = 0;

  const start = (slot: number): Member => {
    const handle = startWorker<GzipRequest, GzipReply>("lib/gzip.worker.ts");
    const waiting: Member["waiting"] = new Map();
    handle.onMessage(({ id, bytes }) => {
      waiting.get(id)?.resolve(bytes);
      waiting.delete(id);
    });
    handle.onError((error) => {
      pool[slot] = undefined;
      for (const { reject } of waiting.values()) reject(internal(`compressing failed: ${error.message}`, error));
    });
    return { handle, waiting };
  };

  /** The least busy one. */
  const choose = (): Member => {
    let best: Member | undefined;
    for (const [slot, member] of pool.entries()) {
      if (member === undefined) return (pool[slot] = start(slot));
      if (best === undefined || member.waiting.size < best.waiting.size) best = member;
    }
    return best!;
  };

  const pieceOf = (bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> => {
    const { handle, waiting } = choose();
    const id = ++nextId;
    const result = Promise.withResolvers<Uint8Array>();
    // Whoever awaits it may have gone by the time that it fails.
    result.promise.catch(() => {});
    waiting.set(id, result);
    handle.post({ id, bytes }, [bytes.buffer]);
    return result.promise;
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
      for (const member of pool) member?.handle[Symbol.dispose]();
      pool.fill(undefined);
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
