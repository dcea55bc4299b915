import { describe, expect, test } from "bun:test";
import { globExpression, hasWildcards } from "./glob.ts";

describe("globs of COPY", () => {
  const table: [string, string, boolean][] = [
    ["*.txt", "a.txt", true],
    ["*.txt", "d/a.txt", false],
    ["d/*", "d/a", true],
    ["d/*", "d/a/b", false],
    ["a?", "ab", true],
    ["[a-c]x", "bx", true],
    ["[^a-c]x", "bx", false],
    ["\\*", "*", true],
    ["a+b", "a+b", true],
  ];
  for (const [pattern, path, matches] of table) {
    test(`${pattern} and ${path}`, () => expect(globExpression(pattern).test(path)).toBe(matches));
  }

  test("what is a wildcard", () => {
    expect(["a*", "a?", "[a]", "\\\\*"].map(hasWildcards)).toEqual([true, true, true, true]);
    expect(["a", "\\*", "\\[a]"].map(hasWildcards)).toEqual([false, false, false]);
  });

  test("a class without an end is refused", () => expect(() => globExpression("[a")).toThrow("syntax error in pattern"));
});
