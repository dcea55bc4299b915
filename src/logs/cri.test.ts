import { describe, expect, test } from "bun:test";
import { CriParser, flagContinued, parseCriTime, recordsOf } from "./cri.ts";
import type { LogBatch } from "./types.ts";

const records = (batches: LogBatch[]): { stream: string; time: string; bytes: Buffer }[] => batches.flatMap((batch) => [...recordsOf(batch)]);
const text = (batches: LogBatch[]): string[] => records(batches).map((record) => record.bytes.toString());
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
  const expected = ["hello world\n", "\n", "part one, part two\n"];

  test("full lines keep their newline, pieces are put together, and what has no end yet comes when asked for", () => {
    const parser = new CriParser();
    const found = records(parser.push(bytes(log)));
    expect(found.map((record) => record.bytes.toString())).toEqual(expected);
    expect(found.map((record) => record.stream)).toEqual(["stdout", "stderr", "stdout"]);
    expect(found[0]?.time).toBe("2023-11-14T22:13:20.000000001+00:00");
    expect(found[2]?.time).toBe("2023-11-14T22:13:21.000000000+00:00");
    const [rest] = parser.flush();
    expect(text([rest as LogBatch])).toEqual(["no newline"]);
    expect(rest?.heads[4]).toBe(0);
    expect(parser.flush()).toEqual([]);
    const [more] = parser.push(bytes("2023-11-14T22:13:23.000000000+00:00 stdout F , or is there\n"));
    expect(text([more as LogBatch])).toEqual([", or is there\n"]);
    expect(more?.heads[4]).toBe(flagContinued);
  });

  test("long lines come in Docker's pieces of 16 KiB, with the time of their beginning", () => {
    const time = (second: number): string => `2023-11-14T22:13:${second}.000000000+00:00`;
    const pieces = (total: number, size: number): string => {
      let out = "";
      for (let at = 0; at < total; at += size) out += `${time(20 + (at % 40))} stdout P ${"x".repeat(Math.min(size, total - at))}\n`;
      return out;
    };
    for (const [total, size, lengths] of [
      [40_000, 8192, [16384, 16384, 7233]],
      [40_000, 100, [16384, 16384, 7233]],
      [16_384, 8192, [16384, 1]],
      [16_383, 8191, [16384]],
    ] as const) {
      const parser = new CriParser();
      const found = parser.push(bytes(`${pieces(total, size)}${time(59)} stdout F \n${time(59)} stdout F next\n`));
      expect(records(found).map((record) => record.bytes.length)).toEqual([...lengths, 5]);
      expect(
        records(found)
          .slice(0, -1)
          .every((record) => record.time === time(20)),
      ).toBe(true);
      expect(found.every((batch) => batch.heads[4] === 0)).toBe(true);
    }
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
