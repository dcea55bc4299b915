import { expect, test } from "bun:test";
import { matchPath } from "./path-match.ts";

test("as Go's path.Match", () => {
  const cases: [string, string, boolean][] = [
    ["abc", "abc", true],
    ["*", "abc", true],
    ["*c", "abc", true],
    ["a*", "a/b", false],
    ["a*/b", "abc/b", true],
    ["a*b*c*d*e*/f", "axbxcxdxe/f", true],
    ["a*b?c*x", "abxbbxdbxebxczzx", true],
    ["a*b?c*x", "abxbbxdbxebxczzy", false],
    ["ab[c]", "abc", true],
    ["ab[b-d]", "abc", true],
    ["ab[e-g]", "abc", false],
    ["ab[^c]", "abc", false],
    ["ab[^e-g]", "abc", true],
    ["a\\*b", "a*b", true],
    ["a\\*b", "ab", false],
    ["a???b", "a☺☻☹b", true],
    ["a?b", "a/b", false],
    ["[\\]a]", "]", true],
    ["[\\-x]", "-", true],
    ["a.c", "abc", false],
    ["(a|b)+", "(a|b)+", true],
    ["foo*", "foo:1", true],
    ["*.txt", "d/a.txt", false],
    ["d/*", "d/a/b", false],
  ];
  for (const [pattern, text, want] of cases) expect([pattern, text, matchPath(pattern, text)]).toEqual([pattern, text, want]);
});

test("malformed patterns are refused", () => {
  for (const pattern of ["[", "[]a", "a\\", "[z-a]", "[a"]) expect(() => matchPath(pattern, "a")).toThrow("syntax error in pattern");
});

test("stars don't take for ever", () => expect(matchPath(`${"*a".repeat(50)}b`, "a".repeat(5000))).toBe(false));
