import { describe, expect, test } from "bun:test";
import { matchesLabels, matchesPattern } from "./match.ts";
import { Query } from "./query.ts";
import { registryAuth } from "./auth.ts";
import { humanDuration } from "./time.ts";

describe("query parameters", () => {
  test("booleans as dockerd reads them", () => {
    const query = new Query("a=1&b=0&c=no&d=False&e=none&f=&g=yes&h=TRUE");
    expect([..."abcdefgh"].map((name) => query.bool(name))).toEqual([true, false, false, false, false, false, true, true]);
    expect(query.bool("absent", true)).toBe(true);
    expect(query.bool("b", true)).toBe(false);
  });

  test("names of files as bytes", () => {
    const query = new Query("a=1&path=/a+b%2Fc%ff%C3%A9é%zz%&path=2");
    expect(query.bytes("path")).toBe(Buffer.from("/a b/c").toString("latin1") + "\xff\xc3\xa9\xc3\xa9%zz%");
    expect(query.bytes("none")).toBe("");
  });

  test("integers", () => {
    const query = new Query("a=5&b=-1&c=x&d=1.5&e=");
    expect([query.int("a"), query.int("b"), query.int("e"), query.int("absent")]).toEqual([5, -1, undefined, undefined]);
    expect(() => query.int("c")).toThrow("parameter c");
    expect(() => query.int("d")).toThrow("want an integer");
  });

  const filters = (value: unknown): Query => new Query(`filters=${encodeURIComponent(JSON.stringify(value))}`);
  test("filters as a map of lists or of maps", () => {
    expect(filters({ label: ["a", "b=c"], name: [] }).filters(["label", "name"])).toEqual({ label: ["a", "b=c"] });
    expect(filters({ label: { a: true, b: true } }).filters(["label"])).toEqual({ label: ["a", "b"] });
    expect(new Query("").filters([])).toEqual({});
    expect(filters(null).filters([])).toEqual({});
  });
  test("unknown and malformed filters are refused", () => {
    expect(() => filters({ nope: ["a"] }).filters(["label"])).toThrow("invalid filter 'nope'");
    expect(() => filters({ label: "a" }).filters(["label"])).toThrow("want a list of strings");
    expect(() => filters([]).filters(["label"])).toThrow("want a map of lists");
    expect(() => new Query("filters={").filters([])).toThrow("not JSON");
    expect(() => filters(JSON.parse('{"__proto__":["a"]}')).filters(["label"])).toThrow("invalid filter '__proto__'");
  });
});

test("name filters are patterns that can't take for ever", () => {
  expect(matchesPattern("web", "my-web-1")).toBe(true);
  expect(matchesPattern("^web$", "my-web")).toBe(false);
  expect(matchesPattern("^w.b$", "web")).toBe(true);
  expect(matchesPattern("(", "a(b")).toBe(true);
  const start = performance.now();
  expect(matchesPattern("^(a+)+$", "a".repeat(200) + "!")).toBe(false);
  expect(performance.now() - start).toBeLessThan(1000);
});

test("labels: all must fit, and inherited names are no labels", () => {
  expect(matchesLabels({ a: "b" }, ["a", "a=b"])).toBe(true);
  expect(matchesLabels({ a: "b" }, ["a=c"])).toBe(false);
  expect(matchesLabels({}, ["constructor"])).toBe(false);
});

test("credentials in base64, base64url, or rubbish", () => {
  const json = JSON.stringify({ Username: "u", password: "p?>", serveraddress: "" });
  expect(registryAuth({ "x-registry-auth": Buffer.from(json).toString("base64url") })).toEqual({ username: "u", password: "p?>" });
  expect(registryAuth({ "x-registry-auth": Buffer.from(json).toString("base64") })).toEqual({ username: "u", password: "p?>" });
  expect(registryAuth({ "x-registry-auth": "!!" })).toBeUndefined();
  expect(registryAuth({})).toBeUndefined();
});

test("spans of time in docker's words", () => {
  const minute = 60_000;
  const cases: [number, string][] = [
    [300, "Less than a second"],
    [1000, "1 second"],
    [59_000, "59 seconds"],
    [minute, "About a minute"],
    [59 * minute, "59 minutes"],
    [61 * minute, "About an hour"],
    [5 * 60 * minute, "5 hours"],
    [72 * 60 * minute, "3 days"],
    [21 * 24 * 60 * minute, "3 weeks"],
    [100 * 24 * 60 * minute, "3 months"],
    [800 * 24 * 60 * minute, "2 years"],
  ];
  for (const [milliseconds, words] of cases) expect(humanDuration(milliseconds)).toBe(words);
});
