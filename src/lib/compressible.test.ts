import { expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { runsOf } from "./compressible.ts";

const KIB = 1024;
/** The same each time (xorshift32). */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let x = 0x9e3779b9;
  for (let at = 0; at < length; at++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    bytes[at] = x >>> 11;
  }
  return bytes;
}
const text = (length: number): Buffer => Buffer.alloc(length, "a layer is a set of changes to a file system, ");

/** Numbers of `width` bytes, the lowest of which looks like noise. */
function numbers(length: number, width: number): Buffer {
  const bytes = noise(length);
  for (let at = 0; at < length; at++) if (at % width > 0) bytes[at] = 0;
  return bytes;
}

const kinds = (bytes: Uint8Array): [number, boolean][] => runsOf(bytes).map(({ start, end, compressible }) => [end - start, compressible]);

test("texts, programs and numbers are compressible; noise and what was packed before isn't", () => {
  expect(kinds(text(256 * KIB))).toEqual([[256 * KIB, true]]);
  expect(kinds(noise(256 * KIB))).toEqual([[256 * KIB, false]]);
  const letters = noise(1 << 20).map((byte) => (byte & 15) + 97);
  const packed = gzipSync(letters);
  expect(kinds(letters)).toEqual([[1 << 20, true]]);
  const most = runsOf(packed).filter(({ compressible }) => !compressible);
  expect(most.reduce((sum, { start, end }) => sum + end - start, 0)).toBeGreaterThan(packed.length * 0.9);
  for (const width of [2, 4, 8]) expect([width, kinds(numbers(64 * KIB, width))]).toEqual([width, [[64 * KIB, true]]]);
  expect(kinds(noise(64 * KIB).map((byte) => byte & 0x7f))).toEqual([[64 * KIB, true]]);
});

test("a piece is split where its nature changes, but not for a little noise", () => {
  const piece = Buffer.concat([text(64 * KIB), noise(32 * KIB), text(8 * KIB), noise(4 * KIB), text(20 * KIB + 100)]);
  expect(kinds(piece)).toEqual([
    [64 * KIB, true],
    [32 * KIB, false],
    [32 * KIB + 100, true],
  ]);
});

test("the runs are the whole piece", () => {
  for (const length of [0, 1, 4095, 4096, 4097, 100_000]) {
    const runs = runsOf(noise(length));
    expect([runs[0]?.start, runs.at(-1)?.end]).toEqual([0, length]);
    for (const [i, run] of runs.slice(1).entries()) expect(run.start).toBe(runs[i]!.end);
  }
});
