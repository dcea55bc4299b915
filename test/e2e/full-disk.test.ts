import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, statfsSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mount, unmount } from "../../src/kernel/mount.ts";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { Engine, run, until } from "./harness.ts";
import { createLab, startBerthRegistry } from "./images-lab.ts";

/** A file system of its own, of 64 MB unless told, and so many files. */
function smallDisk(megabytes = 64, files = 0): Disposable & { path: string } {
  const path = mkdtempSync(join(tmpdir(), "berth-small-disk-"));
  mount("tmpfs", path, "tmpfs", 0, `size=${megabytes}m,nr_inodes=${files}`);
  return {
    path,
    [Symbol.dispose]: () => {
      unmount(path, { lazy: true });
      rmSync(path, { recursive: true });
    },
  };
}

/** Takes every block that is left under `directory`, but for `free` bytes. */
function fill(directory: string, free = 0): void {
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
  if (free > 0) truncateSync(join(directory, "filler"), statSync(join(directory, "filler")).size - free);
}

/** Fills what is given back, too, by work in the background, until nothing comes any more: the database's log is taken in once a second. */
async function fillForGood(directory: string): Promise<void> {
  const filled = (): number => statSync(join(directory, "filler")).size;
  fill(directory);
  for (let quiet = 0; quiet < 12; quiet++) {
    const before = filled();
    await Bun.sleep(120);
    fill(directory);
    if (filled() > before) quiet = 0;
  }
}

