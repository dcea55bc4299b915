import { expect, test } from "bun:test";
import type { Context, Entry } from "./context.ts";
import { inOrder, partnersOf } from "./order.ts";

const entries = (...names: string[]): Record<string, Entry> => Object.fromEntries(names.map((name) => [name, { record: { name } } as Entry]));
const nameOf = ({ record }: Entry): string => record.name;

test("each after what it depends on, however they are listed", async () => {
  const { a, b, c, d } = entries("a", "b", "c", "d") as Record<"a" | "b" | "c" | "d", Entry>;
  const needs = new Map([
    [a, [b, c]],
    [b, [c]],
  ]);
  const done: string[] = [];
  await inOrder(
    [a, d, b, c],
    (entry) => needs.get(entry) ?? [],
    2,
    async (entry, circle) => {
      expect(circle).toBeUndefined();
      await Bun.sleep(entry === c ? 5 : 1);
      done.push(nameOf(entry));
    },
  );
  expect(done).toEqual(["d", "c", "b", "a"]);
});

test("what isn't among them is waited for by nobody", async () => {
  const { a, x } = entries("a", "x") as Record<"a" | "x", Entry>;
  const done: string[] = [];
  await inOrder(
    [a],
    () => [x],
    1,
    async (entry) => void done.push(nameOf(entry)),
  );
  expect(done).toEqual(["a"]);
});

test("a circle is told to its members, and to nobody else", async () => {
  const { a, b, c, own } = entries("a", "b", "c", "own") as Record<"a" | "b" | "c" | "own", Entry>;
  const needs = new Map([
    [a, [b]],
    [b, [a]],
    [c, [a]],
    [own, [own]],
  ]);
  const told: Record<string, string[] | undefined> = {};
  await inOrder(
    [c, a, b, own],
    (entry) => needs.get(entry) ?? [],
    9,
    async (entry, circle) => void (told[nameOf(entry)] = circle?.map(nameOf)),
  );
  expect(told).toEqual({ a: ["a", "b"], b: ["a", "b"], own: ["own"] });
  expect(Object.keys(told)).toContain("c");
});

test("no more at a time than allowed", async () => {
  const all = Object.values(entries(..."abcdefgh"));
  let now = 0;
  let most = 0;
  await inOrder(
    all,
    () => [],
    3,
    async () => {
      most = Math.max(most, ++now);
      await Bun.sleep(1);
      now--;
    },
  );
  expect(most).toBe(3);
});

test("a container that was linked and has got another name since is still waited for", () => {
  const record = { id: "a", name: "a", host: { Links: ["old:alias"] }, endpoints: { bridge: {} }, linked: { alias: "b" } };
  const [a, b] = [{ record }, { record: { id: "b", name: "new" } }] as unknown as [Entry, Entry];
  const ctx = {
    entries: new Map([
      ["a", a],
      ["b", b],
    ]),
    names: new Map([
      ["a", "a"],
      ["new", "b"],
    ]),
  } as unknown as Context;
  expect(partnersOf(ctx, a)).toEqual([b]);
});
