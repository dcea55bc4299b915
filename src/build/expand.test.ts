import { describe, expect, test } from "bun:test";
import { expand, expandText } from "./expand.ts";

const variables = new Map(
  Object.entries({ foo: "bar", empty: "", path: "/usr/local/bin", two: "80 443", name: "héllo", pat: "foo.tar.gz", star: "a*b*c", _x1: "u", quoted: 'a"b' }),
);

/** Word, result. The rules are those of the Dockerfile reference; POSIX sh gives the same where both define something. */
const table: [string, string][] = [
  ["plain", "plain"],
  ["$foo", "bar"],
  ["${foo}", "bar"],
  ["x${foo}y", "xbary"],
  ["$foo$foo", "barbar"],
  ["$foo.x", "bar.x"],
  ["$_x1-", "u-"],
  ["$nothing", ""],
  ["${nothing}", ""],
  ["$", "$"],
  ["a$", "a$"],
  ["$.", "$."],
  ["$1x", "x"],
  ["$@x", "x"],
  ["\\$foo", "$foo"],
  ["\\${foo}", "${foo}"],
  ["\\\\$foo", "\\bar"],
  ["'$foo'", "$foo"],
  ["'a\\b'", "a\\b"],
  ['"$foo"', "bar"],
  ['"\\$foo"', "$foo"],
  ['"a\\b"', "a\\b"],
  ['"a\\"b"', 'a"b'],
  ['"it\'s"', "it's"],
  ["it\\'s", "it's"],
  ["a\\", "a"],
  ["${foo:-d}", "bar"],
  ["${nothing:-d}", "d"],
  ["${empty:-d}", "d"],
  ["${empty-d}", ""],
  ["${nothing-d}", "d"],
  ["${nothing:-$foo}", "bar"],
  ["${nothing:-${foo}x}", "barx"],
  ["${nothing:-'a b'}", "a b"],
  ["${nothing:-a\\}b}", "a}b"],
  ["${foo:+alt}", "alt"],
  ["${empty:+alt}", ""],
  ["${empty+alt}", "alt"],
  ["${nothing+alt}", ""],
  ["${nothing:+alt}", ""],
  ["${foo:?oops}", "bar"],
  ["${empty?oops}", ""],
  ["${path#*/}", "usr/local/bin"],
  ["${path##*/}", "bin"],
  ["${path%/*}", "/usr/local"],
  ["${path%%/*}", ""],
  ["${pat%.gz}", "foo.tar"],
  ["${pat%.*}", "foo.tar"],
  ["${pat%%.*}", "foo"],
  ["${pat#f?o.}", "tar.gz"],
  ["${star#a\\*}", "b*c"],
  ["${foo#nope}", "bar"],
  ["${foo/a/o}", "bor"],
  ["${path/\\//_}", "_usr/local/bin"],
  ["${path//\\//_}", "_usr_local_bin"],
  ["${foo//[/x}", "bar"],
  ["$name", "héllo"],
  ["${foo}é", "baré"],
  ["$quoted", 'a"b'],
];

describe("expandText", () => {
  for (const [word, wanted] of table) test(`${word} → ${wanted}`, () => expect(expandText(word, variables)).toBe(wanted));

  test("a backtick as escape character", () => {
    expect(expandText("`$foo \\$foo", variables, { escape: "`" })).toBe("$foo \\bar");
  });

  test("a here-document keeps its quotes", () => {
    expect(expandText(`a "$foo" '$foo' \\$foo\n`, variables, { keepQuotes: true })).toBe(`a "bar" 'bar' $foo\n`);
  });

  const bad: [string, string][] = [
    ["${", "syntax error: missing '}'"],
    ["${foo", "syntax error: missing '}'"],
    ["${foo:-x", "syntax error: missing '}'"],
    ["${}", "syntax error: bad substitution"],
    ["${:x}", "syntax error: bad substitution"],
    ["${{x}", "syntax error: bad substitution"],
    ["${foo:=x}", "unsupported modifier (:=) in substitution"],
    ["${foo=x}", "unsupported modifier (=) in substitution"],
    ["${nothing:?oops}", "nothing: oops"],
    ["${nothing?}", "nothing: is not allowed to be unset"],
    ["${empty:?}", "empty: is not allowed to be empty"],
    ["'a", "unexpected end of statement while looking for matching single-quote"],
    ['"a', "unexpected end of statement while looking for matching double-quote"],
  ];
  for (const [word, message] of bad) {
    test(`${word} is refused`, () => expect(() => expandText(word, variables)).toThrow(`failed to process ${JSON.stringify(word)}: ${message}`));
  }
});

describe("words", () => {
  const cases: [string, string[]][] = [
    ["$two", ["80", "443"]],
    ['"$two"', ["80 443"]],
    ["$two/udp", ["80", "443/udp"]],
    ["1$foo 2", ["1bar", "2"]],
    ["$nothing", []],
  ];
  for (const [word, wanted] of cases) test(word, () => expect(expand(word, variables).words).toEqual(wanted));
});

describe("hostile words", () => {
  const stars = "*a".repeat(60);
  test.each([`\${x//${stars}b/}`, `\${x/${stars}b/}`, `\${x##${stars}b}`, `\${x%${stars}b}`])("%s takes no longer than its length", (word) => {
    const value = "a".repeat(3000);
    expect(expandText(word, new Map([["x", value]]))).toBe(value);
  });

  test("variables that double at each line are stopped", () => {
    let value = "x";
    expect(() => {
      for (let line = 0; line < 60; line++) value = expandText("$x$x", new Map([["x", value]]));
    }).toThrow("longer than 1048576 characters");
  });

  test("a pattern of megabytes on a value of megabytes is refused", () => {
    expect(() => expandText(`\${x//${"a".repeat(100_000)}/}`, new Map([["x", "a".repeat(1_000_000)]]))).toThrow("too long");
  });
});
