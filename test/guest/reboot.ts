import { existsSync } from "node:fs";
import { api, check, endWithoutEngine, equal, ok, startEngine, state, stopEngine, until } from "./inside.ts";

/** Runs inside the guest twice, on one disk: the power is cut in between, so that everything but the disk is gone. */
const isFirst = !existsSync("/var/lib/berth/engine.db");
const sleeper = (name: string, ...flags: string[]): Promise<string> => ok("run", "-d", "--name", name, ...flags, "guest", "sleep", "10000");

interface Inspected {
  RestartCount: number;
  State: { Error: string; Health?: { Status: string } };
}
const inspect = (name: string): Promise<Inspected> => api<Inspected>(`/containers/${name}/json`);
const statusesOf = async (...names: string[]): Promise<string[]> => (await Promise.all(names.map(state))).map(({ Status }) => Status);

if (isFirst) {
  await check("containers run before the power is cut", async () => {
    await startEngine();
    await ok("load", "-i", "/guest/image.tar");
    await ok(
      "run",
      "-d",
      "--name",
      "always",
      "--restart",
      "always",
      "-v",
      "data:/d",
      "-p",
      "8080:80",
      "guest",
      "sh",
      "-c",
      "echo boot >> /d/boots; exec httpd -f -p 80 -h /d",
    );
    await sleeper("needs", "--restart", "unless-stopped", "--network", "container:always", "--health-tcp", ":80", "--health-interval", "500ms");
    await sleeper("linked", "--restart", "on-failure", "--link", "always");
    await sleeper("stopped", "--restart", "unless-stopped");
    await sleeper("paused", "--restart", "always");
    await sleeper("plain");
    await sleeper("removed", "--rm");
    await ok("stop", "-t", "0", "stopped");
    await ok("pause", "paused");
    await ok("run", "-d", "--name", "done", "guest", "sh", "-c", "echo said; exit 7");
    await until("the short one ends", async () => (await state("done")).Status === "exited");
    await ok("exec", "plain", "sh", "-c", "echo kept > /file");
    // what a program hasn't synced is lost with the power, as on any machine
    equal(Bun.spawnSync(["sync"]).exitCode, 0);
  });
  console.log("GUEST cut the power");
  await Bun.sleep(60_000);
} else {
  await check("the engine starts after a power cut", async () => await startEngine());
  endWithoutEngine();
  await check("policies bring back what shall run", async () => {
    const names = ["always", "needs", "linked", "paused"];
    await until("all run", async () => (await statusesOf(...names)).every((status) => status === "running"));
    equal(await statusesOf("stopped", "plain", "done"), ["exited", "exited", "exited"]);
  });
  await check("exit codes, logs, files and volumes are kept", async () => {
    equal([(await state("done")).ExitCode, await ok("logs", "done")], [7, "said"]);
    const { ExitCode, Error } = await state("plain");
    equal([ExitCode, Error.includes("exit code is unknown")], [255, true]);
    equal(await ok("exec", "always", "cat", "/d/boots"), "boot\nboot");
    await ok("start", "plain");
    equal(await ok("exec", "plain", "cat", "/file"), "kept");
  });
  await check("networks, ports, links and health checks are back", async () => {
    equal(await fetch("http://127.0.0.1:8080/boots").then((answer) => answer.text()), "boot\nboot\n");
    equal((await ok("exec", "needs", "wget", "-qO-", "http://127.0.0.1/boots")).length > 0, true);
    equal((await ok("exec", "linked", "wget", "-qO-", "http://always/boots")).length > 0, true);
    await until("healthy", async () => (await inspect("needs")).State.Health?.Status === "healthy");
  });
  await check("a clock that is set ends no start period, makes no run a long one, and is followed", async () => {
    const hour = 3600;
    const setClock = (seconds: number): void => equal(Bun.spawnSync(["/bin/busybox", "date", "-s", `@${Math.floor(Date.now() / 1000) + seconds}`]).exitCode, 0);
    const logOf = async (name: string): Promise<unknown[]> =>
      (await api<{ State: { Health: { Log: unknown[] } } }>(`/containers/${name}/json`)).State.Health.Log;
    const failing = ["--health-cmd", "false", "--health-retries", "1", "--health-start-period", "1h"];
    await sleeper("early", ...failing, "--health-interval", "1s", "--health-start-interval", "1s");
    await ok("run", "-d", "--name", "crashing", "--restart", "always", "guest", "sh", "-c", "sleep 5; exit 1");
    await until("a check has failed", async () => (await logOf("early")).length > 0);
    setClock(2 * hour);
    const before = (await logOf("early")).length;
    await until("another one has failed", async () => (await logOf("early")).length > Math.min(before, 4));
    equal((await inspect("early")).State.Health?.Status, "starting");
    await ok("run", "--name", "after", "guest", "true");
    const { StartedAt, FinishedAt } = await state("after");
    equal(
      [StartedAt, FinishedAt].map((time) => Math.abs(Date.parse(time) - Date.now()) < hour * 500),
      [true, true],
    );
    await until("it has crashed", async () => (await inspect("crashing")).RestartCount > 0);
    const { Actor } = JSON.parse(
      await ok("events", "--since", "0", "--until", "0s", "--filter", "event=die", "--filter", "container=crashing", "--format", "{{json .}}").then(
        (lines) => lines.split("\n")[0] ?? "",
      ),
    ) as { Actor: { Attributes: { execDuration: string } } };
    equal(Number(Actor.Attributes.execDuration) < hour, true);
    await ok("rm", "-f", "early", "crashing", "after");
  });
  await check("what had --rm is gone, and nothing hinders the rest", async () => {
    await until("removed", async () => !(await ok("ps", "-a", "--format", "{{.Names}}")).split("\n").includes("removed"));
    await ok("rm", "-f", "always", "needs", "linked", "stopped", "paused", "plain", "done");
    await ok("volume", "rm", "data");
    equal(await ok("ps", "-aq"), "");
    equal(await stopEngine("SIGTERM"), 0);
  });
}
