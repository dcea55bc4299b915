import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { bool, check, int, list, map, object, set, text, textMap, words } from "./schema.ts";

describe("reading as Go does", () => {
  const schema = object({ Name: text.optional(), Inner: object({ Size: int.optional() }).optional(), Cmd: words.optional() });

  test("keys in any case, the last one counts", () => {
    expect(check(schema, { name: "a", INNER: { size: 3 } })).toEqual({ Name: "a", Inner: { Size: 3 } });
    expect(check(schema, { Name: "a", NAME: "b" })).toEqual({ Name: "b" });
  });
  test("unknown keys are ignored", () => expect(check(schema, { Name: "a", Future: { x: 1 } })).toEqual({ Name: "a" }));
  test("null counts as absent", () => expect(check(schema, { Name: null, Inner: null, Cmd: null })).toEqual({}));
  test("a command line may be one text", () => expect(check(schema, { Cmd: "sh" })).toEqual({ Cmd: ["sh"] }));
  test("the ends of 64 bits are shown as no more than that, for Go reads nothing else", () => {
    const shown = (size: string): bigint => BigInt(JSON.stringify(check(int, JSON.parse(size))));
    expect(shown("9223372036854775807") <= 2n ** 63n - 1n).toBe(true);
    expect(shown("-9223372036854775808") >= -(2n ** 63n)).toBe(true);
    expect(shown("9007199254740991")).toBe(9007199254740991n);
  });
  test("null elements of lists are dropped, null values of maps kept", () => {
    expect(check(list(object({ A: text })), [{ A: "x" }, null])).toEqual([{ A: "x" }]);
    expect(check(map(list(object({}))), { "80/tcp": null })).toEqual({ "80/tcp": null });
    expect(check(set, { "80/tcp": null, "81/tcp": {} })).toEqual({ "80/tcp": {}, "81/tcp": {} });
  });
  test("a prototype can't be set", () => {
    const read = check(z.record(z.string(), text), JSON.parse('{"__proto__": "x", "a": "b"}'));
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
    expect(read.a).toBe("b");
  });

  const wrong: [unknown, string][] = [
    [{ Name: 3 }, "invalid JSON: Name: expected string, received number"],
    [{ inner: { size: "x" } }, "invalid JSON: Inner.Size: expected number, received string"],
    [{ Inner: { Size: 1.5 } }, "invalid JSON: Inner.Size: expected an integer"],
    [{ Inner: { Size: 1e19 } }, "invalid JSON: Inner.Size: expected an integer of 64 bits"],
    [{ Inner: { Size: -1e308 } }, "invalid JSON: Inner.Size: expected an integer of 64 bits"],
    [{ Cmd: ["a", 1] }, "invalid JSON: Cmd[1]: expected string, received number"],
    [[], "invalid JSON: request body: expected object, received array"],
    ["x", "invalid JSON: request body: expected object, received string"],
  ];
  test("sets: what is no map, or has members that are no objects", () => {
    const reading = (Ports: unknown) => () => check(object({ Ports: set }), { Ports });
    expect(reading(["80/tcp"])).toThrow("invalid JSON: Ports: expected record, received array");
    expect(reading({ "80/tcp": {}, "81/tcp": "x" })).toThrow("invalid JSON: Ports.81/tcp: expected object, received string");
    expect(reading({ "80/tcp": [] })).toThrow("invalid JSON: Ports.80/tcp: expected object, received array");
    expect(reading(JSON.parse('{"__proto__": {"a": 1}, "80/tcp": {"b": 2}}'))()).toEqual({ Ports: { "80/tcp": { b: 2 } } });
  });
  test("maps of texts: what is no map, or has values that are no texts", () => {
    const reading = (Labels: unknown) => () => check(object({ Labels: textMap.optional() }), { Labels });
    expect(reading(["a"])).toThrow("invalid JSON: Labels: expected record, received array");
    expect(reading({ a: "b", c: 1 })).toThrow("invalid JSON: Labels.c: expected string, received number");
    expect(reading({ a: null })).toThrow("invalid JSON: Labels.a: expected string, received null");
    expect(reading(null)()).toEqual({});
    const labels = (reading(JSON.parse('{"__proto__": "x", "a": "b"}'))() as { Labels: object }).Labels;
    expect([Object.keys(labels), Object.getPrototypeOf(labels)]).toEqual([["a"], Object.prototype]);
  });
  for (const [value, message] of wrong) test(message, () => expect(() => check(schema, value)).toThrow(message));
  test("booleans aren't numbers", () => expect(() => check(object({ Tty: bool }), { Tty: 1 })).toThrow("Tty: expected boolean"));
});
