/** Looked at as one: small enough to find a picture between programs, large enough to judge. */
const BLOCK = 4 << 10;
/** Prime, so that no column of a table, of numbers of 2, 4 or 8 bytes, is the only one that is seen. */
const STRIDE = 7;
/** Shorter runs aren't worth a piece of their own. */
const LEAST_RUN = 2 * BLOCK;
/**
 * Of the sum of squares of how often each byte value was seen, over what equal shares would give: random and compressed bytes have 1.44 ± 0.04 with these
 * samples (chi-square of 255 degrees of freedom), programs 3 and more, texts 10.
 */
const MOST_UNEVEN = 1.6;

/** Bytes from `start` to `end` of a piece. */
export interface Run {
  start: number;
  end: number;
  /** False for what looks like noise: archives, pictures, ciphertext. No compressor makes it smaller, and trying costs more than with any other bytes. */
  compressible: boolean;
}

/** Splits a piece where its nature changes, an empty one into one run. An error costs room, nothing else. Takes 0.2 ms a megabyte. */
export function runsOf(bytes: Uint8Array): Run[] {
  const runs: Run[] = [];
  const counts = new Uint16Array(256);
  for (let start = 0; start < bytes.length; start += BLOCK) {
    const end = Math.min(start + BLOCK, bytes.length);
    const compressible = end - start < BLOCK ? (runs.at(-1)?.compressible ?? true) : !isNoise(bytes, start, end, counts);
    append(runs, { start, end, compressible });
  }
  if (runs.length === 0) return [{ start: 0, end: 0, compressible: true }];
  const long: Run[] = [];
  for (const run of runs) append(long, { ...run, compressible: run.compressible || run.end - run.start < LEAST_RUN });
  return long;
}

function append(runs: Run[], run: Run): void {
  const last = runs.at(-1);
  if (last?.compressible === run.compressible) last.end = run.end;
  else runs.push({ ...run });
}

/** `counts` has room for 256 and is written over. */
function isNoise(bytes: Uint8Array, start: number, end: number, counts: Uint16Array): boolean {
  counts.fill(0);
  let samples = 0;
  let squares = 0;
  for (let at = start; at < end; at += STRIDE) {
    const seen = counts[bytes[at]!]!++;
    squares += 2 * seen + 1;
    samples++;
  }
  return squares * 256 < MOST_UNEVEN * samples * samples;
}
