import { expect, test } from "bun:test";
import { matchEnd, matchEnds, matchesWhole, type Step } from "./wildcards.ts";

const steps = (pattern: string): Step[] => [...pattern].map((p) => (p === "*" ? { many: () => true } : { one: (char) => p === "?" || char === p }));

test("ends of matches", () => {
  expect(matchEnds(steps("a*b"), [..."axbxb"])).toEqual([3, 5]);
  expect(matchEnds(steps("*"), [..."ab"])).toEqual([0, 1, 2]);
  expect(matchEnd(steps("a*b"), [..."axbxb"], { prefer: "shortest" })).toBe(3);
  expect(matchEnd(steps("x?"), [..."axbxb"], { from: 3, prefer: "longest" })).toBe(5);
  expect(matchEnd(steps("z"), [..."a"], { prefer: "longest" })).toBeUndefined();
});

test("a leap may be taken or not", () => {
  const optional: Step[] = [{ skip: 1 }, ...steps("ab")];
  expect(["ab", "b", "a", "aab"].map((text) => matchesWhole(optional, text))).toEqual([true, true, false, false]);
});

test("stars don't take for ever", () => expect(matchesWhole(steps(`${"*a".repeat(50)}b`), "a".repeat(5000))).toBe(false));
