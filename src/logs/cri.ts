import type { LogRecord, StdStream } from "./types.ts";

const SPACE = 0x20;
const NEWLINE = 0x0a;
const LETTER_F = 0x46;
const LETTER_P = 0x50;

/** Nothing that conmon writes is longer: 8 KiB of text and a head. What is, is no log record, and skipped. */
const longestLine = 1 << 20;

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

/**
 * Reads records from the bytes of a k8s-file log, in pieces of any size: `time stream tag text\n`. A `P` record is a piece of a line: its bytes
 * have no newline. Lines that are no records are skipped. Bytes given out point into the chunk they came in.
 */
export class CriParser {
  #rest: Uint8Array = new Uint8Array(0);
  #skipping = false;
  #timeText = "";
  #time: bigint | undefined;

  push(chunk: Uint8Array): LogRecord[] {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const records: LogRecord[] = [];
    let at = 0;
    for (let end = data.indexOf(NEWLINE, at); end >= 0; end = data.indexOf(NEWLINE, at)) {
      const record = this.#skipping ? undefined : this.#parse(data, at, end);
      this.#skipping = false;
      if (record !== undefined) records.push(record);
      at = end + 1;
    }
    // A copy: the chunk's memory may be used again.
    this.#rest = data.slice(at);
    if (this.#rest.length > longestLine) {
      this.#rest = new Uint8Array(0);
      this.#skipping = true;
    }
    return records;
  }

  /** Drops an unfinished line: the file ended in the middle of a write. */
  reset(): void {
    this.#rest = new Uint8Array(0);
    this.#skipping = false;
  }

  #parse(data: Uint8Array, start: number, end: number): LogRecord | undefined {
    const afterTime = data.indexOf(SPACE, start);
    if (afterTime < 0 || afterTime >= end) return undefined;
    const afterStream = data.indexOf(SPACE, afterTime + 1);
    if (afterStream < 0 || afterStream >= end) return undefined;
    const stream = streamOf(data, afterTime + 1, afterStream);
    let afterTag = data.indexOf(SPACE, afterStream + 1);
    // An empty text may come without its separator.
    if (afterTag < 0 || afterTag > end) afterTag = end;
    const tag = data[afterStream + 1];
    const time = this.#timeOf(data, start, afterTime);
    if (stream === undefined || time === undefined || (tag !== LETTER_F && tag !== LETTER_P)) return undefined;
    const text = Math.min(afterTag + 1, end);
    return { stream, time, bytes: data.subarray(text, tag === LETTER_F ? end + 1 : end) };
  }

  /** All lines of one read by conmon have the same time, so the last one is remembered. */
  #timeOf(data: Uint8Array, start: number, end: number): bigint | undefined {
    if (end - start > 40) return undefined;
    const text = Buffer.from(data.buffer, data.byteOffset + start, end - start).toString("latin1");
    if (text !== this.#timeText) {
      this.#timeText = text;
      this.#time = parseCriTime(text);
    }
    return this.#time;
  }
}

function streamOf(data: Uint8Array, start: number, end: number): StdStream | undefined {
  if (end - start !== 6) return undefined;
  // stdout, stderr: the fourth letter tells them apart.
  const text = Buffer.from(data.buffer, data.byteOffset + start, 6).toString("latin1");
  return text === "stdout" || text === "stderr" ? text : undefined;
}

/** Stream and completeness of the line in `data` from `start` (its first byte) on; undefined for what is no record. */
export function headOf(data: Uint8Array, start: number): { stream: StdStream; full: boolean } | undefined {
  const afterTime = data.indexOf(SPACE, start);
  if (afterTime < 0 || afterTime - start > 40) return undefined;
  const afterStream = afterTime + 7;
  const stream = data[afterStream] === SPACE ? streamOf(data, afterTime + 1, afterStream) : undefined;
  const tag = data[afterStream + 1];
  if (stream === undefined || (tag !== LETTER_F && tag !== LETTER_P)) return undefined;
  return { stream, full: tag === LETTER_F };
}
