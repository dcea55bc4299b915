import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultMaskedPaths } from "../oci/default-paths.ts";
import { maskedPathsOfHost } from "./masked-paths.ts";

test("the processors' counters of throttling are hidden where there are any", () => {
  const folder = mkdtempSync(join(tmpdir(), "berth-cpu-"));
  try {
    for (const name of ["cpu1/thermal_throttle", "cpu0/thermal_throttle", "cpu2", "cpufreq/thermal_throttle"])
      mkdirSync(join(folder, name), { recursive: true });
    expect(maskedPathsOfHost(folder)).toEqual([...defaultMaskedPaths, `${folder}/cpu0/thermal_throttle`, `${folder}/cpu1/thermal_throttle`]);
    expect(maskedPathsOfHost(join(folder, "none"))).toEqual([...defaultMaskedPaths]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
