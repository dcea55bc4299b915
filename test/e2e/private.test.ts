import { beforeAll, describe, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { run, suiteEngine } from "./harness.ts";

// the shell between them matters: setpriv itself still has root's capabilities when it looks for its program
const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", '"$@"', "sh"];

describe.skipIf(skipped("root", "overlay", "docker"))("a user of the host without rights", () => {
  const engine = suiteEngine();

  beforeAll(async () => {
    chmodSync(engine.root, 0o755);
    await engine.ok("run", "-d", "--name", "private", "-e", "TOKEN=hunter2", "-v", "notes:/notes", "busybox", "sleep", "1000");
  });

  test("runs no program out of a container's root, whose path mountinfo tells", async () => {
    const id = await engine.ok("inspect", "--format", "{{.Id}}", "private");
    const rootfs = join(engine.root, "run", "bundles", id, "rootfs");
    expect((await run(["ls", join(rootfs, "bin/busybox")])).code).toBe(0);
    expect((await run([...nobody, join(rootfs, "bin/busybox"), "true"])).code).toBe(126);
  });

  test.each(["data/engine.db", "data/engine.db-wal"])("can't read %s, where variables stand", async (name) => {
    const path = join(engine.root, name);
    expect((await run(["test", "-r", path])).code).toBe(0);
    expect((await run([...nobody, "test", "-r", path])).code).toBe(1);
  });

  test.each(["volumes/notes/_data", "snapshots", "containers", "content"])("can't pass into data/%s", async (name) => {
    const path = join(engine.root, "data", name);
    expect((await run(["test", "-x", path])).code).toBe(0);
    expect((await run([...nobody, "test", "-x", path])).code).toBe(1);
  });
});
