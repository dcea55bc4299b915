import { describe, expect, test } from "bun:test";
import { parseChunkRange, parseRange } from "./range.ts";

describe("Range", () => {
  const rows: [header: string | undefined, want: ReturnType<typeof parseRange>][] = [
    [undefined, undefined],
    ["bytes=0-9", { start: 0, end: 10 }],
    ["bytes=5-", { start: 5, end: 100 }],
    ["bytes=90-1000", { start: 90, end: 100 }],
    ["bytes=-10", { start: 90, end: 100 }],
    ["bytes=-1000", { start: 0, end: 100 }],
    ["bytes=99-99", { start: 99, end: 100 }],
    ["bytes=100-", "unsatisfiable"],
    ["bytes=-0", "unsatisfiable"],
    ["bytes=9-5", undefined],
    ["bytes=-", undefined],
    ["bytes=0-1,5-6", undefined],
    ["lines=0-1", undefined],
    ["bytes=a-b", undefined],
    [`bytes=${"9".repeat(400)}-`, undefined],
  ];
  for (const [header, want] of rows) test(String(header).slice(0, 40), () => expect(parseRange(header, 100)).toEqual(want));
  test("an empty blob has no ranges", () => expect(parseRange("bytes=0-", 0)).toBe("unsatisfiable"));
});

test("Content-Range of a chunk", () => {
  expect(parseChunkRange("0-9")).toEqual({ start: 0, end: 10 });
  expect(parseChunkRange("bytes 5-9/10")).toEqual({ start: 5, end: 10 });
  for (const bad of ["", "9-5", "a-b", "5", "-5", "5-"]) expect(parseChunkRange(bad)).toBeUndefined();
});
