import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, constants, existsSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CgroupHierarchy } from "../kernel/cgroup.ts";
import { silent } from "../lib/log.ts";
import { createCrunRuntime } from "./crun.ts";
import type { SeccompCache } from "./seccomp-cache.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "berth-crun-"));
});
afterAll(() => rmSync(root, { recursive: true }));

test("the start byte is in the fifo before the fifo goes: its absence says that init was let go", async () => {
  mkdirSync(join(root, "one"));
  const fifo = join(root, "one", "exec.fifo");
  expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const program = { name: "crun", path: "/usr/bin/crun", root };
    const runtime = createCrunRuntime({
      program: program as never,
      isReadOnly: false,
      cgroups: {} as CgroupHierarchy,
      seccomp: {} as SeccompCache,
      log: silent,
    });
    await runtime.start("one");
    expect(existsSync(fifo)).toBe(false);
    const byte = Buffer.alloc(2, 7);
    expect(readSync(reader, byte)).toBe(1);
    expect(byte[0]).toBe(0);
  } finally {
    closeSync(reader);
  }
});
