import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { endTag, newHead, parseHead } from "./cri.ts";

const NEWLINE = 0x0a;
/** More than conmon's longest record. */
const longest = 16 << 10;

/**
 * Before a container's next run, whose monitor goes on in the same file: what the last run wrote without a newline must not be joined with what
 * the next writes. Where nothing needs to be done this is one small read.
 */
export function endLine(logPath: string): void {
  let fd: number;
  try {
    fd = openSync(logPath, "r+");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    const { size } = fstatSync(fd);
    const tail = Buffer.allocUnsafe(Math.min(size, longest));
    readSync(fd, tail, 0, tail.length, size - tail.length);
    // A record that a full disk cut off has none.
    const isCut = size > 0 && tail.at(-1) !== NEWLINE;
    const end = isCut ? tail.length : tail.length - 1;
    const start = end <= 0 ? 0 : tail.lastIndexOf(NEWLINE, end - 1) + 1;
    const head = newHead();
    const isOpen = parseHead(tail, start, Math.max(0, end), head) && !head.full && !head.ends;
    if (!isCut && !isOpen) return;
    const record = isOpen ? `${tail.toString("latin1", start, head.timeEnd)} ${head.stderr ? "stderr" : "stdout"} ${endTag} \n` : "";
    writeSync(fd, `${isCut ? "\n" : ""}${record}`, size);
  } finally {
    closeSync(fd);
  }
}
