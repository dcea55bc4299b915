import { describe, expect, test } from "bun:test";
import { parseIgnore } from "./ignore.ts";

describe(".dockerignore", () => {
  const table: [string, string, boolean][] = [
    ["a", "a", true],
    ["a", "b", false],
    ["a", "a/b/c", true],
    ["a", "x/a", false],
    ["/a", "a", true],
    ["./a/", "a/b", true],
    ["*", "a/b", true],
    ["*/b", "a/b", true],
    ["*/b", "b", false],
    ["*/b", "x/y/b", false],
    ["**/b", "b", true],
    ["**/b", "x/y/b", true],
    ["**", "x/y", true],
    ["a/**", "a/b/c", true],
    ["a/**/c", "a/c", true],
    ["a/**/c", "a/x/y/c", true],
    ["*.md", "README.md", true],
    ["*.md", "docs/README.md", false],
    ["**/*.md", "docs/README.md", true],
    ["a?c", "abc", true],
    ["a[b-d]c", "acc", true],
    ["a[^b]c", "abc", false],
    ["a.c", "abc", false],
    ["a\\*c", "a*c", true],
    ["a\\*c", "abc", false],
    ["# a\n#b", "#b", false],
    ["*.md\n!README.md", "README.md", false],
    ["*.md\n!README*.md\nREADME-x.md", "README-x.md", true],
    ["a\n!a/b", "a/b", false],
    ["a\n!a/b", "a/c", true],
    ["  a  ", "a", true],
    ["a/../b", "b", true],
    ["", "a", false],
    ["Dockerfile\n", "Dockerfile", true],
    ["*\n!src", ".dockerignore", true],
    ["*\n!src", "src/x", false],
  ];
  for (const [rules, path, ignored] of table) {
    test(`${JSON.stringify(rules)} ${ignored ? "ignores" : "keeps"} ${path}`, () => expect(parseIgnore(rules).ignores(path)).toBe(ignored));
  }
});
