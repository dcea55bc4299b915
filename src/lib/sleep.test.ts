import { expect, test } from "bun:test";
import { sleep } from "./sleep.ts";
import { within } from "./within.ts";

test("a sleep ends with its time or with its signal, and is none where that has come already", async () => {
  await sleep(1, new AbortController().signal);
  const controller = new AbortController();
  const sleeping = sleep(1e12, controller.signal);
  controller.abort();
  await sleeping;
  await sleep(1e12, controller.signal);
});

test("more milliseconds than a timer takes aren't none", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const outcome = within(promise, 1e12);
  await Bun.sleep(5);
  resolve();
  expect(await outcome).toBe(true);
});
