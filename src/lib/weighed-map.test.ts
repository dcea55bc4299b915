import { expect, test } from "bun:test";
import { WeighedMap } from "./weighed-map.ts";

test("what was set first goes where all would weigh too much; the last stays, however heavy", () => {
  const map = new WeighedMap<string, number>(10);
  const there = (): string => ["a", "b", "c", "d"].filter((key) => map.get(key) !== undefined).join("");
  map.set("a", 1, 4);
  map.set("b", 2, 4);
  expect(there()).toBe("ab");
  map.set("c", 3, 3);
  expect(there()).toBe("bc");
  // set anew it is the youngest, and weighs what it weighs now
  map.set("b", 4, 6);
  map.set("d", 5);
  expect([there(), map.get("b")]).toEqual(["bcd", 4]);
  map.set("d", 6, 3);
  expect(there()).toBe("bd");
  map.set("a", 7, 100);
  expect(there()).toBe("a");
  map.set("b", 8);
  expect(there()).toBe("b");
  map.delete("b");
  map.set("c", 9, 10);
  expect(there()).toBe("c");
  map.clear();
  map.set("d", 10, 10);
  expect(there()).toBe("d");
});
