import { expect, test } from "bun:test";
import { checkedRanges, gapsOf, withRange, type Range } from "./ranges.ts";

const of = (...pairs: [number, number][]): Range[] => pairs.map(([start, end]) => ({ start, end }));

test("ranges join where they touch", () => {
  expect(withRange([], { start: 3, end: 5 })).toEqual(of([3, 5]));
  expect(withRange(of([0, 2], [8, 9]), { start: 4, end: 6 })).toEqual(of([0, 2], [4, 6], [8, 9]));
  expect(withRange(of([0, 2], [8, 9]), { start: 2, end: 8 })).toEqual(of([0, 9]));
  expect(withRange(of([0, 2], [4, 6], [8, 9]), { start: 1, end: 5 })).toEqual(of([0, 6], [8, 9]));
  expect(withRange(of([0, 9]), { start: 2, end: 3 })).toEqual(of([0, 9]));
  expect(withRange(of([5, 6]), { start: 2, end: 2 })).toEqual(of([5, 6]));
});

test("gaps", () => {
  expect(gapsOf([], 4)).toEqual(of([0, 4]));
  expect(gapsOf(of([0, 4]), 4)).toEqual([]);
  expect(gapsOf(of([1, 2], [3, 4]), 6)).toEqual(of([0, 1], [2, 3], [4, 6]));
  expect(gapsOf([], 0)).toEqual([]);
  expect(gapsOf(of([6, 10]), 3)).toEqual(of([0, 3]));
  expect(gapsOf(of([0, 2], [2, 9]), 5)).toEqual([]);
});

test("what a file says is checked", () => {
  expect(
    checkedRanges(
      [
        [4, 6],
        [0, 2],
      ],
      5,
    ),
  ).toEqual(of([0, 2], [4, 5]));
  for (const bad of [null, {}, [[2, 1]], [[-1, 4]], [["0", 4]], [[0]], [[0.5, 1]], ["x"]]) expect(checkedRanges(bad, 10)).toEqual([]);
});
