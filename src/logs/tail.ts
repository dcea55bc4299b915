import { newHead, parseHead } from "./cri.ts";
import type { OpenPosition } from "./cursor.ts";
import { openSegment, segmentNumbers, type Segment } from "./segments.ts";
import type { StdStream } from "./types.ts";

const NEWLINE = 0x0a;

/**
 * Where the last `count` lines of `streams` before `end` begin, found by reading backwards. Pieces of a line count with the line they belong to.
 * The file is the caller's to dispose.
 */
export async function findTail(logPath: string, count: number, streams: ReadonlySet<StdStream>, end: OpenPosition): Promise<OpenPosition> {
  const counter = new LineCounter(count, streams);
  let found: OpenPosition = { segment: end.segment, offset: 0, file: end.file };
  const offset = await backwards(end.file, end.offset, counter);
  if (offset !== undefined) return { ...found, offset };
  const numbers = (await segmentNumbers(logPath)).filter((number) => number < end.segment);
  for (const number of numbers.toReversed()) {
    const file = await openSegment(logPath, number);
    if (file === undefined) break; // gone by now, and all before it
    await found.file[Symbol.asyncDispose]();
    const begin = await backwards(file, file.size(), counter);
    found = { segment: number, offset: begin ?? 0, file };
    if (begin !== undefined) break;
  }
  return found;
}

/** Counts lines, last first, until there are enough. */
class LineCounter {
  readonly #count: number;
  readonly #streams: ReadonlySet<StdStream>;
  #lines = 0;
  /** Streams whose line has been counted and whose earlier pieces may follow. */
  readonly #open = new Set<StdStream>();
  readonly #head = newHead();

  constructor(count: number, streams: ReadonlySet<StdStream>) {
    this.#count = count;
    this.#streams = streams;
  }

  /** True where the line `data[start, end)` is one too many. */
  push(data: Buffer, start: number, end: number): boolean {
    if (!parseHead(data, start, end, this.#head)) return false;
    const stream = this.#head.stderr ? "stderr" : "stdout";
    if (!this.#streams.has(stream)) return false;
    if (this.#head.ends) {
      // What stands before it is a line of its own.
      this.#open.delete(stream);
      return false;
    }
    // A complete line ends here, or an unfinished one at the very end.
    if (!this.#head.full && this.#open.has(stream)) return false;
    if (this.#lines === this.#count) return true;
    this.#lines++;
    this.#open.add(stream);
    return false;
  }
}

/** The end of the first line too many, or undefined where the file has none. */
async function backwards(segment: Segment, end: number, counter: LineCounter): Promise<number | undefined> {
  let at = end;
  /** The line of which the beginning lies before `at`, with its newline; empty while no newline was met: what follows the last isn't a line yet. */
  let carried: Buffer = Buffer.alloc(0);
  let carriedEnd = -1;
  while (at > 0) {
    const { start, data: piece } = await segment.readBefore(at);
    if (piece.length === 0) return undefined;
    const data = carried.length === 0 ? piece : Buffer.concat([piece, carried]);
    let lineEnd = carriedEnd;
    let length = lineEnd < 0 ? 0 : data.length;
    for (let newline = lastNewline(data, lineEnd < 0 ? data.length - 1 : length - 2); newline >= 0; newline = lastNewline(data, newline - 1)) {
      if (lineEnd >= 0 && counter.push(data, newline + 1, length - 1)) return lineEnd;
      lineEnd = start + newline + 1;
      length = newline + 1;
    }
    if (start === 0 && lineEnd >= 0 && counter.push(data, 0, length - 1)) return lineEnd;
    // No record is as long as that: what is left of it is skipped, as it is when reading forwards.
    carried = data.subarray(Math.max(0, length - (1 << 20)), length);
    carriedEnd = lineEnd;
    at = start;
  }
  return undefined;
}

function lastNewline(data: Buffer, from: number): number {
  return from < 0 ? -1 : data.lastIndexOf(NEWLINE, from);
}
