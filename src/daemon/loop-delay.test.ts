import { expect, test } from "bun:test";
import { createExposition } from "../lib/metrics.ts";
import { createLoopDelay } from "./loop-delay.ts";

const count = (delay: ReturnType<typeof createLoopDelay>, bound: string, name = "delay"): number => {
  const out = createExposition();
  delay.write(out);
  return Number(new RegExp(`${name}_seconds_bucket\\{le="${bound}"\\} (\\d+)`).exec(out.text())?.[1]);
};

test("a stall is seen while there is work, and nothing is measured at rest", async () => {
  using delay = createLoopDelay();
  await Bun.sleep(20);
  expect(count(delay, "\\+Inf")).toBe(0);
  delay.touch();
  const start = process.cpuUsage();
  for (let used = { user: 0, system: 0 }; used.user + used.system < 80_000; used = process.cpuUsage(start));
  await Bun.sleep(20);
  expect(count(delay, "\\+Inf") - count(delay, "0.05")).toBeGreaterThan(0);
  // no wait for a processor
  expect(count(delay, "\\+Inf", "stall") - count(delay, "0.05", "stall")).toBeGreaterThan(0);
  // it goes to sleep again: the count stands still
  let before = -1;
  for (let i = 0; i < 100 && before !== count(delay, "\\+Inf"); i++) {
    before = count(delay, "\\+Inf");
    await Bun.sleep(100);
  }
  expect(count(delay, "\\+Inf")).toBe(before);
});
