import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startTimeOf } from "../../src/kernel/process.ts";
import { setImmutable } from "../immutable.ts";
import { skipped } from "../skips.ts";
import { mountPointsBelow } from "./consistency.ts";
import { Engine, run, until } from "./harness.ts";

/** Mounts, monitors, namespaces and links that lie under an engine's roots. */
async function heldBy(engine: Engine): Promise<string[]> {
  const mounts = ["bundles", "netns"].flatMap((name) => mountPointsBelow(join(engine.run, name)));
  const monitors = readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return "";
      }
    })
    .filter((command) => command.includes("conmon") && command.includes(engine.root));
  const links = (await run([...engine.onHost, "busybox", "ip", "-o", "link"])).stdout.split("\n").filter((line) => line.includes("veth"));
  const bundles = join(engine.root, "run", "bundles");
  return [...mounts, ...monitors, ...links, ...(existsSync(bundles) ? readdirSync(bundles) : [])];
}

describe.skipIf(skipped("root", "overlay", "docker"))("an engine that is killed", () => {
  test("finds running containers again, with logs, exit codes and ports", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const counter = await engine.ok(
      "run",
      "-d",
      "-p",
      "8081:80",
      "busybox",
      "sh",
      "-c",
      "httpd -f -p 80 & i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done",
    );
    const short = await engine.ok("run", "-d", "busybox", "sh", "-c", "sleep 1; echo done; exit 42");
    const restarting = await engine.ok("run", "-d", "--restart", "always", "busybox", "sh", "-c", "sleep 1; exit 1");
    const removed = await engine.ok("run", "-d", "--rm", "busybox", "sh", "-c", "sleep 1");
    const ending = await Promise.all([short, restarting, removed].map(async (id) => Number(await engine.ok("inspect", "-f", "{{.State.Pid}}", id))));
    await engine.kill9();
    await until("they end while no engine runs", () => ending.every((pid) => pid === 0 || startTimeOf(pid) === undefined));
    await engine.start();

    expect(await engine.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", short)).toBe("exited 42");
    expect(await engine.ok("logs", short)).toBe("done");
    expect(await engine.ok("inspect", "-f", "{{.State.Running}}", counter)).toBe("true");
    await until("--rm takes the container away", async () => !(await engine.ok("ps", "-aq", "--no-trunc")).includes(removed));
    await until("restart policy", async () => (await engine.ok("inspect", "-f", "{{.State.Running}}", restarting)) === "true");
    expect((await run([...engine.onHost, "busybox", "wget", "-qO-", "http://127.0.0.1:8081/nothing"])).stderr).toContain("404");

    expect(await engine.ok("exec", counter, "echo", "alive")).toBe("alive");
    await engine.ok("stop", "-t", "1", counter);
    const numbers = (await engine.ok("logs", counter)).split("\n").map(Number);
    expect(numbers).toEqual(numbers.map((_, i) => i));
    expect(numbers.length).toBeGreaterThan(50);
    await engine.ok("rm", "-f", counter, short, restarting);
    await engine.ok("run", "--rm", "-p", "8081:80", "busybox", "true");
    await until("nothing is left", async () => (await heldBy(engine)).length === 0);
  });

  test("leaves nothing half-made, whenever it dies", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    for (let round = 0; round < 12; round++) {
      const work = Array.from({ length: 4 }, (_, i) =>
        engine.docker(["run", ...(i % 2 === 0 ? ["--rm"] : ["-d"]), "--label", "crash", "busybox", "sh", "-c", `sleep 0.0${i}; exit ${i}`]),
      );
      await Bun.sleep(15 + round * 12);
      await engine.kill9();
      await Promise.all(work);
      await engine.start();
      await until("no container is stuck", async () => {
        const states = (await engine.ok("ps", "-a", "--format", "{{.State}}")).split("\n");
        return states.every((state) => ["", "created", "exited"].includes(state));
      });
      const left = (await engine.ok("ps", "-aq")).split("\n").filter((id) => id !== "");
      if (left.length > 0) await engine.ok("rm", "-f", ...left);
    }
    await until("nothing is left", async () => (await heldBy(engine)).length === 0);
  });

  test("lets go on what it had frozen for a moment, and leaves paused what was paused", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const frozen = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    const paused = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    await engine.ok("pause", paused);
    const pid = await engine.ok("inspect", "-f", "{{.State.Pid}}", frozen);
    // as a killed engine leaves it between freezing and writing that down
    const freezer = readFileSync(`/proc/${pid}/cgroup`, "utf8").match(/^\d+:freezer:(.*)$/m)?.[1];
    if (freezer !== undefined) writeFileSync(`/sys/fs/cgroup/freezer${freezer}/freezer.state`, "FROZEN");
    else writeFileSync(`/sys/fs/cgroup${readFileSync(`/proc/${pid}/cgroup`, "utf8").match(/^0::(.*)$/m)?.[1]}/cgroup.freeze`, "1");
    await engine.kill9();
    await engine.start();
    expect(await engine.ok("inspect", "-f", "{{.State.Status}}", frozen, paused)).toBe("running\npaused");
    await engine.ok("stop", "-t", "0", frozen);
    await engine.ok("rm", "-f", frozen, paused);
  });

  test("SIGTERM leaves containers running, and the next start adopts them; --live-restore=false stops them", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const id = await engine.ok("run", "-d", "busybox", "sleep", "1000");
    const pid = Number(await engine.ok("inspect", "-f", "{{.State.Pid}}", id));
    expect(await engine.stop()).toBe(0);
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    await engine.start();
    expect(await engine.ok("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", id)).toBe(`true ${pid}`);
    await engine.ok("rm", "-f", id);

    await using other = await Engine.start(["--live-restore=false", "--shutdown-timeout", "1"]);
    await other.importBusybox();
    const stopped = await other.ok("run", "-d", "busybox", "sleep", "1000");
    await other.stop();
    // the kernel takes the links of a namespace away in its own time
    await until("nothing is held", async () => (await heldBy(other)).length === 0);
    await other.start();
    expect(await other.ok("inspect", "-f", "{{.State.Status}}", stopped)).toBe("exited");
  });

  test.skipIf(skipped("immutable"))("starts though a build has left files that can't be removed, and removes them when they can", async () => {
    await using engine = await Engine.start();
    await engine.kill9();
    const left = join(engine.data, "tmp", "build-0123456789ab");
    const file = join(left, "context", "file");
    mkdirSync(join(left, "context"), { recursive: true });
    writeFileSync(file, "");
    setImmutable(file, true);
    try {
      await engine.start();
      await until("it is told", () => engine.log().includes("removing what interrupted builds left failed"));
      await engine.stop();
    } finally {
      setImmutable(file, false);
    }
    await engine.start();
    await until("it is gone", () => !existsSync(left));
  });
});
