import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { FFIType } from "bun:ffi";
import { findSection, type Section } from "./elf.ts";
import { check, libc } from "./ffi.ts";

const c = libc({
  madvise: { args: [FFIType.u64_fast, FFIType.u64_fast, FFIType.i32], returns: FFIType.i32 },
  getpagesize: { args: [], returns: FFIType.i32 },
});

const pageSize = c.getpagesize();

/** For file mappings: the pages leave this process and stay in the page cache, from where they come back when touched (madvise(2)). */
const MADV_DONTNEED = 4;

/** Of what `bun build --compile` puts into an executable. */
const bundleSection = ".bun";

/**
 * Lets go of the executable's own code, constants and bundle. Starting up runs through some 50 MB of them that are hardly needed again; what is needed comes
 * back from the page cache in pieces of 64 KB, at about a microsecond each. Only the file's own bytes are touched: segments that were never writable (the
 * code, and the constants at the file's start), and of the bundle what nobody has written to. Returns the number of bytes advised.
 */
export function dropCodePages(): number {
  const maps = readFileSync("/proc/self/maps", "utf8");
  const bundle = findSection("/proc/self/exe", bundleSection);
  const ranges = [...codeRanges(maps, process.execPath), ...(bundle === undefined ? [] : bundleRanges(maps, process.execPath, bundle).flatMap(filePages))];
  for (const { start, size } of ranges) check(c.madvise(start, size, MADV_DONTNEED), "madvise", `${size} bytes of code`);
  return ranges.reduce((sum, { size }) => sum + size, 0);
}

interface Range {
  start: number;
  size: number;
}

/** The lines of proc(5) maps that hold `program`'s code (read, execute) and its first segment (read only, offset 0). Exported for its test. */
export function codeRanges(maps: string, program: string): Range[] {
  return mappingsOf(maps, program)
    .filter(({ access, offset }) => access === "r-xp" || (access === "r--p" && offset === 0))
    .map(({ start, size }) => ({ start, size }));
}

/**
 * Where the section with sources and bytecode lies, whole pages only. Bun (1.4) links it into the writable segment, although neither it nor JavaScriptCore writes
 * there. Exported for its test.
 */
export function bundleRanges(maps: string, program: string, section: Section): Range[] {
  const first = Math.ceil(section.offset / pageSize) * pageSize;
  const end = Math.floor((section.offset + section.size) / pageSize) * pageSize;
  return mappingsOf(maps, program).flatMap(({ access, offset, start, size }) => {
    const from = Math.max(first, offset);
    const to = Math.min(end, offset + size);
    return access === "rw-p" && from < to ? [{ start: start + from - offset, size: to - from }] : [];
  });
}

/** The parts of a private mapping of a file that are in memory as the file has them: what was written to would be lost (proc(5), pagemap). Exported for its test. */
export function filePages({ start, size }: Range): Range[] {
  const map = Buffer.alloc((size / pageSize) * 8);
  const fd = openSync("/proc/self/pagemap", "r");
  try {
    readSync(fd, map, 0, map.length, (start / pageSize) * 8);
  } finally {
    closeSync(fd);
  }
  const ranges: Range[] = [];
  for (let at = 0; at < map.length; at += 8) {
    // bits 63 and 61 of an entry, in its last byte: present; a page of the file, none of the process's own
    if (((map[at + 7] ?? 0) & 0xa0) !== 0xa0) continue;
    const page = start + (at / 8) * pageSize;
    const last = ranges.at(-1);
    if (last !== undefined && last.start + last.size === page) last.size += pageSize;
    else ranges.push({ start: page, size: pageSize });
  }
  return ranges;
}

/** Lines of proc(5) maps: the mappings of the file `program`. */
function mappingsOf(maps: string, program: string): (Range & { access: string; offset: number })[] {
  return maps.split("\n").flatMap((line) => {
    const [, from, to, access, offset, file] = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ [1-9]\d* +(.*)$/.exec(line) ?? [];
    // an upgrade replaces the file under a running engine
    if (from === undefined || to === undefined || access === undefined || offset === undefined || file?.replace(/ \(deleted\)$/, "") !== program) return [];
    const start = Number.parseInt(from, 16);
    return [{ start, size: Number.parseInt(to, 16) - start, access, offset: Number.parseInt(offset, 16) }];
  });
}
