import type { FileHandle } from "node:fs/promises";
import { headOf } from "./cri.ts";
import type { StdStream } from "./types.ts";

const chunkSize = 64 * 1024;
const NEWLINE = 0x0a;

/**
 * Where the last `count` lines of `streams` begin, found by reading backwards over `files` (oldest first): index of the file and offset in it.
 * Pieces of a line count with the line they belong to.
 */
export async function findTail(files: readonly FileHandle[], count: number, streams: ReadonlySet<StdStream>): Promise<{ file: number; offset: number }> {
  let lines = 0;
  /** Streams whose line has been counted and whose earlier pieces may follow. */
  const open = new Set<StdStream>();
  for (let file = files.length - 1; file >= 0; file--) {
    const handle = files[file] as FileHandle;
    for await (const { line, end } of linesBackwards(handle)) {
      const head = headOf(line, 0);
      if (head === undefined || !streams.has(head.stream)) continue;
      if (!head.full && open.has(head.stream)) continue;
      // A complete line ends here, or an unfinished one at the very end.
      if (lines === count) return { file, offset: end };
      lines++;
      open.add(head.stream);
    }
  }
  return { file: 0, offset: 0 };
}

/** Lines of a file, last first; `end` is where the next one begins. Only the first 128 bytes of a line are sure to be given. */
async function* linesBackwards(handle: FileHandle): AsyncGenerator<{ line: Uint8Array; end: number }> {
  let end = (await handle.stat()).size;
  // The unfinished last line isn't one yet.
  let lineEnd = -1;
  const head = Buffer.alloc(128);
  while (end > 0) {
    const start = Math.max(0, end - chunkSize);
    const chunk = Buffer.alloc(end - start);
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, start);
    for (let at = bytesRead - 1; at >= 0; at--) {
      if (chunk[at] !== NEWLINE) continue;
      const lineStart = start + at + 1;
      if (lineEnd > lineStart) yield { line: await headAt(handle, chunk, start, lineStart, head), end: lineEnd };
      lineEnd = lineStart;
    }
    end = start;
  }
  if (lineEnd > 0) yield { line: await headAt(handle, Buffer.alloc(0), 0, 0, head), end: lineEnd };
}

/** The head of the line at `offset`: from the chunk at hand, or from the file where the line began in an earlier one. */
async function headAt(handle: FileHandle, chunk: Buffer, chunkStart: number, offset: number, head: Buffer): Promise<Uint8Array> {
  const at = offset - chunkStart;
  if (at + head.length <= chunk.length) return chunk.subarray(at, at + head.length);
  const { bytesRead } = await handle.read(head, 0, head.length, offset);
  return head.subarray(0, bytesRead);
}
