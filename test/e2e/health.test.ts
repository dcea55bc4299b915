import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { argumentsOf } from "../../src/kernel/process.ts";
import { skipped } from "../skips.ts";
import { suiteEngine, until } from "./harness.ts";

interface Health {
  Status: string;
  FailingStreak: number;
  Log: { Start: string; End: string; ExitCode: number; Output: string }[];
}

describe.skipIf(skipped("root", "overlay", "docker"))("health checks", () => {
  const engine = suiteEngine();

  const health = async (name: string): Promise<Health> => JSON.parse(await engine.ok("inspect", "-f", "{{json .State.Health}}", name)) as Health;
  const status = async (name: string): Promise<string> => (await health(name)).Status;
  const run = (name: string, flags: string[], ...command: string[]): Promise<string> =>
    engine.ok(
      "run",
      "-d",
      "--name",
      name,
      "--stop-signal",
      "KILL",
      "--health-interval",
      "100ms",
      ...flags,
      "busybox",
      ...(command.length > 0 ? command : ["sleep", "1000"]),
    );

  test("results, both outputs in one, and what is cut off", async () => {
    await run("ok", ["--health-cmd", "echo out; echo err >&2"]);
    await until("healthy", async () => (await status("ok")) === "healthy");
    const { FailingStreak, Log } = await health("ok");
    expect(FailingStreak).toBe(0);
    expect(Log[0]).toMatchObject({ ExitCode: 0, Output: "out\nerr\n" });
    expect(Date.parse(Log[0]?.End ?? "")).toBeGreaterThanOrEqual(Date.parse(Log[0]?.Start ?? ""));
    await until("five results", async () => (await health("ok")).Log.length === 5);
    expect(await engine.ok("ps", "--filter", "health=healthy", "--filter", "name=ok", "--format", "{{.Status}}")).toContain("(healthy)");

    await run("long", ["--health-cmd", "head -c 200000 /dev/zero | tr '\\0' x; exit 3", "--health-retries", "2"]);
    await until("unhealthy", async () => (await status("long")) === "unhealthy");
    const [first] = (await health("long")).Log;
    expect([first?.ExitCode, first?.Output.length, first?.Output.slice(-4)]).toEqual([3, 4099, "x..."]);
    expect((await engine.actionsOf("long")).filter((action) => action.startsWith("health_status"))).toEqual(["health_status: unhealthy"]);
    await engine.ok("rm", "-f", "ok", "long");
  });

  test("a check that hangs is killed with all it has started", async () => {
    await run("hangs", ["--health-cmd", "echo begun; sleep 4321; true", "--health-timeout", "300ms", "--health-retries", "1"]);
    await until("unhealthy", async () => (await status("hangs")) === "unhealthy");
    expect((await health("hangs")).Log[0]).toMatchObject({ ExitCode: -1, Output: "Health check exceeded timeout (300ms): begun\n" });
    // one more check may be under way: of many, none stays
    await until("a few checks", async () => (await health("hangs")).FailingStreak >= 3);
    const left = (await engine.ok("top", "hangs", "-eo", "pid,args")).split("\n").filter((line) => / sleep 4321$/.test(line));
    expect(left.length).toBeLessThanOrEqual(1);
    await engine.ok("rm", "-f", "hangs");
  });

  test("programs that aren't there, words of a shell command, and none at all", async () => {
    const create = async (name: string, Test: string[]): Promise<{ Warnings: string[] }> => {
      const body = { Image: "busybox", Cmd: ["sleep", "1000"], StopSignal: "KILL", Healthcheck: { Test, Interval: 1e8, Retries: 1 } };
      const answer = await engine.api("POST", `/containers/create?name=${name}`, body);
      expect(answer.status).toBe(201);
      await engine.ok("start", name);
      return (await answer.json()) as { Warnings: string[] };
    };
    await create("missing", ["CMD", "/nope"]);
    await create("words", ["CMD-SHELL", "echo $0 $1", "a", "b"]);
    await create("empty", ["CMD"]);
    const { Warnings } = await create("unknown", ["WAT", "x"]);
    expect(Warnings).toEqual(["Unknown healthcheck type 'WAT': the container has no health check"]);
    await until(
      "three are unhealthy or healthy",
      async () => (await Promise.all(["missing", "words", "empty"].map(status))).join() === "unhealthy,healthy,unhealthy",
    );
    expect((await health("missing")).Log[0]).toMatchObject({
      ExitCode: -1,
      Output: 'OCI runtime exec failed: exec failed: unable to start container process: exec: "/nope": stat /nope: no such file or directory: unknown',
    });
    expect((await health("words")).Log[0]?.Output).toBe("a b\n");
    expect((await health("empty")).Log[0]?.Output).toContain("has no command");
    expect(await engine.ok("inspect", "-f", "{{json .State.Health}}", "unknown")).toBe("null");
    await engine.ok("rm", "-f", "missing", "words", "empty", "unknown");
  });

  test("paused, stopped and started again", async () => {
    await run("states", ["--health-cmd", "true"]);
    await until("healthy", async () => (await status("states")) === "healthy");
    await engine.ok("pause", "states");
    expect(await status("states")).toBe("unhealthy");
    await engine.ok("unpause", "states");
    await until("healthy", async () => (await status("states")) === "healthy");
    await engine.ok("stop", "states");
    const stopped = await health("states");
    expect([stopped.Status, stopped.FailingStreak, stopped.Log.every(({ ExitCode }) => ExitCode === 0)]).toEqual(["unhealthy", 0, true]);
    await engine.ok("start", "states");
    const { Status, Log } = await health("states");
    expect([Status, Log.length > 0]).toEqual(["starting", true]);
    expect((await engine.actionsOf("states")).filter((action) => action.startsWith("health_status"))).toEqual([
      "health_status: healthy",
      "health_status: healthy",
    ]);
    await engine.ok("rm", "-f", "states");
  });

  test("failures within the start period don't count", async () => {
    await run("slow", ["--health-cmd", "test -e /up", "--health-start-period", "1h", "--health-start-interval", "100ms", "--health-retries", "1"]);
    await until("some failures", async () => (await health("slow")).Log.length >= 3);
    expect(await health("slow")).toMatchObject({ Status: "starting", FailingStreak: 0 });
    await engine.ok("exec", "slow", "touch", "/up");
    await until("healthy", async () => (await status("slow")) === "healthy");
    await engine.ok("exec", "slow", "rm", "/up");
    await until("unhealthy", async () => (await status("slow")) === "unhealthy");
    await engine.ok("rm", "-f", "slow");
  });

  test("tcp and http from inside, without a process there", async () => {
    const pages = "mkdir /www; echo fine > /www/up; exec httpd -f -p 127.0.0.1:80 -h /www";
    // alone on its loopback: nobody outside could ask it
    await run("web", ["--network", "none", "--label", "berth.healthcheck=http://:80/up"], "sh", "-c", pages);
    await run("lost", ["--network", "none", "--label", "berth.healthcheck=http://localhost/nothing", "--health-retries", "1"], "sh", "-c", pages);
    await run("port", ["--network", "container:web", "--label", "berth.healthcheck=tcp://:80"]);
    await run("closed", ["--label", "berth.healthcheck=tcp://127.0.0.1:81", "--health-retries", "1", "--health-cmd", "true"]);
    await run(
      "mute",
      ["--label", "berth.healthcheck=http://:82", "--health-timeout", "200ms", "--health-retries", "1"],
      "nc",
      "-ll",
      "-p",
      "82",
      "-e",
      "sleep",
      "9",
    );
    const names = ["web", "lost", "port", "closed", "mute"];
    await until("all are judged", async () => (await Promise.all(names.map(status))).join() === "healthy,unhealthy,healthy,unhealthy,unhealthy");
    const outputs = await Promise.all(names.map(async (name) => (await health(name)).Log.at(-1)?.Output ?? ""));
    expect(outputs[0]).toBe("HTTP/1.1 200 OK");
    expect(outputs[1]).toStartWith("HTTP/1.1 404 Not Found\n\n");
    expect(outputs[2]).toBe("connected to localhost:80");
    expect(outputs[3]).toBe("127.0.0.1:81: connect: connection refused (ECONNREFUSED)");
    expect(outputs[4]).toBe("Health check exceeded timeout (200ms)");
    await engine.ok("rm", "-f", ...names);
    const bad = await engine.docker(["create", "--label", "berth.healthcheck=http://example.com/", "busybox"]);
    expect([bad.code, bad.stderr.includes("as seen from inside the container")]).toEqual([1, true]);
  });

  test("a check that hangs doesn't outlive the engine that asked", async () => {
    await run("hung", ["--health-cmd", "sleep 54321; true", "--health-timeout", "1h"]);
    const sleeps = async (): Promise<number> =>
      (await engine.ok("top", "hung", "-eo", "pid,args")).split("\n").filter((line) => / sleep 54321$/.test(line)).length;
    await until("the check hangs", async () => (await sleeps()) === 1);
    await engine.kill9();
    await Bun.sleep(200);
    await engine.start();
    await until("one check, the new engine's", async () => (await sleeps()) === 1);
    const commands = readdirSync("/proc").flatMap((pid) => (/^\d+$/.test(pid) ? [argumentsOf(Number(pid)).join(" ")] : []));
    expect(commands.filter((command) => command.includes(`${engine.root}/`) && command.includes("/command-")).length).toBe(1);
    await engine.ok("stop", "-t", "0", "hung");
    await engine.ok("rm", "hung");
  });

  test("what is known outlives the engine", async () => {
    await run("kept", ["--health-cmd", "true"]);
    await until("healthy", async () => (await status("kept")) === "healthy");
    await engine.kill9();
    await engine.start();
    expect(await status("kept")).toBe("healthy");
    const [last] = (await health("kept")).Log.slice(-1);
    await until("the checks go on", async () => (await health("kept")).Log.at(-1)?.Start !== last?.Start);
    await engine.ok("rm", "-f", "kept");
  });
});
