import { describe, expect, test } from "bun:test";
import { detectCgroups } from "./cgroup.ts";

const line = (target: string, type: string, options: string): string => `30 20 0:25 / ${target} rw,relatime shared:1 - ${type} ${type} rw,${options}`;

describe("cgroup hierarchies", () => {
  test("v1, with controllers that share a tree and a named one", () => {
    const found = detectCgroups(
      [
        line("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        line("/sys/fs/cgroup/memory", "cgroup", "memory"),
        line("/sys/fs/cgroup/systemd", "cgroup", "xattr,name=systemd"),
      ].join("\n"),
    );
    expect([found.mode, found.version, found.stray]).toEqual(["v1", 1, []]);
    expect(found.controllers.get("cpuacct")).toBe("/sys/fs/cgroup/cpu,cpuacct");
    expect(found.controllers.get("name=systemd")).toBe("/sys/fs/cgroup/systemd");
    expect(found.roots).toEqual(["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd"]);
  });

  test("none", () => {
    expect(() => detectCgroups(line("/", "ext4", "x"))).toThrow("no cgroup file system");
  });
});
