import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { codeRanges, dropCodePages } from "./memory.ts";

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

test("the process goes on without its code pages, and holds less", () => {
  const rss = (): number => Number(/^RssFile:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
  const before = rss();
  expect(dropCodePages()).toBeGreaterThan(1 << 20);
  expect(rss()).toBeLessThan(before);
  expect([3, 1, 2].sort()).toEqual([1, 2, 3]);
});
