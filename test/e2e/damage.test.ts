import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { copyFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unmount } from "../../src/kernel/mount.ts";
import { skipped } from "../skips.ts";
import { lastingInconsistencies, mountPointsBelow, processesOf } from "./consistency.ts";
import { Engine, until } from "./harness.ts";

/** Takes the write-ahead log into a database that nobody uses. A stop leaves it where the Worker was just taking it in. */
function takeIn(path: string): void {
  using db = new Database(path);
  db.run("PRAGMA wal_checkpoint(TRUNCATE)");
}

/** Files of the engine that somebody, or a disk, has spoilt. */
describe.skipIf(skipped("root", "overlay", "docker"))("an engine whose files are damaged", () => {
  test("says which database it can't read, and starts with the right one again", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const id = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    await engine.stop();
    const database = join(engine.root, "data", "engine.db");
    takeIn(database);
    copyFileSync(database, `${database}.good`);
    for (const spoil of [() => writeFileSync(database, "no database at all ".repeat(1000)), () => truncateSync(database, 10_000)]) {
      spoil();
      const failure = await engine.start().catch(String);
      expect(failure).toContain(`berthd: the records in ${database} can't be read`);
      expect(failure).not.toMatch(/^\s+at /m);
      copyFileSync(`${database}.good`, database);
    }
    await engine.start();
    expect(await engine.ok("exec", id, "echo", "alive")).toBe("alive");
  });

  test("goes on without the one record that can't be read, and says which", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const [good, bad] = await Promise.all(["good", "bad"].map((name) => engine.ok("run", "-d", "--name", name, "-p", "80", "busybox", "sleep", "1000")));
    await engine.ok("network", "create", "net");
    await engine.ok("volume", "create", "vol");
    const image = await engine.ok("commit", good!);
    const spoils: [table: string, what: string, change: string][] = [
      ["containers", bad!, `UPDATE containers SET record = '{"id":' WHERE id = '${bad}'`],
      ["containers", bad!, `UPDATE containers SET state = 'x' WHERE id = '${bad}'`],
      ["networks", "net", "UPDATE networks SET record = '{' WHERE name = 'net'"],
      ["volumes", "vol", "UPDATE volumes SET record = '' WHERE name = 'vol'"],
      ["images", image, `UPDATE images SET config = '{"os":' WHERE id = '${image}'`],
      ["images", image, `UPDATE images SET layers = 'x' WHERE id = '${image}'`],
      ["endpoints", bad!, `UPDATE endpoints SET record = '[' WHERE container = '${bad}'`],
    ];
    await engine.kill9();
    const database = join(engine.root, "data", "engine.db");
    takeIn(database);
    copyFileSync(database, `${database}.good`);
    for (const [table, what, change] of spoils) {
      const db = new Database(database);
      db.run(change);
      db.close();
      await engine.start();
      expect(await engine.ok("exec", good!, "echo", table)).toBe(table);
      expect((await engine.ok("images", "-aq", "--no-trunc")).includes(image)).toBe(table !== "images");
      expect(engine.log()).toMatch(new RegExp(`level=error msg="the record of [^"]*${what}[^"]* can't be read`));
      expect(await engine.ok("run", "--rm", "busybox", "echo", "new")).toBe("new");
      await engine.kill9();
      for (const suffix of ["-wal", "-shm"]) rmSync(database + suffix, { force: true });
      copyFileSync(`${database}.good`, database);
    }
    await engine.start();
  });

  test("takes an exit file that says nothing for what it is", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const ids = await Promise.all(["", "garbage"].map(() => engine.ok("run", "-d", "busybox", "sleep", "1000")));
    const pids = await Promise.all(ids.map((id) => engine.ok("inspect", "-f", "{{.State.Pid}}", id)));
    await engine.kill9();
    for (const pid of pids) process.kill(Number(pid), "SIGKILL");
    await until("the monitors' ends", () => processesOf(engine).monitors.size === 0);
    for (const [index, id] of ids.entries())
      for (const path of [`run/exits/${id}`, `data/containers/${id}/exit`]) writeFileSync(join(engine.root, path), index === 0 ? "" : "\0\xff nonsense");
    await engine.start();
    for (const id of ids) expect(await engine.stateOf(id)).toMatch(/^exited 255 the exit code is unknown/);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("whose run root was wiped while it was down: what still runs is ended, the rest is as ever", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const plain = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    const again = await engine.ok("run", "-d", "--restart", "always", "-v", "/data", "busybox", "sh", "-c", "echo x >> /data/x; exec sleep 1000");
    await until("its first line", async () => (await engine.docker(["exec", again, "cat", "/data/x"])).stdout === "x\n");
    const pid = Number(await engine.ok("inspect", "-f", "{{.State.Pid}}", plain));
    await engine.kill9();
    for (const path of mountPointsBelow(engine.run).toReversed()) unmount(path, { lazy: true });
    rmSync(join(engine.root, "run"), { recursive: true });
    await engine.start();
    expect(await engine.stateOf(plain)).toMatch(/^exited (255 the exit code is unknown|137)/);
    await until("its end", () => {
      try {
        process.kill(pid, 0);
        return false;
      } catch {
        return true;
      }
    });
    await until("the policy", async () => (await engine.stateOf(again)).startsWith("running"));
    expect(await engine.ok("exec", again, "cat", "/data/x")).toBe("x\nx");
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("whose run root is wiped while it runs: containers can still be used, stopped and removed", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const [used, removed] = await Promise.all(
      ["used", "removed"].map((name) => engine.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.05; done")),
    );
    for (const folder of ["bundles", "runtime", "exits", "netns"])
      await Bun.$`find ${join(engine.root, "run", folder)} -xdev -mindepth 1 -delete`.nothrow().quiet();
    const { code, stdout, stderr } = await engine.docker(["exec", used!, "echo", "alive"]);
    if (code !== 0) expect(stdout + stderr).toMatch(/exec failed|No such file|not running/);
    await engine.ok("stop", used!);
    expect(await engine.stateOf(used!)).toBe("exited 5 ");
    await engine.ok("rm", "-f", removed!);
    await engine.ok("start", used!);
    expect(await engine.ok("exec", used!, "echo", "alive")).toBe("alive");
    await engine.ok("rm", "-f", used!);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });
});
