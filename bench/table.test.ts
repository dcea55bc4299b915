import { expect, test } from "bun:test";
import { formatTable, median } from "./table.ts";

test("medians", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeNaN();
});

test("the table has a column an engine, with ratios to the first", () => {
  const samples = new Map([
    ["Berth", [10, 20, 30]],
    ["Docker", [200]],
  ]);
  const rows = [
    { name: "run", unit: "ms" as const, samples },
    { name: "only ours", unit: "MB" as const, samples: new Map([["Berth", [1.25]]]) },
  ];
  expect(formatTable(["Berth", "Docker"], rows).split("\n")).toEqual([
    "              Berth          Docker",
    "run         20.0 ms   200 ms  10.0×",
    "only ours    1.3 MB               –",
  ]);
});
