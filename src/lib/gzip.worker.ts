import { runsOf } from "./compressible.ts";
import type { GzipReply, GzipRequest } from "./gzip.ts";

/** The Worker behind gzip.ts: packs one piece after another. */

declare const self: {
  addEventListener(type: "message", listener: (event: { data: GzipRequest }) => void): void;
  postMessage(message: GzipReply, transfer: ArrayBuffer[]): void;
};

/**
 * Of tars of programs libdeflate's first level makes 5% more than zlib's sixth, which Docker uses, in a quarter of the time (measured: 200 against 45 MB a
 * second and core), and 8% less than zlib's first.
 */
const LEVEL = 1;

/** What can't be made smaller is stored as it is: trying takes longer than packing a text does (8 against 5 ms a megabyte; jars are packed four times as fast). */
const STORED = 0;

function pack(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const members = runsOf(bytes).map(({ start, end, compressible }) =>
    Bun.gzipSync(bytes.subarray(start, end), { level: compressible ? LEVEL : STORED, library: "libdeflate" }),
  );
  return members.length === 1 ? members[0]! : Bun.concatArrayBuffers(members, Infinity, true);
}

self.addEventListener("message", ({ data: { id, bytes } }) => {
  const packed = pack(bytes);
  self.postMessage({ id, bytes: packed }, [packed.buffer]);
});
