import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CgroupHierarchy } from "../kernel/cgroup.ts";
import type { ResourcesSpec } from "../oci/runtime-spec.ts";
import { planLimits, weightOfShares } from "./limits.ts";

/** Trees of plain files: which values go where, in which order, and what would be put back. Real cgroups are written in test/e2e/operations.test.ts. */
describe("limits of a living cgroup", () => {
  let root: string;
  let v1: CgroupHierarchy;
  let v2: CgroupHierarchy;

  function put(controller: string, files: Record<string, string>): void {
    mkdirSync(join(root, controller, "c"), { recursive: true });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, controller, "c", name), text);
  }

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "berth-limits-"));
    put("memory", { "memory.limit_in_bytes": "100\n", "memory.memsw.limit_in_bytes": "200\n" });
    put("blkio", { "blkio.bfq.weight": "100\n", "blkio.bfq.weight_device": "", "blkio.throttle.read_bps_device": "8:0 1000\n8:16 77\n" });
    put("cpu", { "cpu.rt_period_us": "1000\n", "cpu.rt_runtime_us": "500\n" });
    put("pids", { "pids.max": "max\n" });
    put("unified", { "memory.max": "max\n", "cpu.max": "max 100000\n", "io.weight": "default 100\n", "io.max": "8:0 rbps=1000 wbps=max riops=max wiops=5\n" });
    const roots = ["memory", "blkio", "cpu", "pids"].map((name) => [name, join(root, name)] as const);
    v1 = { mode: "v1", version: 1, controllers: new Map(roots), unified: undefined, roots: [], stray: [] };
    const unified = join(root, "unified");
    v2 = { mode: "v2", version: 2, controllers: new Map([["memory", unified]]), unified, roots: [unified], stray: [] };
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  const plan = (cgroups: CgroupHierarchy, limits: ResourcesSpec): string[] =>
    planLimits(cgroups, "/c", limits).map(({ file, value, back }) => `${file.slice(file.lastIndexOf("/") + 1)}: ${value} (${back})`);

  test("nothing given, nothing written", () => {
    expect(plan(v1, {})).toEqual([]);
    expect(plan(v2, {})).toEqual([]);
  });

  test("v1: memory and swap together never less than memory alone", () => {
    const memory = (limit: number, swap: number): string[] => plan(v1, { memory: { limit, swap } });
    expect(memory(300, 300)).toEqual(["memory.memsw.limit_in_bytes: 300 (200)", "memory.limit_in_bytes: 300 (100)"]);
    expect(memory(300, -1)).toEqual(["memory.memsw.limit_in_bytes: -1 (200)", "memory.limit_in_bytes: 300 (100)"]);
    expect(memory(50, 60)).toEqual(["memory.limit_in_bytes: 50 (100)", "memory.memsw.limit_in_bytes: 60 (200)"]);
  });

  test("v1: a real-time runtime never longer than its period", () => {
    const budget = (realtimePeriod: number, realtimeRuntime: number): string[] => plan(v1, { cpu: { realtimePeriod, realtimeRuntime } });
    expect(budget(400, 300)).toEqual(["cpu.rt_runtime_us: 300 (500)", "cpu.rt_period_us: 400 (1000)"]);
    expect(budget(2000, 1500)).toEqual(["cpu.rt_period_us: 2000 (1000)", "cpu.rt_runtime_us: 1500 (500)"]);
  });

  test("v1: BFQ's files, and lines of devices", () => {
    const device = { major: 8, minor: 0 };
    expect(plan(v1, { blockIO: { weight: 300, weightDevice: [{ ...device, weight: 200 }] }, pids: { limit: -1 } })).toEqual([
      "pids.max: max (max)",
      "blkio.bfq.weight: 300 (100)",
      "blkio.bfq.weight_device: 8:0 200 (8:0 default)",
    ]);
    expect(
      plan(v1, {
        blockIO: {
          throttleReadBpsDevice: [
            { ...device, rate: 0 },
            { major: 9, minor: 1, rate: 5 },
          ],
        },
      }),
    ).toEqual(["blkio.throttle.read_bps_device: 8:0 0 (8:0 1000)", "blkio.throttle.read_bps_device: 9:1 5 (9:1 0)"]);
  });

  test("v2: its own units, and halves that aren't given as they stand", () => {
    expect(plan(v2, { memory: { limit: 100, swap: 150 }, cpu: { quota: 5000, shares: 1024 } })).toEqual([
      "memory.max: 100 (max)",
      "memory.swap.max: 50 ()",
      "cpu.weight: 39 ()",
      "cpu.max: 5000 100000 (max 100000)",
    ]);
    expect(plan(v2, { memory: { limit: 100, swap: -1 }, cpu: { quota: -1, period: 50_000 } })).toEqual([
      "memory.max: 100 (max)",
      "memory.swap.max: max ()",
      "cpu.max: max 50000 (max 100000)",
    ]);
    const device = { major: 8, minor: 0 };
    expect(plan(v2, { blockIO: { weight: 1000, throttleReadBpsDevice: [{ ...device, rate: 0 }], throttleWriteIOPSDevice: [{ ...device, rate: 9 }] } })).toEqual(
      ["io.weight: 10000 (default 100)", "io.max: 8:0 rbps=max (8:0 rbps=1000)", "io.max: 8:0 wiops=9 (8:0 wiops=5)"],
    );
  });

  test("shares become weights", () => {
    expect([2, 1024, 262_144].map(weightOfShares)).toEqual([1, 39, 10_000]);
  });
});
