import { describe, expect, test } from "bun:test";
import { ago, binarySize, ellipsis, goTime, humanDuration, humanSize, shortId } from "./human.ts";
import { compareNatural } from "./natural.ts";

describe("for people", () => {
  test("sizes", () => {
    expect([0, 999, 1000, 1_234_567, 12_345_678, 1e9, 1.5e12].map((size) => humanSize(size))).toEqual([
      "0B",
      "999B",
      "1kB",
      "1.235MB",
      "12.35MB",
      "1GB",
      "1.5TB",
    ]);
    expect([1_981_440, 13_256_789, 999_999].map((size) => humanSize(size, 3))).toEqual(["1.98MB", "13.3MB", "1000kB"]);
    expect([0, 1024, 1536, 25_276_313_600].map((size) => binarySize(size))).toEqual(["0B", "1KiB", "1.5KiB", "23.54GiB"]);
  });

  test("spans of time", () => {
    const second = 1000;
    const table: [number, string][] = [
      [0, "Less than a second"],
      [1, "1 second"],
      [59, "59 seconds"],
      [60, "About a minute"],
      [119, "About a minute"],
      [120, "2 minutes"],
      [46 * 60, "46 minutes"],
      [60 * 60, "About an hour"],
      [89 * 60, "About an hour"],
      [90 * 60, "2 hours"],
      [47 * 3600, "47 hours"],
      [48 * 3600, "2 days"],
      [13 * 86400, "13 days"],
      [14 * 86400, "2 weeks"],
      [60 * 86400, "2 months"],
      [730 * 86400, "2 years"],
    ];
    for (const [seconds, text] of table) expect(`${seconds}: ${humanDuration(seconds * second)}`).toBe(`${seconds}: ${text}`);
    expect(ago(1000, 1000_000 + 3 * 60_000)).toBe("3 minutes ago");
    expect(ago(0)).toBe("N/A");
  });

  test("times as Go prints them", () => {
    expect(goTime(Date.UTC(2026, 0, 2, 3, 4, 5))).toMatch(/^2026-01-0\d \d\d:\d\d:05 [+-]\d{4} \S+$/);
  });

  test("short ids and cut texts", () => {
    expect(shortId("sha256:0123456789abcdef")).toBe("0123456789ab");
    expect(shortId("0123456789abcdef")).toBe("0123456789ab");
    expect([ellipsis("abc", 3), ellipsis("abcd", 3), ellipsis("äöüß", 3), ellipsis("ab", 1)]).toEqual(["abc", "ab…", "äö…", "a"]);
  });

  test("names with numbers in order", () => {
    expect(["n10", "n2", "a", "n2b", "n02"].sort(compareNatural)).toEqual(["a", "n02", "n2", "n2b", "n10"]);
  });
});
