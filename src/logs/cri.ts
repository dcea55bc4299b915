import type { LogBatch, StdStream } from "./types.ts";

const SPACE = 0x20;
const NEWLINE = 0x0a;
const LETTER_F = 0x46;
const LETTER_P = 0x50;

/** Nothing that conmon writes is longer: 8 KiB of text and a head. What is, is no log record, and skipped. */
const longestLine = 1 << 20;

/** conmon's longest record has 8 KiB of text. */
const headroom = 16 * 1024;

/** Docker cuts longer lines into records of this size, each with its own time stamp and frame. */
const pieceSize = 16 * 1024;

/** conmon's time: `2026-11-21T17:46:59.012724977+00:00`. */
const usualTime = 35;

const second = 1_000_000_000n;

/** Unix nanoseconds of `2026-11-21T17:46:59.012724977+00:00`; undefined for anything else. */
export function parseCriTime(text: string): bigint | undefined {
  const match = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))$/.exec(text);
  if (match === null) return undefined;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, seconds = 0] = match.slice(1, 7).map(Number);
  const offset = match[8] === undefined ? 0 : (match[8] === "-" ? -1 : 1) * (Number(match[9]) * 60 + Number(match[10]));
  const millis = Date.UTC(year, month - 1, day, hour, minute - offset, seconds);
  return BigInt(millis / 1000) * second + BigInt((match[7] ?? "").padEnd(9, "0"));
}

/** Parses the times of a log's lines: those of one read by conmon are the same, so the last one is remembered. */
export class TimeCache {
  #text: Uint8Array = new Uint8Array(0);
  #time: bigint | undefined;

  /** Unix nanoseconds of the time that stands in `data` from `start` to `end`; undefined where none does. */
  at(data: Buffer, start: number, end: number): bigint | undefined {
    if (end - start > 40) return undefined;
    if (end - start === this.#text.length && data.compare(this.#text, 0, this.#text.length, start, end) === 0) return this.#time;
    this.#text = Buffer.from(data.subarray(start, end));
    this.#time = parseCriTime(data.toString("latin1", start, end));
    return this.#time;
  }
}

/** A piece after which none follows, though no newline came: tags may be lists by CRI's design, and others read the first alone. */
export const endTag = "P:end";

/** Where the parts of a line lie; filled by `parseHead`, one object for all lines. */
interface Head {
  timeEnd: number;
  stderr: boolean;
  full: boolean;
  /** No piece of this line will follow (see end-line.ts). */
  ends: boolean;
  /** First byte of the text. */
  text: number;
}

/** Reads the head of the line `data[start, end)` into `head`; false for what is no record. The time itself isn't checked. */
export function parseHead(data: Buffer, start: number, end: number, head: Head): boolean {
  let timeEnd = start + usualTime;
  if (data[timeEnd] !== SPACE || timeEnd >= end) {
    timeEnd = data.indexOf(SPACE, start);
    if (timeEnd < 0 || timeEnd >= end || timeEnd - start > 40) return false;
  }
  // `stdout` or `stderr`, then a space, a tag that begins with F or P, a space, the text
  const tagAt = timeEnd + 8;
  if (tagAt >= end || data[timeEnd + 7] !== SPACE) return false;
  const stream = streamAt(data, timeEnd + 1);
  const tag = data[tagAt];
  if (stream === undefined || (tag !== LETTER_F && tag !== LETTER_P)) return false;
  let tagEnd = tagAt + 1;
  while (tagEnd < end && data[tagEnd] !== SPACE) tagEnd++;
  head.timeEnd = timeEnd;
  head.stderr = stream === "stderr";
  head.full = tag === LETTER_F;
  head.ends = tagEnd - tagAt === endTag.length && data.toString("latin1", tagAt, tagEnd) === endTag;
  // An empty text may come without its separator.
  head.text = Math.min(tagEnd + 1, end);
  return isTime(data, start, timeEnd);
}

/** The shape of a time, without its value: a digit first and a `T` in its place. */
function isTime(data: Buffer, start: number, end: number): boolean {
  const first = data[start] ?? 0;
  return end - start >= 20 && first >= 0x30 && first <= 0x39 && data[start + 10] === 0x54;
}

function streamAt(data: Buffer, at: number): StdStream | undefined {
  // "std" and "out" or "err"
  if (data[at] !== 0x73 || data[at + 1] !== 0x74 || data[at + 2] !== 0x64) return undefined;
  if (data[at + 3] === 0x6f && data[at + 4] === 0x75 && data[at + 5] === 0x74) return "stdout";
  if (data[at + 3] === 0x65 && data[at + 4] === 0x72 && data[at + 5] === 0x72) return "stderr";
  return undefined;
}

export const newHead = (): Head => ({ timeEnd: 0, stderr: false, full: false, ends: false, text: 0 });

/** Numbers per record in `LogBatch.heads`. */
export const headSize = 5;
export const flagStderr = 1;
export const flagContinued = 2;

/** A line of which only pieces have come. */
interface OpenLine {
  time: Uint8Array;
  pieces: Uint8Array[];
  length: number;
  /** Bytes of the present 16 KiB that were given out already. */
  column: number;
}

/**
 * Reads records from the bytes of a log in the CRI format, in chunks of any size: `time stream tag text\n`. The pieces of a long line (tag `P`)
 * are put together to Docker's: 16 KiB each. Lines that are no records are skipped. Whole lines are given out where they lie, in the chunk.
 */
export class CriParser {
  /** Room for the beginning of a record, then for a chunk: most are read right into it, and need no copy to be joined with what was left of the last. */
  readonly #memory: Buffer;
  #rest: Buffer = Buffer.alloc(0);
  #skipping = false;
  readonly #head = newHead();
  readonly #open: Record<StdStream, OpenLine | undefined> = { stdout: undefined, stderr: undefined };
  #out: LogBatch[] = [];
  #heads = new Int32Array(headSize * 64);
  #count = 0;

