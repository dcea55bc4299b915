import { open, readdir, type FileHandle } from "node:fs/promises";
import { fstatSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { decodeIndex, largestIndex, textEnd, type Block } from "./blocks.ts";
import { newHead, parseHead, TimeCache } from "./cri.ts";

/**
 * The files of a log: `container.log` is the one that conmon writes; when it is full it becomes `container.log.7`, the highest number being the
 * latest, and soon `container.log.7.gz`. A number is never used again while the log lives, so that it names a file for good: the current one has
 * the number that it will get.
 */

export const chunkSize = 128 << 10;
const NEWLINE = 0x0a;
const unzip = promisify(gunzip);

/** One file of a log, open. Offsets are those of its text, whether it is compressed or not. Disposing it again is no error. */
export interface Segment extends AsyncDisposable {
  readonly number: number;
  /** Bytes of text that are there now. */
  size(): number;
  /** Nothing more will be written to it. False while that isn't certain. */
  isComplete(): boolean;
  /** Unix nanoseconds of its first record; undefined where there is none yet. */
  firstTime(): Promise<bigint | undefined>;
  /** A piece of the text from `offset` on, perhaps in `into`, which has `chunkSize` bytes; empty at its end. */
  read(offset: number, into: Buffer): Promise<Buffer>;
  /** The piece that ends at `offset`, which isn't 0. */
  readBefore(offset: number): Promise<{ start: number; data: Buffer }>;
  /** An offset, at the beginning of a line, before which all records are older than `time`. Finds it by halving: a log is in order of time. */
  seek(time: bigint): Promise<number>;
}

/** Numbers of the rotated files that are there, oldest first. A file that is being replaced by its compressed form counts once. */
async function rotatedNumbers(logPath: string): Promise<number[]> {
  const names = await readdir(dirname(logPath)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [] as string[];
    throw error;
  });
  return numbersAmong(names, basename(logPath)).map(({ number }) => number);
}

/** What the names in a directory say of a log's rotated files, oldest first. */
export function numbersAmong(names: readonly string[], log: string): { number: number; plain: boolean; compressed: boolean }[] {
  const found = new Map<number, { number: number; plain: boolean; compressed: boolean }>();
  for (const name of names) {
    if (!name.startsWith(`${log}.`)) continue;
    const match = /^(\d{1,9})(\.gz)?$/.exec(name.slice(log.length + 1));
    if (match === null) continue;
    const number = Number(match[1]);
    const entry = found.get(number) ?? { number, plain: false, compressed: false };
    if (match[2] === undefined) entry.plain = true;
    else entry.compressed = true;
    found.set(number, entry);
  }
  return [...found.values()].sort((a, b) => a.number - b.number);
}

/** Numbers of all files of a log, oldest first; the current one is among them where it exists. */
export async function segmentNumbers(logPath: string): Promise<number[]> {
  const numbers = await rotatedNumbers(logPath);
  if (inodeOf(logPath) !== undefined) numbers.push((numbers.at(-1) ?? 0) + 1);
  return numbers;
}

/** The number that the current file will get; undefined where there is none, or it is just being rotated. */
export async function currentNumber(logPath: string): Promise<number | undefined> {
  const inode = inodeOf(logPath);
  const number = ((await rotatedNumbers(logPath)).at(-1) ?? 0) + 1;
  return inode !== undefined && inodeOf(logPath) === inode ? number : undefined;
}

/** The file by that number, under whatever name it has by now; undefined where there is none (any more, or yet). */
export async function openSegment(logPath: string, number: number): Promise<Segment | undefined> {
  // Twice: it may be compressed, or rotated, between the looks.
  for (let tries = 0; tries < 3; tries++) {
    const compressed = await openFile(`${logPath}.${number}.gz`);
    if (compressed !== undefined) return await compressedSegment(compressed, number);
    const plain = await openFile(`${logPath}.${number}`);
    if (plain !== undefined) return plainSegment(plain, number, logPath);
    const current = await openFile(logPath);
    if (current === undefined) continue;
    const latest = (await rotatedNumbers(logPath)).at(-1) ?? 0;
    if (latest + 1 === number) return plainSegment(current, number, logPath);
    await current.close();
    if (latest < number) return undefined;
  }
  return undefined;
}

