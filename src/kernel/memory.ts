import { readFileSync } from "node:fs";
import { FFIType } from "bun:ffi";
import { check, libc } from "./ffi.ts";

const c = libc({ madvise: { args: [FFIType.u64_fast, FFIType.u64_fast, FFIType.i32], returns: FFIType.i32 } });

/** For file mappings: the pages leave this process and stay in the page cache, from where they come back when touched (madvise(2)). */
const MADV_DONTNEED = 4;

/**
 * Lets go of the executable's own code and constants. Starting up runs through some 40 MB of them that are hardly needed again; what is needed comes back from the
 * page cache in pieces of 64 KB, at about a microsecond each. Only segments that were never writable are touched: the code, and the constants at the
 * file's start. They are the file's bytes and nothing else. Returns the number of bytes advised.
 */
export function dropCodePages(): number {
  const ranges = codeRanges(readFileSync("/proc/self/maps", "utf8"), process.execPath);
  for (const { start, size } of ranges) check(c.madvise(start, size, MADV_DONTNEED), "madvise", `${size} bytes of code`);
  return ranges.reduce((sum, { size }) => sum + size, 0);
}

/** The lines of proc(5) maps that hold `program`'s code (read, execute) and its first segment (read only, offset 0). Exported for its test. */
export function codeRanges(maps: string, program: string): { start: number; size: number }[] {
  return maps.split("\n").flatMap((line) => {
    const [, from, to, file] = /^([0-9a-f]+)-([0-9a-f]+) (?:r-xp \S+|r--p 0{8}) \S+ [1-9]\d* +(.*)$/.exec(line) ?? [];
    // an upgrade replaces the file under a running engine
    if (from === undefined || to === undefined || file?.replace(/ \(deleted\)$/, "") !== program) return [];
    const start = Number.parseInt(from, 16);
    return [{ start, size: Number.parseInt(to, 16) - start }];
  });
}
