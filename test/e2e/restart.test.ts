import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { outcome } from "../outcome.ts";
import { skipped } from "../skips.ts";
import { Engine, suiteEngine, until } from "./harness.ts";

describe.skipIf(skipped("root", "overlay", "docker"))("restarts", () => {
  const engine = suiteEngine();

  const inspect = (format: string, ...names: string[]): Promise<string> => engine.ok("inspect", "-f", format, ...names);
  const status = (...names: string[]): Promise<string> => inspect("{{.State.Status}}", ...names);
  const sleeper = (name: string, ...flags: string[]): Promise<string> =>
    engine.ok("run", "-d", "--name", name, "--stop-signal", "KILL", ...flags, "busybox", "sleep", "1000");

  test("an unhealthy container is restarted where that is wanted, and no other", async () => {
    const check = ["--health-cmd", "test ! -e /bad", "--health-interval", "100ms", "--health-retries", "2"];
    await sleeper("policy", "--restart", "on-unhealthy:1", ...check);
    await sleeper("label", "--label", "berth.restart-on-unhealthy=true", ...check);
    await sleeper("left", "--restart", "always", ...check);
    const names = ["policy", "label", "left"];
    for (const name of names) await engine.ok("exec", name, "touch", "/bad");
    await until("unhealthy once, then restarted", async () => (await inspect("{{.RestartCount}}", "policy")) === "1");
    for (const name of ["policy", "label"]) {
      await until(
        "the file is still there: unhealthy again",
        async () => (await engine.actionsOf(name)).filter((action) => action === "health_status: unhealthy").length >= 2,
      );
    }
    await until("left alone", async () => (await inspect("{{.State.Health.Status}}", "left")) === "unhealthy");
    expect(await inspect("{{.RestartCount}} {{.State.Status}}", "left")).toBe("0 running");
    // its one restart is used up: it goes on as it is
    expect(await inspect("{{.RestartCount}} {{.State.Status}}", "policy")).toBe("1 running");
    const actions = (await engine.actionsOf("policy")).filter((action) => !action.startsWith("exec"));
    const told = actions.indexOf("health_status: unhealthy");
    expect(actions.slice(told, told + 5)).toEqual(["health_status: unhealthy", "kill", "die", "stop", "start"]);
    await engine.ok("stop", "label");
    expect(await status("label")).toBe("exited");
    await engine.ok("rm", "-f", ...names);
    const refused = await engine.docker(["create", "--rm", "--restart", "on-unhealthy", "busybox"]);
    expect(refused.code).not.toBe(0);
  });

  test("boot: policies, manual stops, counts, and what depends on what", async () => {
    await sleeper("db", "--restart", "always");
    await sleeper("web", "--restart", "always", "--link", "db");
    await sleeper("net", "--restart", "always", "--network", "container:web");
    await sleeper("pid", "--restart", "unless-stopped", "--pid", "container:net");
    await sleeper("stopped", "--restart", "unless-stopped");
    await sleeper("always", "--restart", "always");
    await sleeper("no");
    await sleeper("failed", "--restart", "on-failure");
    await sleeper("failed-stopped", "--restart", "on-failure");
    await sleeper("orphan", "--restart", "always", "--network", "container:no");
    await engine.ok("create", "--name", "ring1", "--restart", "always", "--network", "container:ring2", "busybox", "sleep", "1000");
    await engine.ok("stop", "stopped", "always", "failed-stopped");
    // as at a host's shutdown
    expect((await engine.api("POST", "/berth/containers/stop?t=1")).ok).toBe(true);
    const order = (
      await engine.ok("events", "--since", "0", "--until", String(Date.now() / 1000), "--filter", "event=die", "--format", "{{.Actor.Attributes.name}}")
    ).split("\n");
    for (const [first, then] of [
      ["pid", "net"],
      ["net", "web"],
      ["web", "db"],
      ["orphan", "no"],
    ] as const)
      expect([first, then, order.indexOf(first) < order.indexOf(then)]).toEqual([first, then, true]);
    await engine.stop();
    await engine.start();
    await until("all that shall run", async () => (await status("db", "web", "net", "pid", "always", "failed")) === Array(6).fill("running").join("\n"));
    expect(await status("stopped", "no", "failed-stopped", "ring1")).toBe("exited\nexited\nexited\ncreated");
    await until(
      "the orphan is told why",
      async () => (await inspect("{{.State.Error}}", "orphan")) === "cannot join network namespace of a non running container: container no is exited",
    );
    await engine.ok("start", "no");
    await until("the orphan finds it", async () => (await status("orphan")) === "running");
    expect(await inspect("{{.RestartCount}}", "db", "always", "failed")).toBe("0\n0\n0");
    // a policy that a stop had overruled holds again
    process.kill(Number(await inspect("{{.State.Pid}}", "always")), "SIGKILL");
    await until("it is restarted", async () => (await inspect("{{.RestartCount}} {{.State.Status}}", "always")) === "1 running");
    await engine.ok("rm", "-f", "db", "web", "net", "pid", "always", "stopped", "no", "failed", "failed-stopped", "orphan", "ring1");
  });

  test("a crash of the whole host: the run root is gone", async () => {
    await sleeper("up", "--restart", "always");
    await sleeper("down");
    const pids = (await inspect("{{.State.Pid}}", "up", "down")).split("\n").map(Number);
    await engine.kill9();
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await engine.start();
    await until("it is back", async () => (await status("up")) === "running");
    expect(await inspect("{{.State.Status}} {{.State.ExitCode}}", "down")).toBe("exited 137");
    await engine.ok("rm", "-f", "up", "down");
  });

  test("a start by policy that fails is tried again, until it succeeds, its maximum is used up, or a user stops it", async () => {
    const late = join(engine.root, "late");
    mkdirSync(late);
    const policies = { comes: "always", stopped: "unless-stopped", few: "on-failure:2" };
    for (const [name, policy] of Object.entries(policies)) await sleeper(name, "--restart", policy, "--mount", `type=bind,src=${late},dst=/late`);
    expect((await engine.api("POST", "/berth/containers/stop?t=1")).ok).toBe(true);
    await engine.stop();
    rmSync(late, { recursive: true });
    await engine.start();
    await until("all have failed", async () =>
      (await inspect("{{.State.Error}}", ...Object.keys(policies))).split("\n").every((error) => error.includes(late)),
    );
    expect(await engine.ok("wait", "few")).toBe("128");
    expect(await inspect("{{.State.Status}} {{.RestartCount}}", "few")).toBe("exited 2");
    await until("waits longer and longer", async () => Number(await inspect("{{.RestartCount}}", "stopped")) >= 3);
    await engine.ok("stop", "stopped");
    expect(await status("stopped")).toBe("exited");
    mkdirSync(late);
    await until("it is back", async () => (await status("comes")) === "running");
    expect(await inspect("{{.State.Error}} {{.State.ExitCode}}", "comes")).toBe(" 0");
    expect(await status("stopped", "few")).toBe("exited\nexited");
    await engine.ok("rm", "-f", ...Object.keys(policies));
  });

  test("nor is one given up whose label alone restarts it", async () => {
    const late = join(engine.root, "late");
    mkdirSync(late, { recursive: true });
    const check = ["--health-cmd", "test ! -e /bad", "--health-interval", "100ms", "--health-retries", "2"];
    await sleeper("ill", "--label", "berth.restart-on-unhealthy=true", ...check, "--mount", `type=bind,src=${late},dst=/late`);
    rmSync(late, { recursive: true });
    await engine.ok("exec", "ill", "touch", "/bad");
    await until("its start has failed twice", async () => Number(await inspect("{{.RestartCount}}", "ill")) >= 2);
    expect(await inspect("{{.State.Error}}", "ill")).toContain(late);
    mkdirSync(late);
    await until("it is back", async () => (await status("ill")) === "running");
    await engine.ok("rm", "-f", "ill");
  });

  test("those that wait for each other are told so at boot", async () => {
    // a name stands for whoever bears it at the start
    await engine.ok("create", "--name", "ring1", "--restart", "always", "--network", "container:ring2", "--stop-signal", "KILL", "busybox", "sleep", "1000");
    await sleeper("ring2");
    await engine.ok("start", "ring1");
    await engine.ok("rm", "-f", "ring2");
    await sleeper("ring2", "--restart", "always", "--network", "container:ring1");
    expect((await engine.api("POST", "/berth/containers/stop?t=1")).ok).toBe(true);
    await engine.stop();
    await engine.start();
    await until("both are settled", async () => (await status("ring1", "ring2")) === "exited\nexited");
    expect(await inspect("{{.State.Error}}", "ring1")).toContain("it waits for itself (ring1 → ring2 → ring1: each needs the next one running)");
    expect(await inspect("{{.State.Error}}", "ring2")).toContain("it waits for itself (ring2 → ring1 → ring2");
    await engine.ok("rm", "-f", "ring1", "ring2");
    await engine.ok("create", "--name", "own", "--network", "container:own", "busybox", "true");
    expect((await engine.docker(["start", "own"])).stderr).toContain("cannot join own network namespace");
    await engine.ok("rm", "own");
  });

  test("while it waits for its restart: refusals, stop, and a changed policy", async () => {
    const failing = async (name: string, restarts = 3): Promise<void> => {
      await engine.ok("run", "-d", "--name", name, "--restart", "always", "busybox", "false");
      await until("a long wait", async () => Number(await inspect("{{.RestartCount}}", name)) >= restarts && (await status(name)) === "restarting");
    };
    await failing("stopped", 6);
    for (const args of [
      ["exec", "stopped", "true"],
      ["pause", "stopped"],
      ["top", "stopped"],
      ["run", "--rm", "--network", "container:stopped", "busybox", "true"],
    ]) {
      expect((await engine.docker(args)).stderr).toContain("is restarting, wait until the container is running");
    }
    await engine.ok("stop", "stopped");
    expect(await inspect("{{.State.Status}} {{.State.ExitCode}}", "stopped")).toBe("exited 1");
    await failing("changed");
    await engine.ok("update", "--restart", "no", "changed");
    await until("its last run", async () => (await status("changed")) === "exited");
    await failing("killed");
    await engine.ok("kill", "killed");
    expect(await status("killed")).toBe("exited");
    await engine.ok("rm", "stopped", "changed", "killed");
  });

  test("an engine that stops its containers by force forgets no policy", async () => {
    await engine.ok("run", "-d", "--name", "deaf", "--restart", "unless-stopped", "busybox", "sleep", "1000");
    expect((await engine.api("POST", "/berth/containers/stop?t=0")).ok).toBe(true);
    expect(await status("deaf")).toBe("exited");
    await engine.stop();
    await engine.start();
    await until("it is back", async () => (await status("deaf")) === "running");
    await engine.ok("rm", "-f", "deaf");
  });
});

describe.skipIf(skipped("root", "overlay", "docker"))("an engine in another mount namespace", () => {
  test("doesn't start while containers run in the one before, and ends none of them", async () => {
    const launcher = ["unshare", "--mount"];
    await using engine = await Engine.start([], undefined, { launcher });
    await engine.importBusybox();
    await engine.ok("run", "-d", "--name", "up", "--stop-signal", "KILL", "busybox", "sleep", "1000");
    const pid = await engine.ok("inspect", "-f", "{{.State.Pid}}", "up");
    await engine.kill9();
    expect(await outcome(engine.start())).toThrow("the engine can't take over what runs");
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    await engine.kill9();
    const [namespace = ""] = /--mount=\/proc\/\d+\/ns\/mnt/.exec(engine.log()) ?? [];
    launcher.splice(0, Infinity, "nsenter", namespace);
    await engine.start();
    expect(await engine.ok("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "up")).toBe(`running ${pid}`);
    await engine.ok("rm", "-f", "up");
  });
});
