import { expect, test } from "bun:test";
import { hasWildcards } from "./glob.ts";

test("what is a wildcard", () => {
  expect(["a*", "a?", "[a]", "\\\\*"].map(hasWildcards)).toEqual([true, true, true, true]);
  expect(["a", "\\*", "\\[a]"].map(hasWildcards)).toEqual([false, false, false]);
});
