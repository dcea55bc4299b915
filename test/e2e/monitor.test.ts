import { describe, expect, test } from "bun:test";
import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { lastingInconsistencies, processesOf } from "./consistency.ts";
import { Engine, suiteEngine, until } from "./harness.ts";

/** Monitors and runtimes that die, hang or go missing. */
describe.skipIf(skipped("root", "overlay", "docker"))("a container whose helpers fail", () => {
  const engine = suiteEngine();

  const monitorOf = (id: string): Promise<number> => until("the monitor", () => processesOf(engine).monitors.get(id));

  /** Whether it was there to be killed. */
  const killed = (pid: number): boolean => {
    try {
      return process.kill(pid, "SIGKILL");
    } catch (error) {
      if ((error as { code?: string }).code === "ESRCH") return false;
      throw error;
    }
  };

  test("goes on when its monitor is killed: exec, stop and the exit code as ever, and the log it had", async () => {
    const script = "echo before; trap 'exit 9' TERM; while :; do sleep 0.05; done";
    const stopped = await engine.ok("run", "-d", "busybox", "sh", "-c", script);
    const ends = await engine.ok("run", "-d", "busybox", "sh", "-c", "sleep 1; exit 33");
    const removed = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    await until("the log", () => engine.ok("logs", stopped));
    for (const id of [stopped, ends, removed]) process.kill(await monitorOf(id), "SIGKILL");
    expect(await engine.ok("exec", stopped, "echo", "alive")).toBe("alive");
    expect(await engine.ok("wait", ends)).toBe("33");
    await engine.ok("stop", stopped);
    expect(await engine.stateOf(stopped)).toBe("exited 9 ");
    expect(await engine.ok("logs", stopped)).toBe("before");
    await engine.ok("rm", "-f", removed, stopped, ends);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("either runs or tells why not when its monitor is killed while it starts", async () => {
    for (let round = 0; round < 10; round++) {
      const id = await engine.ok("create", "busybox", "sleep", "1000");
      const starting = engine.docker(["start", id]);
      await monitorOf(id);
      await Bun.sleep(round * 2);
      // conmon forks: what was seen first may be its parent, which ends at once
      await until("the monitor to be killed", async () => killed(await monitorOf(id)));
      const { code, stderr } = await starting;
      expect(code === 0 ? "" : stderr).toMatch(
        /^$|the container monitor ended before the container was created|the init process of container \S+ died before its start|write to sync socket/,
      );
      expect((await engine.stateOf(id)).split(" ")[0]).toBe(code === 0 ? "running" : "created");
      if (round % 2 === 0 && code !== 0) {
        await engine.ok("start", id);
        expect(await engine.ok("exec", id, "echo", "alive")).toBe("alive");
      }
      await engine.ok("rm", "-f", id);
    }
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("can be killed, stopped and removed while its monitor hangs", async () => {
    const [killed, stopped, removed] = await Promise.all(
      ["killed", "stopped", "removed"].map((name) => engine.ok("run", "-d", "--name", name, "busybox", "sleep", "1000")),
    );
    for (const id of [killed!, stopped!, removed!]) process.kill(await monitorOf(id), "SIGSTOP");
    await Promise.all([engine.ok("kill", killed!), engine.ok("stop", "-t", "1", stopped!), engine.ok("rm", "-f", removed!)]);
    expect(await engine.stateOf(killed!)).toBe("exited 137 ");
    expect(await engine.stateOf(stopped!)).toBe("exited 137 ");
    await engine.ok("start", killed!);
    await engine.ok("rm", "-f", killed!, stopped!);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("has code 255 and says why only where nobody could know: its end and its monitor's came while no engine ran", async () => {
    const id = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    const pid = Number(await engine.ok("inspect", "-f", "{{.State.Pid}}", id));
    const monitor = await monitorOf(id);
    await engine.kill9();
    process.kill(monitor, "SIGKILL");
    process.kill(pid, "SIGKILL");
    await engine.start();
    expect(await engine.stateOf(id)).toBe("exited 255 the exit code is unknown: the container ended while neither its monitor nor the engine ran");
    await engine.ok("start", id);
    await engine.ok("rm", "-f", id);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("isn't there when its runtime is broken, hangs or is missing, and others are", async () => {
    const folder = engine.root;
    const script = (name: string, text: string): string => {
      const path = join(folder, name);
      writeFileSync(path, `#!/bin/sh\n${text}\n`);
      chmodSync(path, 0o755);
      return path;
    };
    const runtimes = {
      broken: script("broken", "echo 'it is broken' >&2; exit 1"),
      crashing: script("crashing", 'case "$*" in *create*) kill -SEGV $$;; esac'),
      hanging: script("hanging", 'case "$*" in *create*) sleep 1000;; esac'),
      missing: script("missing", "exit 1"),
      slow: script("slow", 'case "$*" in *create*) sleep 2; exit 1;; esac'),
    };
    await using other = await Engine.start(Object.entries(runtimes).map(([name, path]) => `--add-runtime=${name}=${path}`));
    await other.importBusybox();
    rmSync(runtimes.missing);
    for (const [name, text] of [
      ["broken", "it is broken"],
      ["crashing", "container monitor ended before the container was created|create"],
      ["missing", "the runtime missing is missing: there is no "],
    ] as const) {
      const { code, stderr } = await other.docker(["run", "--name", name, "--runtime", name, "busybox", "true"]);
      expect({ name, code }).not.toEqual({ name, code: 0 });
      expect(stderr).toMatch(new RegExp(text));
      expect(await other.ok("inspect", "-f", "{{.State.Status}}", name)).toBe("created");
    }
    const hanging = other.docker(["run", "--name", "hanging", "--runtime", "hanging", "busybox", "true"]);
    await until("the start", async () => (await other.docker(["inspect", "hanging"])).code === 0 && processesOf(other).monitors.size > 0);
    expect(await other.ok("run", "--rm", "busybox", "echo", "fine")).toBe("fine");
    await other.ok("rm", "-f", "hanging");
    expect((await hanging).code).not.toBe(0);
    const slow = other.docker(["run", "--name", "slow", "--runtime", "slow", "busybox", "true"]);
    await until("the start", async () => (await other.docker(["inspect", "slow"])).code === 0 && processesOf(other).monitors.size > 0);
    // one that is being started counts as running: whoever waits for it is told where it comes to nothing
    expect(await other.ok("wait", "slow")).toMatch(/^12[5-8]$/);
    expect((await slow).code).not.toBe(0);
    await other.ok("rm", "-f", "broken", "crashing", "missing", "slow");
    // neither does an engine that stops wait for it, nor the next one keep what is left of it
    const again = other.docker(["run", "--name", "again", "--runtime", "hanging", "busybox", "true"]);
    await until("the start", async () => (await other.docker(["inspect", "again"])).code === 0 && processesOf(other).monitors.size > 0);
    await Bun.sleep(200);
    expect(await other.stop()).toBe(0);
    expect((await again).code).not.toBe(0);
    await other.start();
    expect(await other.ok("inspect", "-f", "{{.State.Status}}", "again")).toBe("created");
    await other.ok("rm", "again");
    expect(await lastingInconsistencies(other)).toEqual([]);
  });
});
