import { expect, test } from "bun:test";
import { kindOf } from "../lib/errors.ts";
import { digestOf } from "../oci/digest.ts";
import { createLimiter, createTransfers } from "./transfers.ts";

const quiet = { status: () => {}, bytes: () => {} };
const digest = digestOf("x");

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

test("two who want the same get one transfer", async () => {
  const transfers = createTransfers();
  const { promise, resolve } = Promise.withResolvers<void>();
  let runs = 0;
  const work = async (): Promise<void> => {
    runs++;
    await promise;
  };
  const both = [transfers.join(digest, quiet, undefined, work), transfers.join(digest, quiet, undefined, work)];
  resolve();
  await Promise.all(both);
  expect(runs).toBe(1);
  await transfers.join(digest, quiet, undefined, work);
  expect(runs).toBe(2);
});

test("a transfer stops once the last has left, and not before", async () => {
  const transfers = createTransfers();
  let stopped = false;
  const work = async (_all: unknown, signal: AbortSignal): Promise<void> => {
    await new Promise<void>((_resolve, reject) => signal.addEventListener("abort", () => reject(new Error("stopped"))));
  };
  const wrapped = async (all: unknown, signal: AbortSignal): Promise<void> => await work(all, signal).finally(() => (stopped = true));
  const [a, b] = [new AbortController(), new AbortController()];
  const first = transfers.join(digest, quiet, a.signal, wrapped).catch(kindOf);
  const second = transfers.join(digest, quiet, b.signal, wrapped).catch(kindOf);
  a.abort();
  expect(await first).toBe("cancelled");
  expect(stopped).toBe(false);
  b.abort();
  expect(await second).toBe("cancelled");
  expect(stopped).toBe(true);
});
