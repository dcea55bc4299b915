import { gzipSync } from "node:zlib";

/**
 * A compressed file of a log is plain gzip, which zcat and log shippers read, in members of a quarter megabyte of text each, so that a reader
 * can begin anywhere. A last, empty member carries the index of the others in its extra field (RFC 1952, 2.3.1.1):
 *
 *     1f 8b 08 04 | mtime, xfl, os (6) | xlen | "BL" | length | entries of 24 bytes | 03 00 | crc 0 | size 0
 */
export interface Block {
  /** Unix nanoseconds of the first record that begins here, and of the latest one. */
  first: bigint;
  last: bigint;
  /** Place of the member in the file. */
  at: number;
  length: number;
  /** Place of the text in the text of the file. */
  textAt: number;
  textLength: number;
}

const entrySize = 24;
const headLength = 16;
const tailLength = 10;
/** The extra field's length is a 16-bit number. */
const mostBlocks = Math.floor((0xffff - 4) / entrySize);
export const largestIndex = headLength + 0xffff + tailLength;

/** Bytes of text in a block of a file of this size: more in a huge one, so that the index has room for all. */
export function blockSize(fileSize: number): number {
  return Math.max(256 << 10, Math.ceil(fileSize / (mostBlocks - 16)));
}

/** Bytes of text in all of them. */
export function textEnd(blocks: readonly Block[]): number {
  const last = blocks.at(-1);
  return last === undefined ? 0 : last.textAt + last.textLength;
}

export function compressBlock(text: Uint8Array): Buffer {
  return gzipSync(text, { level: 3 });
}

/** The member that carries the index. */
export function encodeIndex(blocks: readonly Block[]): Buffer {
  const length = blocks.length * entrySize;
  const out = Buffer.alloc(headLength + length + tailLength);
  out.set([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff]);
  out.writeUInt16LE(4 + length, 10);
  out.write("BL", 12, "latin1");
  out.writeUInt16LE(length, 14);
  for (const [index, block] of blocks.entries()) {
    const at = headLength + index * entrySize;
    out.writeBigUInt64LE(block.first, at);
    out.writeBigUInt64LE(block.last, at + 8);
    out.writeUInt32LE(block.length, at + 16);
    out.writeUInt32LE(block.textLength, at + 20);
  }
  out.set([3, 0], headLength + length);
  return out;
}

/** The blocks of a file that ends with `tail` (its last `largestIndex` bytes, or all); undefined where it isn't one of ours. */
export function decodeIndex(tail: Buffer): Block[] | undefined {
  const end = tail.length - tailLength;
  // The index has a whole number of entries, so its beginning is looked for at those distances only.
  for (let count = 0; count <= mostBlocks; count++) {
    const start = end - count * entrySize - headLength;
    if (start < 0) return undefined;
    const length = count * entrySize;
    if (tail.readUInt32LE(start) !== 0x04088b1f || tail.toString("latin1", start + 12, start + 14) !== "BL") continue;
    if (tail.readUInt16LE(start + 14) !== length || tail.readUInt16LE(start + 10) !== length + 4) continue;
    return decodeEntries(tail.subarray(start + headLength, end));
  }
  return undefined;
}

function decodeEntries(entries: Buffer): Block[] {
  const blocks: Block[] = [];
  let at = 0;
  let textAt = 0;
  for (let i = 0; i < entries.length; i += entrySize) {
    const length = entries.readUInt32LE(i + 16);
    const textLength = entries.readUInt32LE(i + 20);
    blocks.push({ first: entries.readBigUInt64LE(i), last: entries.readBigUInt64LE(i + 8), at, length, textAt, textLength });
    at += length;
    textAt += textLength;
  }
  return blocks;
}
