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

self.addEventListener("message", ({ data: { id, bytes } }) => {
  const packed = Bun.gzipSync(bytes, { level: LEVEL, library: "libdeflate" });
  self.postMessage({ id, bytes: packed }, [packed.buffer]);
});
