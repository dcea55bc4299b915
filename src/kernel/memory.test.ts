import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { addressOf } from "./ffi.ts";
import { findSection } from "./elf.ts";
import { bundleRanges, codeRanges, dropCodePages, filePages } from "./memory.ts";

const maps = `00200000-01a39000 r--p 00000000 fe:00 531 /opt/berth
01a40000-0684a000 r-xp 01838000 fe:00 531                            /opt/berth
0684a000-06867000 r--p 06641000 fe:00 531 /opt/berth
06867000-071d8000 rw-p 0665e000 fe:00 531                            /opt/berth
7f0000000000-7f0000001000 r-xp 00000000 fe:00 12                     /lib/libc.so.6
7f0000002000-7f0000003000 r-xp 00000000 00:00 0 `;

test("only the program's own code and its constants are named", () => {
  expect(codeRanges(maps, "/opt/berth")).toEqual([
    { start: 0x200000, size: 0x1a39000 - 0x200000 },
    { start: 0x1a40000, size: 0x684a000 - 0x1a40000 },
  ]);
  expect(codeRanges(maps, "/opt/other")).toEqual([]);
});

test("the bundle is named by its whole pages, where it lies in the writable segment", () => {
  // file offset 0x6819000 is 0x1bb000 into the segment
  expect(bundleRanges(maps, "/opt/berth", { offset: 0x6819000, size: 0x9001 })).toEqual([{ start: 0x6a22000, size: 0x9000 }]);
  expect(bundleRanges(maps, "/opt/berth", { offset: 0x6819010, size: 0x2000 })).toEqual([{ start: 0x6a23000, size: 0x1000 }]);
  expect(bundleRanges(maps, "/opt/berth", { offset: 0x100000, size: 0x9000 })).toEqual([]);
  expect(bundleRanges(maps, "/opt/other", { offset: 0x6819000, size: 0x9000 })).toEqual([]);
});

test("a section of a program is found by its whole name", () => {
  const text = findSection("/proc/self/exe", ".text");
  expect(text?.size).toBeGreaterThan(1 << 20);
  expect(findSection("/proc/self/exe", ".tex")).toBeUndefined();
  expect(findSection(import.meta.path, ".text")).toBeUndefined();
});

test("of a mapped file, what was written to or never looked at isn't the file's to give back", () => {
  const directory = mkdtempSync(`${tmpdir()}/berth-memory-`);
  const path = `${directory}/file`;
  const page = 4096;
  writeFileSync(path, Buffer.alloc(64 * page, "f"));
  const mapped = Bun.mmap(path, { shared: false });
  rmSync(directory, { recursive: true });
  const start = addressOf(Buffer.from(mapped.buffer));
  expect(mapped.reduce((sum, byte) => sum + byte, 0)).toBe(64 * page * "f".charCodeAt(0));
  expect(filePages({ start, size: 64 * page })).toEqual([{ start, size: 64 * page }]);
  mapped[3 * page] = 1;
  expect(filePages({ start, size: 64 * page })).toEqual([
    { start, size: 3 * page },
    { start: start + 4 * page, size: 60 * page },
  ]);
});

test("the process goes on without its code pages, and holds less", () => {
  const rss = (): number => Number(/^RssFile:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
  const before = rss();
  expect(dropCodePages()).toBeGreaterThan(1 << 20);
  expect(rss()).toBeLessThan(before);
  expect([3, 1, 2].sort()).toEqual([1, 2, 3]);
});
