import { describe, expect, test } from "bun:test";
import { CriParser, parseCriTime } from "./cri.ts";

const text = (records: { bytes: Uint8Array }[]): string[] => records.map((record) => Buffer.from(record.bytes).toString());
const bytes = (value: string): Uint8Array => Buffer.from(value);

describe("times", () => {
  test("nanoseconds and zones", () => {
    expect(parseCriTime("2023-11-14T22:13:20.012724977+00:00")).toBe(1_700_000_000_012_724_977n);
    expect(parseCriTime("2023-11-14T23:43:20.5+01:30")).toBe(1_700_000_000_500_000_000n);
    expect(parseCriTime("2023-11-14T22:13:20Z")).toBe(1_700_000_000_000_000_000n);
    expect(parseCriTime("2023-11-14 22:13:20Z")).toBeUndefined();
  });
});

describe("CriParser", () => {
  const log = [
    "2023-11-14T22:13:20.000000001+00:00 stdout F hello world\n",
    "2023-11-14T22:13:20.000000001+00:00 stderr F \n",
    "2023-11-14T22:13:21.000000000+00:00 stdout P part one, \n",
    "2023-11-14T22:13:21.000000000+00:00 stdout F part two\n",
    "2023-11-14T22:13:22.000000000+00:00 stdout P no newline\n",
  ].join("");
  const expected = ["hello world\n", "\n", "part one, ", "part two\n", "no newline"];

  test("full lines keep their newline, pieces have none", () => {
    const records = new CriParser().push(bytes(log));
    expect(text(records)).toEqual(expected);
    expect(records.map((record) => record.stream)).toEqual(["stdout", "stderr", "stdout", "stdout", "stdout"]);
    expect(records[0]?.time).toBe(1_700_000_000_000_000_001n);
    expect(records[4]?.time).toBe(1_700_000_002_000_000_000n);
  });

  test("any cut gives the same", () => {
    for (const size of [1, 2, 3, 7, 50, 51, 64]) {
      const parser = new CriParser();
      const out: string[] = [];
      for (let at = 0; at < log.length; at += size) out.push(...text(parser.push(bytes(log.slice(at, at + size)))));
      expect(out).toEqual(expected);
    }
  });

  test("what is no record is skipped", () => {
    const odd = [
      "rubbish\n",
      "\n",
      "2023-11-14T22:13:20Z stdin F x\n",
      "2023-11-14T22:13:20Z stdout X x\n",
      "not-a-time stdout F x\n",
      "2023-11-14T22:13:20Z stdout F\n",
      "2023-11-14T22:13:20Z stdout F:tag good\0\x1b[31m\n",
      "2023-11-14T22:13:20Z stdout F unfinished",
    ].join("");
    expect(text(new CriParser().push(bytes(odd)))).toEqual(["\n", "good\0\x1b[31m\n"]);
  });

  test("a file without newlines takes no memory", () => {
    const parser = new CriParser();
    const junk = new Uint8Array(600_000).fill(65);
    for (let i = 0; i < 10; i++) expect(parser.push(junk)).toEqual([]);
    expect(text(parser.push(bytes("\n2023-11-14T22:13:20Z stdout F back\n")))).toEqual(["back\n"]);
  });
});
