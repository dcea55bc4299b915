import { expect, test } from "bun:test";
import { parseSignal } from "./signals.ts";

test("names, numbers, real-time ones", () => {
  expect(parseSignal("SIGTERM")).toBe(15);
  expect(parseSignal("kill")).toBe(9);
  expect(parseSignal("28")).toBe(28);
  expect(parseSignal("SIGRTMIN+3")).toBe(37);
  expect(parseSignal("RTMAX-2")).toBe(62);
  for (const bad of ["", "0", "65", "SIGNOPE", "RTMIN+40", "-9", "1.5"]) expect(() => parseSignal(bad)).toThrow(`invalid signal: ${bad}`);
});
