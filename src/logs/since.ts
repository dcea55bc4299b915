import { openSegment, segmentNumbers } from "./segments.ts";
import type { LogPosition } from "./types.ts";

/** Where to begin for records from `time` on: by halving the list of files, then the file. Undefined where there is no log. */
export async function findSince(logPath: string, time: bigint): Promise<LogPosition | undefined> {
  const numbers = await segmentNumbers(logPath);
  let low = 0;
  let high = numbers.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (await beginsBefore(logPath, numbers[middle] as number, time)) low = middle;
    else high = middle - 1;
  }
  const number = numbers[low];
  if (number === undefined) return undefined;
  await using segment = await openSegment(logPath, number);
  return { segment: number, offset: (await segment?.seek(time)) ?? 0 };
}

/** A file that is gone by now was among the oldest; one without a record yet is the newest. */
async function beginsBefore(logPath: string, number: number, time: bigint): Promise<boolean> {
  await using segment = await openSegment(logPath, number);
  if (segment === undefined) return true;
  const first = await segment.firstTime();
  return first !== undefined && first < time;
}
