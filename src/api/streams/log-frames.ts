import { headSize, flagContinued, flagStderr, parseCriTime } from "../../logs/cri.ts";
import type { LogBatch } from "../../logs/types.ts";
import { formatLogTime } from "../time.ts";

export interface LogFormat {
  /** Each record in a frame of its own, as for containers without a terminal. */
  framed: boolean;
  /** Docker's nine decimals before each record. */
  timestamps: boolean;
  /** What stands after the time and before the record. */
  prefix: string;
}

/** Docker's time is as long as conmon's without its zone, and a `Z` and a space. */
const usualTime = 29;
const timeLength = usualTime + 2;

/**
 * The records of a batch as clients get them, in one piece, in `memory` where that is large enough. No object is made per record: a gigabyte has
 * ten million.
 */
export function encodeLog({ data, heads, count }: LogBatch, { framed, timestamps, prefix }: LogFormat, memory?: Buffer): Buffer {
  const before = Buffer.from(prefix);
  const overhead = (framed ? 8 : 0) + (timestamps ? timeLength : 0) + before.length;
  let room = count * overhead;
  for (let i = 0; i < count; i++) room += (heads[i * headSize + 3] as number) - (heads[i * headSize + 2] as number);
  const out = memory !== undefined && memory.length >= room ? memory : Buffer.allocUnsafeSlow(room);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const head = i * headSize;
    const text = heads[head + 2] as number;
    const end = heads[head + 3] as number;
    const flags = heads[head + 4] as number;
    const start = at;
    if (framed) at += 8;
    // In the midst of a line that was given out as far as it had come, there is neither.
    if ((flags & flagContinued) === 0) {
      if (timestamps) at = writeTime(out, at, data, heads[head] as number, heads[head + 1] as number);
      if (before.length > 0) at += before.copy(out, at);
    }
    at += data.copy(out, at, text, end);
    if (framed) {
      out.writeUInt32BE((flags & flagStderr) !== 0 ? 0x02000000 : 0x01000000, start);
      out.writeUInt32BE(at - start - 8, start + 4);
    }
  }
  return at === out.length ? out : out.subarray(0, at);
}

function writeTime(out: Buffer, at: number, data: Buffer, start: number, end: number): number {
  const isUsual = end - start === usualTime + 6 && data[start + usualTime] === 0x2b && data.toString("latin1", start + usualTime, end) === "+00:00";
  if (isUsual) data.copy(out, at, start, start + usualTime);
  else out.write(formatLogTime(parseCriTime(data.toString("latin1", start, end)) ?? 0n), at, usualTime, "latin1");
  out.write("Z ", at + usualTime, "latin1");
  return at + timeLength;
}