/** The file by that number, or the oldest one after it. */
export async function openFrom(logPath: string, number: number): Promise<Segment | undefined> {
  for (const each of await segmentNumbers(logPath)) {
    if (each < number) continue;
    const segment = await openSegment(logPath, each);
    if (segment !== undefined) return segment;
  }
  return undefined;
}

async function openFile(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

function plainSegment(handle: FileHandle, number: number, logPath: string): Segment {
  const { ino } = fstatSync(handle.fd);
  let closed: Promise<void> | undefined;
  const readAt = async (offset: number, length: number, into?: Buffer): Promise<Buffer> => {
    const buffer = into ?? Buffer.allocUnsafeSlow(length);
    const { bytesRead } = await handle.read(buffer, 0, length, offset);
    return buffer.subarray(0, bytesRead);
  };
  const size = (): number => fstatSync(handle.fd).size;
  return {
    number,
    size,
    isComplete: () => {
      const current = inodeOf(logPath);
      // Where there is no current file, the monitor hasn't made it yet and still writes to this one.
      return current !== undefined && current !== ino;
    },
    firstTime: async () => firstRecord(Buffer.concat([Buffer.of(NEWLINE), await readAt(0, 32 << 10)]), new TimeCache())?.time,
    read: (offset, into) => readAt(offset, chunkSize, into),
    readBefore: async (offset) => {
      const start = Math.max(0, offset - chunkSize);
      return { start, data: await readAt(start, offset - start) };
    },
    seek: (time) => halve(readAt, size(), time),
    [Symbol.asyncDispose]: () => (closed ??= handle.close()),
  };
}

/** See Segment.seek. Halves until what is left is read in one go anyway. */
async function halve(readAt: (offset: number, length: number) => Promise<Buffer>, size: number, time: bigint): Promise<number> {
  const times = new TimeCache();
  let low = 0;
  let high = size;
  while (high - low > chunkSize) {
    const middle = low + Math.floor((high - low) / 2);
    const found = firstRecord(await readAt(middle, 32 << 10), times);
    // No record begins here: it is in the midst of something else; the slow way is right then too.
    if (found === undefined) high = middle;
    else if (found.time < time) low = middle + found.at;
    else high = middle;
  }
  return low;
}

/** The first record whose line begins within `data`, but for its first line, of which the beginning may be missing. */
function firstRecord(data: Buffer, times: TimeCache): { at: number; time: bigint } | undefined {
  const head = newHead();
  for (let at = data.indexOf(NEWLINE) + 1; at > 0 && at < data.length;) {
    const end = data.indexOf(NEWLINE, at);
    if (parseHead(data, at, end < 0 ? data.length : end, head)) {
      const time = times.at(data, at, head.timeEnd);
      if (time !== undefined) return { at, time };
    }
    at = end + 1;
  }
  return undefined;
}

/** Undefined where it isn't one of ours: somebody else put it there. */
async function compressedSegment(handle: FileHandle, number: number): Promise<Segment | undefined> {
  const { size } = fstatSync(handle.fd);
  const tail = Buffer.allocUnsafe(Math.min(size, largestIndex));
  await handle.read(tail, 0, tail.length, size - tail.length);
  const blocks = decodeIndex(tail);
  if (blocks === undefined) {
    await handle.close();
    return undefined;
  }
  const textSize = textEnd(blocks);
  const textOf = async (block: Block): Promise<Buffer> => {
    const member = Buffer.allocUnsafe(block.length);
    await handle.read(member, 0, member.length, block.at);
    return (await unzip(member)) as Buffer;
  };
  const blockAt = (offset: number): Block | undefined => blocks.find((block) => offset < block.textAt + block.textLength);
  let closed: Promise<void> | undefined;
  return {
    number,
    size: () => textSize,
    isComplete: () => true,
    firstTime: async () => blocks[0]?.first,
    read: async (offset) => {
      const block = blockAt(offset);
      return block === undefined ? Buffer.alloc(0) : (await textOf(block)).subarray(offset - block.textAt);
    },
    readBefore: async (offset) => {
      const block = blockAt(offset - 1) as Block;
      return { start: block.textAt, data: (await textOf(block)).subarray(0, offset - block.textAt) };
    },
    seek: async (time) => blocks.find((block) => block.last >= time)?.textAt ?? textSize,
    [Symbol.asyncDispose]: () => (closed ??= handle.close()),
  };
}
