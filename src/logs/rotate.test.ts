import { expect, test } from "bun:test";
import { nextLook } from "./rotate.ts";

const maxSize = 10 << 20;

test("a flooded log is looked at again before it has twice its limit", () => {
  const perMs = 250_000;
  const delay = nextLook({ grown: 100 * perMs, elapsed: 100, maxSize, delay: 100 });
  expect(delay).toBe(25);
  expect(maxSize + delay * perMs).toBeLessThan(2 * maxSize);
});

test("the faster it grows the sooner, between 25 ms and a second; one that is silent ever later, up to 8 s", () => {
  expect(nextLook({ grown: 1 << 20, elapsed: 100, maxSize, delay: 100 })).toBe(500);
  expect(nextLook({ grown: 1, elapsed: 100, maxSize, delay: 8000 })).toBe(1000);
  expect(nextLook({ grown: 0, elapsed: 100, maxSize, delay: 100 })).toBe(200);
  expect(nextLook({ grown: -5, elapsed: 8000, maxSize, delay: 8000 })).toBe(8000);
});
