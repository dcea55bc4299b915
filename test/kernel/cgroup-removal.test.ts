import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { detectCgroups, killCgroup, removeCgroup, setFrozen } from "../../src/kernel/cgroup.ts";
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

  test("what is frozen is killed all the same, also in a group below", async () => {
    const hierarchy = detectCgroups();
    const root = hierarchy.controllers.get("freezer") ?? hierarchy.unified!;
    const path = `/berth-frozen-${process.pid}`;
    const one = { ...hierarchy, roots: [root] };
    const below = `${path}/below`;
    const children = [path, below].map((group) => {
      mkdirSync(root + group);
      return Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
    });
    try {
      for (const [i, { pid }] of children.entries()) writeFileSync(`${root}${[path, below][i]}/cgroup.procs`, String(pid));
      await setFrozen(hierarchy, below, true);
      await setFrozen(hierarchy, path, true);
      killCgroup(hierarchy, path);
      await Promise.race([Promise.all(children.map(({ exited }) => exited)), Bun.sleep(5000)]);
      expect(children.map(({ signalCode }) => signalCode)).toEqual(["SIGKILL", "SIGKILL"]);
    } finally {
      for (const group of [path, below]) await setFrozen(hierarchy, group, false);
      for (const child of children) child.kill(9);
      await Promise.all(children.map(({ exited }) => exited));
      for (let i = 0; i < 100 && !(await removeCgroup(one, path)); i++) await Bun.sleep(10);
    }
    expect(existsSync(root + path)).toBe(false);
  });
});