describe.skipIf(skipped("root", "overlay", "docker"))("a full disk", () => {
  test("refuses what needs room with a sentence, and lets containers end, stop, go and be adopted", async () => {
    using disk = smallDisk();
    const data = disk.path;
    await using engine = await Engine.start(["--data-root", data]);
    await engine.importBusybox();
    const context = join(engine.root, "context");
    mkdirSync(context);
    writeFileSync(join(context, "Dockerfile"), "FROM busybox\nRUN dd if=/dev/zero of=/x bs=4096 count=50\n");
    const script = "dd if=/dev/zero of=/x bs=4096 count=50; trap 'exit 5' TERM; while :; do echo line; sleep 0.02; done";
    const stopped = await engine.ok("run", "-d", "busybox", "sh", "-c", script);
    const removed = await engine.ok("run", "-d", "busybox", "sleep", "100");
    const adopted = await engine.ok("run", "-d", "busybox", "sh", "-c", script);
    const ending = await engine.ok("run", "-d", "--rm", "busybox", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.02; done");
    fill(data);

    for (const command of [
      ["load", "-i", join(engine.root, "busybox.tar")],
      ["import", join(engine.root, "busybox.tar"), "other"],
      ["build", "--no-cache", context],
      ["commit", stopped, "committed"],
    ]) {
      // what the last one began is removed in the background
      await until("removals", () => readdirSync(join(data, "snapshots/.trash")).length === 0);
      await fillForGood(data);
      const { code, stderr } = await engine.docker(command);
      expect({ command, code }).toEqual({ command, code: 1 });
      expect(stderr).toContain("no space left on device");
    }
    expect(await engine.ok("exec", adopted, "echo", "alive")).toBe("alive");
    await engine.ok("kill", "--signal", "TERM", ending);
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

  test("keeps no engine that was stopped from starting again", async () => {
    using disk = smallDisk();
    await using engine = await Engine.start(["--data-root", disk.path]);
    await engine.importBusybox();
    const id = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    await fillForGood(disk.path);
    for (let i = 0; i < 2; i++) {
      expect(await engine.stop()).toBe(0);
      fill(disk.path);
      await engine.start();
      expect(await engine.ok("ps", "-q", "--no-trunc")).toBe(id);
    }
    await engine.ok("rm", "-f", id);
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

  test("that fills up in the middle of a write leaves nothing half-made, and all works again when there is room", async () => {
    using disk = smallDisk();
    await using engine = await Engine.start(["--data-root", disk.path]);
    await engine.importBusybox();
    const context = join(engine.root, "context");
    mkdirSync(context);
    writeFileSync(join(context, "Dockerfile"), "FROM busybox\nCOPY Dockerfile /Dockerfile\nRUN dd if=/dev/zero of=/x bs=4096 count=100\nVOLUME /data\n");
    await using _registry = await engine.registry();
    await engine.ok("tag", "busybox", "127.0.0.1:5000/one");
    await engine.ok("push", "127.0.0.1:5000/one");
    await engine.ok("build", "-q", "-t", "127.0.0.1:5000/pulled", context);
    await engine.ok("push", "127.0.0.1:5000/pulled");
    await engine.ok("rmi", "127.0.0.1:5000/pulled");
    const running = await engine.ok("run", "-d", "--name", "running", "busybox", "sleep", "1000");
    await engine.ok("exec", running, "dd", "if=/dev/zero", "of=/file", "bs=4096", "count=100");
    const commands = [
      ["create", "--name", "made", "-v", "/data", "busybox", "true"],
      ["run", "--name", "made", "busybox", "true"],
      ["run", "--rm", "-p", "80", "busybox", "sh", "-c", "echo some output"],
      ["exec", running, "true"],
      ["commit", running, "made"],
      ["load", "-i", join(engine.root, "busybox.tar")],
      ["import", join(engine.root, "busybox.tar"), "made"],
      ["build", "--no-cache", "-t", "made", context],
      ["pull", "127.0.0.1:5000/pulled"],
      ["cp", join(engine.root, "busybox.tar"), "running:/copied"],
      ["tag", "busybox", "made"],
      ["volume", "create", "made"],
      ["network", "create", "made"],
      ["rename", "running", "made"],
      ["update", "--memory", "64m", "--memory-swap", "64m", "running"],
    ];
    for (const command of commands) {
      for (const free of [0, 32 << 10, 600 << 10]) {
        fill(disk.path, free);
        const { code, stdout, stderr } = await engine.docker(command);
        const told = code === 0 || /no space left on device|disk quota exceeded|invalid tar|unrecognized image/i.test(stderr + stdout);
        expect({ command, free, told, stderr: told ? "" : stderr }).toEqual({ command, free, told: true, stderr: "" });
        rmSync(join(disk.path, "filler"));
        if (command[0] === "rename") await engine.api("POST", "/containers/made/rename?name=running");
        for (const path of ["containers/made?v=1&force=1", "images/made", "images/127.0.0.1:5000/pulled", "volumes/made", "networks/made"])
          expect((await engine.api("DELETE", `/${path}`)).status).toBeOneOf([200, 204, 404]);
      }
      expect({ command, left: await lastingInconsistencies(engine) }).toEqual({ command, left: [] });
    }
    expect(await engine.ok("run", "--rm", "busybox", "echo", "again")).toBe("again");
    // it is nothing that the engine did wrong
    expect(
      engine
        .log()
        .split("\n")
        .filter((line) => line.includes("level=error")),
    ).toEqual([]);
  }, 120_000);

  test("of a registry refuses pushes in words, gives back what they took, and takes them when there is room", async () => {
    using disk = smallDisk(16);
    await using registry = await startBerthRegistry({ within: disk.path });
    const base = `http://${registry.host}/v2/app/blobs/uploads/`;
    const layer = (size: number, fill: number): Uint8Array => new Uint8Array(size).fill(fill);
    const push = async (bytes: Uint8Array): Promise<Response> => {
      const { headers } = await fetch(base, { method: "POST" });
      return await fetch(`${new URL(headers.get("location")!, base).href}?digest=${digestOf(bytes)}`, { method: "PUT", body: bytes });
    };
    for (let i = 0; i < 2; i++) {
      const refused = await push(layer(30 << 20, i));
      expect([refused.status, await refused.json()]).toEqual([
        507,
        { errors: [{ code: "UNAVAILABLE", message: "the registry's disk is full: storing a blob: no space left on device" }] },
      ]);
    }
    expect((await push(layer(10 << 20, 3))).status).toBe(201);
    const left = statfsSync(disk.path);
    fill(disk.path, 4096);
    expect((await push(layer(100_000, 4))).status).toBe(507);
    rmSync(join(disk.path, "filler"));
    expect(statfsSync(disk.path).bfree).toBeGreaterThanOrEqual(left.bfree - 200);
    expect((await push(layer(100_000, 4))).status).toBe(201);
  });

  test.skipIf(skipped("skopeo"))(
    "of a registry is told to clients that send on when they are refused",
    async () => {
      using disk = smallDisk(16);
      await using registry = await startBerthRegistry({ within: disk.path });
      using lab = createLab();
      await lab.image("big:1", [{ name: "random", type: "file", body: randomBytes(40 << 20) }]);
      const path = join(lab.root, "big.tar");
      await Bun.write(path, new Response((await lab.images.save(["big:1"])) as never));
      const push = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", `docker-archive:${path}`, `docker://${registry.host}/big:1`];
      for (let i = 0; i < 6; i++) expect((await run(push)).stderr).toContain("507 Insufficient Storage");
    },
    60_000,
  );

  test("stops copies and imports of volumes with a sentence, and has its room back", async () => {
    using disk = smallDisk(96);
    await using engine = await Engine.start(["--data-root", disk.path]);
    await engine.importBusybox();
    await engine.ok("run", "--rm", "-v", "data:/v", "busybox", "dd", "if=/dev/zero", "of=/v/f", "bs=1M", "count=40");
    await engine.berth(["volume", "export", "-o", join(engine.root, "data.tar"), "data"]);
    await engine.ok("run", "--rm", "-v", "filler:/v", "busybox", "dd", "if=/dev/zero", "of=/v/f", "bs=1M", "count=20");
    for (const args of [
      ["clone", "data", "half"],
      ["snapshot", "data"],
      ["import", "half", join(engine.root, "random.tar")],
      ["import", "-f", "data", join(engine.root, "random.tar")],
    ]) {
      // prettier-ignore
      writeFileSync(join(engine.root, "random.tar"), tarOf([{ name: "f", type: "file", body: Buffer.alloc(50 << 20, "x") }]));
      const { code, stderr } = await engine.berth(["volume", ...args]);
      expect([args, code, stderr]).toEqual([
        args,
        1,
        expect.stringMatching(/^(Error response from daemon: )?(clone data|snapshot data|import half|import data): \w+: no space left on device \(ENOSPC\)\n$/),
      ]);
      expect(readdirSync(join(disk.path, "volumes")).sort()).toEqual(["data", "filler"]);
      expect(readdirSync(join(disk.path, "volumes/data"))).toEqual(["_data"]);
    }
    await engine.ok("volume", "rm", "filler");
    await engine.berth(["volume", "clone", "data", "whole"]);
    expect(await engine.ok("run", "--rm", "-v", "whole:/v", "busybox", "wc", "-c", "/v/f")).toBe(`${40 << 20} /v/f`);
  });

  test("without room for more files refuses starts with a sentence, also where it is the monitor that misses some", async () => {
    using disk = smallDisk(64, 2000);
    await using engine = await Engine.start(["--data-root", disk.path]);
    await engine.importBusybox();
    await engine.ok("run", "--rm", "busybox", "true");
    const fillers = join(disk.path, "fillers");
    for (let free = 0; ; free++) {
      mkdirSync(fillers);
      for (let left = statfsSync(disk.path).ffree - free; left > 0; left--) writeFileSync(join(fillers, String(left)), "");
      const { code, stderr } = await engine.docker(["run", "--rm", "busybox", "true"]);
      rmSync(fillers, { recursive: true });
      if (code === 0) break;
      expect({ free, code, stderr }).toEqual({ free, code: 125, stderr: expect.stringContaining("no space left on device") });
    }
    expect(await lastingInconsistencies(engine)).toEqual([]);
    expect(engine.log()).not.toContain("level=error");
  }, 60_000);

  test("of run files refuses starts and execs with a sentence, and lets go what runs", async () => {
    using disk = smallDisk(8);
    await using engine = await Engine.start(["--exec-root", disk.path]);
    await engine.importBusybox();
    const running = await engine.ok("run", "-d", "busybox", "sh", "-c", "trap 'exit 6' TERM; while :; do sleep 0.05; done");
    const other = await engine.ok("create", "busybox", "true");
    const adopted = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    for (const free of [0, 4 << 10, 16 << 10, 64 << 10]) {
      fill(disk.path, free);
      for (const command of [
        ["start", other],
        ["exec", running, "true"],
        ["run", "--rm", "busybox", "true"],
      ]) {
        const { code, stdout, stderr } = await engine.docker(command);
        expect({ command, free, code, output: stdout + stderr }).toMatchObject(code === 0 ? {} : { output: expect.stringMatching(/no space left on device/i) });
      }
      rmSync(join(disk.path, "filler"));
      expect({ free, left: await lastingInconsistencies(engine) }).toEqual({ free, left: [] });
    }
    fill(disk.path);
    await engine.ok("stop", running);
    expect(await engine.stateOf(running)).toBe("exited 6 ");
    await engine.kill9();
    rmSync(join(disk.path, "filler"));
    await engine.start();
    expect(await engine.ok("exec", adopted, "echo", "alive")).toBe("alive");
    await engine.ok("start", other, running);
    await engine.ok("rm", "-f", running, other, adopted);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  }, 60_000);
});
