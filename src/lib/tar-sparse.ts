import { invalidArgument } from "./errors.ts";
import { BLOCK } from "./tar.ts";

/**
 * Maps of sparse files: which parts of a file an archive has the bytes of; the rest is zeros. GNU tar's manual, "Sparse Formats": the old type `S`,
 * and versions 0.0, 0.1 and 1.0 over PAX records.
 */
export interface SparseRun {
  offset: number;
  length: number;
}

/** As Go's archive/tar bounds it (CVE-2025-58183). */
const MAP_LIMIT = 1 << 20;

function bad(what: string): Error {
  return invalidArgument(`bad tar archive: ${what}`);
}

/** Runs that ascend, don't overlap, lie in a file of `size` bytes and hold `stored` bytes together; empty ones fall away. @throws EngineError invalidArgument */
export function checkedRuns(runs: readonly SparseRun[], size: number, stored: number): SparseRun[] {
  let end = 0;
  let sum = 0;
  for (const { offset, length } of runs) {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || length < 0 || offset < end || offset > size - length)
      throw bad(`a sparse file of ${size} bytes with ${length} bytes at ${offset}, after ${end}`);
    end = offset + length;
    sum += length;
  }
  if (sum !== stored) throw bad(`a sparse file whose map tells of ${sum} bytes, and the archive has ${stored}`);
  return runs.filter(({ length }) => length > 0);
}

function runsOf(numbers: readonly string[]): SparseRun[] {
  const runs: SparseRun[] = [];
  for (let at = 0; at < numbers.length; at += 2) {
    const [offset, length] = [numbers[at], numbers[at + 1]];
    if (offset === undefined || length === undefined || !/^\d{1,16}$/.test(offset) || !/^\d{1,16}$/.test(length))
      throw bad("a sparse map of other than numbers");
    runs.push({ offset: Number(offset), length: Number(length) });
  }
  return runs;
}

/** The map of version 0.1 (and of 0.0, put together): `offset,length,offset,length…`. */
export function sparseMapOfRecord(record: string): SparseRun[] {
  return record === "" ? [] : runsOf(record.split(","));
}

/** The map of version 1.0, which lies in blocks of its own before the bytes: the number of runs, then offset and length of each, a line a number. */
export class SparseMapText {
  #text = "";
  #lines = 0;
  #bytes = 0;

  /** Takes the next block; the map once it is whole. */
  push(block: Uint8Array): SparseRun[] | undefined {
    this.#bytes += BLOCK;
    if (this.#bytes > MAP_LIMIT) throw bad(`a sparse map of more than ${MAP_LIMIT} bytes`);
    for (const byte of block) if (byte === 0x0a) this.#lines++;
    this.#text += Buffer.from(block).toString("latin1");
    if (this.#lines === 0) {
      if (this.#bytes > BLOCK) throw bad("a sparse map without a count");
      return undefined;
    }
    const first = this.#text.slice(0, this.#text.indexOf("\n"));
    if (!/^\d{1,6}$/.test(first)) throw bad(`a sparse map of ${JSON.stringify(first.slice(0, 20))} runs`);
    const count = Number(first) * 2;
    if (this.#lines <= count) return undefined;
    return runsOf(this.#text.split("\n", count + 1).slice(1));
  }
}
