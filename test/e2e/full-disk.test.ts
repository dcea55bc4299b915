import { describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, statfsSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mount, unmount } from "../../src/kernel/mount.ts";
import { skipped } from "../skips.ts";
import { Engine, until } from "./harness.ts";

/** A file system of 64 MB. */
function smallDisk(): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), "berth-small-disk-"));
  mount("tmpfs", path, "tmpfs", 0, "size=64m");
  return {
    path,
    [Symbol.dispose]: () => {
      unmount(path, { lazy: true });
      rmSync(path, { recursive: true });
    },
  };
}

/** Takes every block that is left under `directory`. */
function fill(directory: string): void {
  const fd = openSync(join(directory, "filler"), "a");
  try {
    for (const size of [1 << 20, 64 << 10, 4096]) {
      const block = Buffer.alloc(size);
      try {
        for (;;) writeSync(fd, block);
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOSPC") throw error;
      }
    }
  } finally {
    closeSync(fd);
  }
  expect(statfsSync(directory).bavail).toBe(0);
}

describe.skipIf(skipped("root", "overlay", "docker"))("a full disk", () => {
  test("refuses what needs room with a sentence, and lets containers end, stop, go and be adopted", async () => {
    using disk = smallDisk();
    const data = disk.path;
    await using engine = await Engine.start(["--data-root", data]);
    await engine.importBusybox();
    const context = join(engine.root, "context");
    mkdirSync(context);
    writeFileSync(join(context, "Dockerfile"), "FROM busybox\nRUN dd if=/dev/zero of=/x bs=4096 count=1\n");
    const script = "trap 'exit 5' TERM; while :; do echo line; sleep 0.02; done";
    const stopped = await engine.ok("run", "-d", "busybox", "sh", "-c", script);
    const removed = await engine.ok("run", "-d", "busybox", "sleep", "100");
    const adopted = await engine.ok("run", "-d", "busybox", "sh", "-c", script);
    const ending = await engine.ok("run", "-d", "--rm", "busybox", "sh", "-c", "sleep 1; exit 3");
    fill(data);

    for (const command of [
      ["load", "-i", join(engine.root, "busybox.tar")],
      ["import", join(engine.root, "busybox.tar"), "other"],
      ["build", "--no-cache", context],
      ["commit", stopped, "committed"],
    ]) {
      const { code, stderr } = await engine.docker(command);
      expect({ command, code }).toEqual({ command, code: 1 });
      expect(stderr).toContain("no space left on device");
    }
    expect(await engine.ok("exec", adopted, "echo", "alive")).toBe("alive");
    expect(await engine.ok("wait", ending).catch(String)).toMatch(/^3$|No such container/);
    await engine.ok("stop", "-t", "1", stopped);
    expect(await engine.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", stopped)).toBe("exited 5");
    await engine.ok("rm", "-f", removed);
    await engine.kill9();
    await engine.start();
    expect((await engine.ok("ps", "-q", "--no-trunc")).split("\n")).toEqual([adopted]);

    rmSync(join(data, "filler"));
    expect(await engine.ok("run", "--rm", "busybox", "echo", "again")).toBe("again");
    await engine.ok("rm", "-f", stopped, adopted);
    expect(readdirSync(join(data, "containers"))).toEqual([]);
    for (const folder of ["tmp", "content/ingest", "volumes"])
      expect([folder, readdirSync(join(data, folder)).filter((name) => !name.startsWith("."))]).toEqual([folder, []]);
  }, 60_000);

  test("a log that has no room for its next file goes on when there is some, and its container all the time", async () => {
    using disk = smallDisk();
    await using engine = await Engine.start(["--data-root", disk.path]);
    await engine.importBusybox();
    const script = "i=0; while :; do echo line $i; i=$((i + 1)); sleep 0.002; done";
    const id = await engine.ok("run", "-d", "--log-opt", "max-size=4k", "--log-opt", "max-file=50", "busybox", "sh", "-c", script);
    const files = (): string[] => readdirSync(join(disk.path, "containers", id)).filter((name) => /^container\.log\.\d/.test(name));
    await until("a rotation", () => files().length > 2);
    fill(disk.path);
    await Bun.sleep(1500);
    expect(await engine.ok("exec", id, "echo", "alive")).toBe("alive");
    rmSync(join(disk.path, "filler"));
    const numberOf = async (): Promise<number> => Number(/(\d+)$/.exec(await engine.ok("logs", "--tail", "1", id))?.[1] ?? 0);
    const now = await numberOf();
    await until("more lines", async () => (await numberOf()) > now + 100);
    await engine.ok("kill", id);
    expect(await engine.ok("inspect", "-f", "{{.State.ExitCode}}", id)).toBe("137");
    await engine.ok("rm", id);
  }, 60_000);
});
