import { expect, test } from "bun:test";
import { jsonList } from "./json-list.ts";

test("a list as JSON: in order, without what is left out, of items that are waited for, too", async () => {
  const even = (n: number): string | undefined | Promise<string> => (n % 2 === 1 ? undefined : n % 4 === 0 ? Promise.resolve(`{"n":${n}}`) : `{"n":${n}}`);
  expect(JSON.parse(await jsonList([1, 2, 3, 4, 6], even))).toEqual([{ n: 2 }, { n: 4 }, { n: 6 }]);
  expect(await jsonList([], even)).toBe("[]");
});

test("others have their turn while a long one is made", async () => {
  let others = 0;
  const count = (): void => {
    others++;
    next = setImmediate(count);
  };
  let next = setImmediate(count);
  const slow = (n: number): string => {
    Bun.sleepSync(1);
    return String(n);
  };
  const items = Array.from({ length: 20 }, (_, n) => n);
  expect(JSON.parse(await jsonList(items, slow))).toEqual(items);
  clearImmediate(next);
  expect(others).toBeGreaterThan(3);
});
