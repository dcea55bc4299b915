import { expect, test } from "bun:test";
import { kindOf } from "./errors.ts";
import { createLimiter } from "./limiter.ts";

test("a limiter lets in as many as it may, in order", async () => {
  const limiter = createLimiter(() => 2);
  const first = await limiter.enter();
  const second = await limiter.enter();
  const order: number[] = [];
  let waits = 0;
  const third = limiter.enter({ onWait: () => void waits++ }).then((place) => (order.push(3), place));
  const fourth = limiter.enter({ onWait: () => void waits++ }).then((place) => (order.push(4), place));
  expect(waits).toBe(2);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  const place = await third;
  expect(order).toEqual([3]);
  place[Symbol.dispose]();
  (await fourth)[Symbol.dispose]();
  second[Symbol.dispose]();
  expect(order).toEqual([3, 4]);
});

test("who is cancelled leaves the queue", async () => {
  const limiter = createLimiter(() => 1);
  const place = await limiter.enter();
  const controller = new AbortController();
  const gone = limiter.enter({ signal: controller.signal }).catch(kindOf);
  const next = limiter.enter();
  controller.abort();
  expect(await gone).toBe("cancelled");
  place[Symbol.dispose]();
  (await next)[Symbol.dispose]();
});
