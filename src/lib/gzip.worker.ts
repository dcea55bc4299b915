import { runsOf } from "./compressible.ts";
import { answerCalls } from "./worker-calls.ts";

/** The Worker behind gzip.ts: packs one piece after another. */

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

answerCalls(pack, (packed) => [packed.buffer]);