  /** Bytes of an unfinished record at the end of what was pushed. */
  get restLength(): number {
    return this.#rest.length;
  }

  /** No line is open of which pieces have come: what follows can be read without what was before. */
  get isAtLine(): boolean {
    return this.#open.stdout === undefined && this.#open.stderr === undefined && !this.#skipping;
  }

  constructor(chunkSize = 0) {
    this.#memory = Buffer.allocUnsafeSlow(headroom + chunkSize);
  }

  /** Where the next chunk may be put, from its beginning on; `push` is then cheapest. Batches of earlier chunks don't hold any more. */
  get space(): Buffer {
    return this.#memory.subarray(headroom);
  }

  push(chunk: Uint8Array): LogBatch[] {
    const data = this.#join(chunk);
    this.#out = [];
    let at = 0;
    for (let end = data.indexOf(NEWLINE, at); end >= 0; end = data.indexOf(NEWLINE, at)) {
      if (this.#skipping) this.#skipping = false;
      else if (parseHead(data, at, end, this.#head)) this.#take(data, at, end);
      at = end + 1;
    }
    this.#close(data);
    // A copy: the chunk's memory may be used again.
    this.#rest = Buffer.from(data.subarray(at));
    if (this.#rest.length > longestLine) {
      this.#rest = Buffer.alloc(0);
      this.#skipping = true;
    }
    return this.#out;
  }

  /** The text goes on in another file: a record that is cut off by the end of the last one stays so. Lines in pieces go on. */
  nextFile(): void {
    this.#rest = Buffer.alloc(0);
    this.#skipping = false;
  }

  /** What follows doesn't belong to what was before. */
  reset(): void {
    this.nextFile();
    this.#open.stdout = this.#open.stderr = undefined;
  }

  /** What has come of unfinished lines: nothing more is there now, and a prompt is worth showing. */
  flush(): LogBatch[] {
    this.#out = [];
    for (const stream of ["stdout", "stderr"] as const) {
      const line = this.#open[stream];
      if (line !== undefined && line.length > 0) this.#emit(line, stream === "stderr", line.length);
    }
    return this.#out;
  }

  /** What was left of the last chunk, and this one. */
  #join(chunk: Uint8Array): Buffer {
    const rest = this.#rest;
    if (rest.length === 0) return asBuffer(chunk);
    const isInPlace = chunk.buffer === this.#memory.buffer && chunk.byteOffset === this.#memory.byteOffset + headroom;
    if (!isInPlace || rest.length > headroom) return Buffer.concat([rest, chunk]);
    rest.copy(this.#memory, headroom - rest.length);
    return this.#memory.subarray(headroom - rest.length, headroom + chunk.length);
  }

  #take(data: Buffer, start: number, end: number): void {
    const { timeEnd, stderr, full, ends, text } = this.#head;
    const stream = stderr ? "stderr" : "stdout";
    const line = this.#open[stream];
    if (ends) {
      this.#close(data);
      if (line !== undefined && line.length > 0) this.#emit(line, stderr, line.length);
      this.#open[stream] = undefined;
      return;
    }
    if (full && line === undefined) {
      const at = this.#count * headSize;
      if (at === this.#heads.length) this.#heads = grown(this.#heads);
      this.#heads[at] = start;
      this.#heads[at + 1] = timeEnd;
      this.#heads[at + 2] = text;
      this.#heads[at + 3] = end + 1;
      this.#heads[at + 4] = stderr ? flagStderr : 0;
      this.#count++;
      return;
    }
    this.#close(data);
    const open: OpenLine = (this.#open[stream] ??= { time: Buffer.from(data.subarray(start, timeEnd)), pieces: [], length: 0, column: 0 });
    const piece = Buffer.from(data.subarray(text, full ? end + 1 : end));
    open.pieces.push(piece);
    open.length += piece.length;
    // without the newline: Docker looks for one only in what its buffer holds
    while (open.length + open.column - (full ? 1 : 0) >= pieceSize) this.#emit(open, stderr, pieceSize - open.column);
    if (!full) return;
    this.#emit(open, stderr, open.length);
    this.#open[stream] = undefined;
  }

  /** One record of the line's next `length` bytes. */
  #emit(line: OpenLine, stderr: boolean, length: number): void {
    const all = line.pieces.length === 1 ? (line.pieces[0] as Uint8Array) : Buffer.concat(line.pieces);
    const data = Buffer.concat([line.time, all.subarray(0, length)]);
    const flags = (stderr ? flagStderr : 0) | (line.column > 0 ? flagContinued : 0);
    this.#out.push({ data, heads: Int32Array.of(0, line.time.length, line.time.length, data.length, flags), count: 1 });
    line.column = (line.column + length) % pieceSize;
    line.pieces = length === line.length ? [] : [all.subarray(length)];
    line.length -= length;
  }

  /** Ends the batch under way. */
  #close(data: Buffer): void {
    if (this.#count === 0) return;
    this.#out.push({ data, heads: this.#heads, count: this.#count });
    this.#heads = new Int32Array(Math.max(headSize * 64, this.#count * headSize));
    this.#count = 0;
  }
}

function grown(heads: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(heads.length * 2);
  larger.set(heads);
  return larger;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The records of a batch as objects: for those who don't read a gigabyte. `time` is the text as it stands in the log. */
export function* recordsOf({ data, heads, count }: LogBatch): Generator<{ stream: StdStream; time: string; bytes: Buffer }> {
  for (let i = 0; i < count; i++) {
    const [start = 0, timeEnd = 0, text = 0, end = 0, flags = 0] = heads.subarray(i * headSize, i * headSize + headSize);
    yield {
      stream: (flags & flagStderr) !== 0 ? "stderr" : "stdout",
      time: data.toString("latin1", start, timeEnd),
      bytes: data.subarray(text, end),
    };
  }
}

/** The batch without the records that `keep` refuses (it gets stream bit and place of the time); undefined where none is left. */
export function filtered(batch: LogBatch, keep: (stderr: boolean, timeStart: number, timeEnd: number) => boolean): LogBatch | undefined {
  const { heads } = batch;
  let count = 0;
  for (let i = 0; i < batch.count; i++) {
    const at = i * headSize;
    if (!keep(((heads[at + 4] as number) & flagStderr) !== 0, heads[at] as number, heads[at + 1] as number)) continue;
    if (count !== i) heads.copyWithin(count * headSize, at, at + headSize);
    count++;
  }
  return count === 0 ? undefined : { data: batch.data, heads, count };
}
