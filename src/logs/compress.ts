import { closeSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import { blockSize, compressBlock, encodeIndex, textEnd, type Block } from "./blocks.ts";
import { newHead, parseHead, TimeCache } from "./cri.ts";

const NEWLINE = 0x0a;

/**
 * Compresses a rotated file in steps of one block, a few milliseconds each, so that the caller can do other things in between. The plain file goes
 * when the compressed one is complete and on the disk. When the caller stops in the middle, nothing is left but the plain file.
 */
export async function* compressFile(path: string, size: number): AsyncGenerator<void> {
  const target = `${path}.gz.tmp`;
  const from = openSync(path, "r");
  let isDone = false;
  try {
    const to = openSync(target, "w", 0o600);
    try {
      const blocks: Block[] = [];
      let at = 0;
      for (let text = nextText(from, 0, blockSize(size)); text.length > 0; text = nextText(from, textEnd(blocks), blockSize(size))) {
        const packed = compressBlock(text);
        writeAll(to, packed);
        blocks.push({ ...timesOf(text, blocks.at(-1)?.last ?? 0n), at, length: packed.length, textAt: textEnd(blocks), textLength: text.length });
        at += packed.length;
        yield;
      }
      writeAll(to, encodeIndex(blocks));
    } finally {
      closeSync(to);
    }
    // Off this thread: it may take long.
    await using written = await open(target, "r+");
    await written.datasync();
    yield;
    renameSync(target, `${path}.gz`);
    rmSync(path, { force: true });
    isDone = true;
  } finally {
    closeSync(from);
    if (!isDone) rmSync(target, { force: true });
  }
}

/** About `size` bytes from `offset` on, whole lines where there are any. */
function nextText(fd: number, offset: number, size: number): Buffer {
  const buffer = Buffer.allocUnsafe(size);
  const length = readSync(fd, buffer, 0, size, offset);
  const text = buffer.subarray(0, length);
  const end = text.lastIndexOf(NEWLINE) + 1;
  return length < size || end === 0 ? text : text.subarray(0, end);
}

/** All or an error: a full disk takes a part first. */
function writeAll(fd: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done);
}

/** The first and the latest time of a block's records. One without any has those of its neighbour. */
function timesOf(text: Buffer, before: bigint): { first: bigint; last: bigint } {
  const times = new TimeCache();
  const head = newHead();
  let first: bigint | undefined;
  let last = before;
  for (let at = 0, end = text.indexOf(NEWLINE); end >= 0; at = end + 1, end = text.indexOf(NEWLINE, at)) {
    if (!parseHead(text, at, end, head)) continue;
    const time = times.at(text, at, head.timeEnd);
    if (time === undefined) continue;
    first ??= time;
    if (time > last) last = time;
  }
  return { first: first ?? before, last };
}
