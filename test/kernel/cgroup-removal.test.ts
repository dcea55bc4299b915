import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { detectCgroups, removeCgroup } from "../../src/kernel/cgroup.ts";
import { skipped } from "../skips.ts";

describe.skipIf(skipped("root"))("removal of cgroups", () => {
  test("what is empty goes, whatever is left beside it", async () => {
    const hierarchy = detectCgroups();
    const root = hierarchy.unified ?? hierarchy.roots[0]!;
    const path = `/berth-removal-${process.pid}`;
    const groups = ["a", "m", "z"].map((name) => `${root}${path}/${name}`);
    const one = { ...hierarchy, roots: [root] };
    const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
    try {
      for (const group of groups) mkdirSync(group, { recursive: true });
      writeFileSync(`${groups[1]}/cgroup.procs`, String(child.pid));
      expect(await removeCgroup(one, path)).toBe(false);
      expect(groups.map((group) => existsSync(group))).toEqual([false, true, false]);
    } finally {
      child.kill(9);
      await child.exited;
      for (let i = 0; i < 100 && !(await removeCgroup(one, path)); i++) await Bun.sleep(10);
    }
    expect(existsSync(root + path)).toBe(false);
  });
});
