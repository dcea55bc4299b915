import { expect, test } from "bun:test";
import { endAfter } from "./running.ts";

test("an end that a coarse clock told is after its start; one from before the clock was set back stays", () => {
  const started = 1_000_000_000_000n;
  expect(endAfter(started, started + 5n)).toBe(started + 5n);
  expect(endAfter(started, started - 4_000_000n)).toBe(started + 1n);
  expect(endAfter(started, started - 3_600_000_000_000n)).toBe(started - 3_600_000_000_000n);
});
