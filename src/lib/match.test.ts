import { expect, test } from "bun:test";
import { clientPattern, hasLabel } from "./match.ts";

test("a label's key, or key and value; inherited names are no labels", () => {
  expect([hasLabel({ a: "b" }, "a"), hasLabel({ a: "b" }, "a=b"), hasLabel({ a: "b" }, "a=c"), hasLabel({ a: "" }, "a=")]).toEqual([true, true, false, true]);
  expect(hasLabel({}, "constructor")).toBe(false);
});

test("patterns match anywhere, as Go's", () => {
  expect(clientPattern("^/?web-.*-[0-9]+$")!("/web-blue-12")).toBe(true);
  expect(clientPattern("^w.b$")!("web")).toBe(true);
  expect(clientPattern("^web$")!("my-web")).toBe(false);
});

test("flags stand before a pattern, as Go writes them", () => {
  expect([clientPattern("(?i)^WEB$")!("web"), clientPattern("(?i)^WEB$")!("my-web"), clientPattern("WEB")!("web")]).toEqual([true, false, false]);
  for (const bad of ["(?ii)web", "(?x)web", "(?i)(", "(?i)(a+)+"]) expect(clientPattern(bad)).toBeUndefined();
});

test("what is no pattern, or repeats a group, is none", () => {
  for (const bad of ["(", "[", "(a+)+", "(a|b){2}", "x".repeat(257)]) expect(clientPattern(bad)).toBeUndefined();
});

// each of them would run for hours
test.each([
  ["repetitions in a row", `^${".*".repeat(8)}!$`, "a".repeat(200)],
  ["options in a row", `^${"a?".repeat(40)}${"a".repeat(40)}!$`, "a".repeat(40)],
])("%s end at once", (_, pattern, text) => expect(clientPattern(pattern)!(text)).toBe(false));
