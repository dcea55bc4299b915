import { describe, expect, test } from "bun:test";
import { formatNano, parseDuration, parseRfc3339, parseTimestamp } from "./time.ts";

describe("formatNano", () => {
  test("cuts zeros as Go does", () => {
    expect(formatNano(0n)).toBe("0001-01-01T00:00:00Z");
    expect(formatNano(1_700_000_000_000_000_000n)).toBe("2023-11-14T22:13:20Z");
    expect(formatNano(1_700_000_000_012_300_000n)).toBe("2023-11-14T22:13:20.0123Z");
    expect(formatNano(1_700_000_000_000_000_001n)).toBe("2023-11-14T22:13:20.000000001Z");
  });
});

describe("parseRfc3339", () => {
  test("reads zones and nine digits", () => {
    expect(parseRfc3339("2023-11-14T22:13:20.000000001Z")).toBe(1_700_000_000_000_000_001n);
    expect(parseRfc3339("2023-11-14T23:13:20.5+01:00")).toBe(1_700_000_000_500_000_000n);
    expect(parseRfc3339("2023-11-14T22:13Z")).toBe(1_699_999_980_000_000_000n);
    expect(parseRfc3339("yesterday")).toBeUndefined();
    expect(parseRfc3339("2023-99-14T22:13:20Z")).toBeUndefined();
  });
});

describe("parseTimestamp", () => {
  const now = 1_700_000_000_000_000_000n;
  test("unix seconds, durations, dates", () => {
    expect(parseTimestamp("1700000000.000000007", now)).toBe(1_700_000_000_000_000_007n);
    expect(parseTimestamp("0", now)).toBe(0n);
    expect(parseTimestamp("1m30s", now)).toBe(now - 90_000_000_000n);
    expect(parseTimestamp("2023-11-14T22:13:20Z", now)).toBe(now);
    expect(() => parseTimestamp("soon", now)).toThrow("failed to parse");
  });
  test("durations with fractions", () => {
    expect(parseDuration("1.5s")).toBe(1_500_000_000n);
    expect(parseDuration("-2h")).toBe(-7_200_000_000_000n);
    expect(parseDuration("5")).toBeUndefined();
  });
});
