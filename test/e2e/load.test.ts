import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { suiteEngine, until } from "./harness.ts";
import { RawClient } from "./raw-client.ts";

/** Containers that take all they can get, and crowds of clients. */
describe.skipIf(skipped("root", "overlay", "docker"))("an engine under load", () => {
  const engine = suiteEngine();

  /** Resident memory of the engine in MB. */
  const memory = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${engine.pid}/status`, "utf8"))![1]) / 1024;
  const open = (line: string, headers = ""): RawClient => new RawClient(engine.socket, `${line} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`);
  const upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
  const removeAll = async (): Promise<void> => {
    await engine.removeAll();
    expect(await lastingInconsistencies(engine)).toEqual([]);
  };

  test("keeps its memory though containers flood clients that read nothing", async () => {
    const before = memory();
    const clients: RawClient[] = [];
    for (const driver of ["json-file", "none"]) {
      const id = await engine.ok("create", "--log-driver", driver, "-e", "LINE=0123456789", "busybox", "sh", "-c", "exec yes $LINE$LINE$LINE$LINE");
      clients.push(open(`POST /containers/${id}/attach?stream=1&stdout=1 `.trimEnd(), upgrade));
      await clients.at(-1)!.head();
      await engine.ok("start", id);
      if (driver !== "none") clients.push(open(`GET /containers/${id}/logs?follow=1&stdout=1`));
    }
    for (const client of clients) {
      await client.head();
      client.socket.pause();
    }
    await Bun.sleep(3000);
    expect(memory() - before).toBeLessThan(150);
    expect(await engine.ok("run", "--rm", "busybox", "echo", "alive")).toBe("alive");
    await removeAll();
    for (const { socket } of clients) socket.destroy();
  });

  test("answers 500 clients that wait, each with the exit code", async () => {
    const id = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    const conditions = ["", "?condition=not-running", "?condition=next-exit", "?condition=removed"];
    const clients = Array.from({ length: 500 }, (_, i) => open(`POST /containers/${id}/wait${conditions[i % 4]}`));
    await Promise.all(clients.map((client) => client.head()));
    expect(await engine.ok("exec", id, "echo", "alive")).toBe("alive");
    // some have lost patience
    for (const { socket } of clients.slice(0, 100)) socket.destroy();
    await engine.ok("rm", "-f", id);
    const answers = clients.slice(100).map((client) => until("the answer", () => /\{.*\}/.exec(client.received.toString())?.[0]));
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['{"StatusCode":137}']));
    for (const { socket } of clients) socket.destroy();
  });

  test("tells of a container that was out of memory: code, state and event", async () => {
    const since = String(Math.floor(Date.now() / 1000) - 1);
    const { code } = await engine.docker(["run", "--name", "hungry", "-m", "32m", "--memory-swap", "32m", "busybox", "tail", "/dev/zero"]);
    expect(code).toBe(137);
    expect(await engine.ok("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status}}", "hungry")).toBe("true 137 exited");
    const until = String(Math.floor(Date.now() / 1000) + 1);
    const events = await engine.ok(
      "events",
      "--since",
      since,
      "--until",
      until,
      "--filter",
      "container=hungry",
      "--format",
      '{{.Action}} {{index .Actor.Attributes "exitCode"}}',
    );
    expect(
      events
        .split("\n")
        .filter((line) => /oom|die/.test(line))
        .map((line) => line.trim()),
    ).toEqual(["oom", "die 137"]);
    await removeAll();
  });

  test("and others stay usable beside a fork bomb with a limit of processes", async () => {
    const bomb = await engine.ok(
      "run",
      "-d",
      "--pids-limit",
      "60",
      "busybox",
      "sh",
      "-c",
      "(while :; do (while :; do sleep 1000 & done); done) & exec sleep 1000",
    );
    await until("the limit", async () => Number((await engine.ok("top", bomb)).split("\n").length) > 40);
    expect(await engine.ok("run", "--rm", "busybox", "echo", "alive")).toBe("alive");
    // inside there is no room for one more, which is told in a sentence
    const { code, stderr } = await engine.docker(["exec", bomb, "true"]);
    if (code !== 0) expect(stderr).toMatch(/Resource temporarily unavailable|cannot fork|unable to start|fork/i);
    await engine.ok("stop", "-t", "1", bomb);
    await removeAll();
  });
});
