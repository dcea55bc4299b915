import { expect, test } from "bun:test";
import { stopwatch } from "./clock.ts";

const second = 1_000_000_000n;

test("a stopwatch counts from a moment of the past, and no step of the host's clock", () => {
  let [real, mono] = [1000n * second, 50n * second];
  const clocks = { realtime: () => real, monotonic: () => mono };
  const watch = stopwatch(990n * second, clocks);
  expect(watch()).toBe(10e9);
  [real, mono] = [real + 7200n * second, mono + 5n * second];
  expect(watch()).toBe(15e9);
  real = 0n;
  expect(watch()).toBe(15e9);
  // what is said to have begun in the future begins now
  expect(stopwatch(second, clocks)()).toBe(0);
});
