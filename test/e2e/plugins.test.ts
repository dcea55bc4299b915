import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTimeOf } from "../../src/kernel/process.ts";
import { examplesOf } from "../documented.ts";
import { startPlugin, type TestPlugin } from "../plugin/start.ts";
import { skipped } from "../skips.ts";
import { Engine, until } from "./harness.ts";

describe.skipIf(skipped("root", "overlay", "docker"))("plugins, by the docker command", () => {
  let engine: Engine;
  let plugin: TestPlugin;
  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), "berth-plugin-"));
    engine = await Engine.start(["--plugin-socket-dir", join(folder, "sockets")]);
    plugin = await startPlugin("tested", { folder, launcher: engine.onHost });
    await engine.importBusybox();
  });
  afterEach(() => engine.removeAll());
  afterAll(async () => {
    await engine[Symbol.asyncDispose]();
    await plugin[Symbol.asyncDispose]();
  });
  const pathOf = (name: string): string => join(plugin.root, "volumes", name);
  const left = (): number => plugin.calls("VolumeDriver.Mount").length - plugin.calls("VolumeDriver.Unmount").length;

  test("the page's examples", async () => {
    const examples = examplesOf("volume-drivers.md");
    expect(examples.length).toBe(6);
    for (const line of examples) {
      const words = line.replaceAll("NAME", "tested").replaceAll(" alpine ", " busybox ").replaceAll("key=value", "color=red").split(" ");
      await engine.ok(...words.slice(1));
    }
    expect(await engine.ok("info", "-f", "{{.Plugins.Volume}} {{.Plugins.Network}}")).toMatch(/^\[local tested\] \[bridge host ipvlan macvlan null tested\]$/);
    expect((await engine.ok("volume", "ls", "-f", "driver=tested", "-q")).split("\n")).toEqual(["data", "other", "third"]);
    await engine.removeAll();
    await engine.ok("volume", "rm", "data", "other", "third");
    await engine.ok("network", "rm", "net", "other");
    expect(left()).toBe(0);
  });

  test("volumes: status, errors in the plugin's words", async () => {
    await engine.ok("volume", "create", "-d", "tested", "plain");
    await engine.ok("run", "--rm", "-v", "plain:/d", "busybox", "sh", "-c", "echo kept > /d/f");
    expect(readFileSync(join(pathOf("plain"), "f"), "utf8")).toBe("kept\n");
    expect(await engine.ok("volume", "inspect", "-f", "{{.Driver}} {{.Scope}} {{.Status.mounts}} {{.CreatedAt}}", "plain")).toBe(
      "tested global 0 2020-01-02T03:04:05Z",
    );
    expect(await engine.refused("volume", "create", "-d", "tested", "-o", "fail=1", "bad")).toContain("create bad: no room for it");
    expect(await engine.refused("volume", "create", "-d", "nobody", "bad")).toContain('error looking up volume plugin nobody: plugin "nobody" not found');
    expect(await engine.refused("run", "--rm", "--volume-driver", "nobody", "-v", "named:/d", "busybox")).toContain('plugin "nobody" not found');
    mkdirSync(pathOf("theirs"));
    await engine.ok("run", "--rm", "-v", "theirs:/d", "busybox", "touch", "/d/here");
    expect(existsSync(join(pathOf("theirs"), "here"))).toBe(true);
    await engine.ok("volume", "rm", "plain", "theirs");
  });

  test("a killed engine's successor goes on with what runs, and gives back what ended", async () => {
    await engine.ok("network", "create", "-d", "tested", "--subnet", "10.41.0.0/24", "pnet");
    await engine.ok("run", "-d", "--name", "lives", "--network", "pnet", "-v", "pvol:/d", "--volume-driver", "tested", "busybox", "sleep", "1000");
    await engine.ok("run", "-d", "--name", "ends", "--network", "pnet", "-v", "pvol:/d", "busybox", "sleep", "1");
    const ending = Number(await engine.ok("inspect", "-f", "{{.State.Pid}}", "ends"));
    await engine.kill9();
    await until("it ends while no engine runs", () => ending === 0 || startTimeOf(ending) === undefined);
    await engine.start();
    expect(await engine.stateOf("ends")).toBe("exited 0 ");
    await engine.ok("exec", "lives", "ping", "-c1", "-W3", "10.41.0.1");
    await engine.ok("exec", "lives", "ls", "/d");
    for (let i = 0; i < 100 && (left() > 1 || plugin.calls("NetworkDriver.DeleteEndpoint").length < 1); i++) await Bun.sleep(50);
    expect([left(), plugin.calls("NetworkDriver.DeleteEndpoint").length >= 1]).toEqual([1, true]);
    await engine.ok("rm", "-f", "lives", "ends");
    for (let i = 0; i < 100 && left() > 0; i++) await Bun.sleep(50);
    expect(left()).toBe(0);
    await engine.ok("network", "rm", "pnet");
    await engine.ok("volume", "rm", "pvol");
  });

  test("while a plugin hangs, other containers start, and the list has a warning", async () => {
    await engine.ok("volume", "create", "-d", "tested", "slow");
    plugin.fault("VolumeDriver.Mount", "hang");
    plugin.fault("VolumeDriver.List", { status: 500, body: '{"Err":"busy"}' });
    const stuck = engine.docker(["run", "--rm", "-v", "slow:/d", "busybox", "true"], { limit: 3000 });
    await engine.ok("run", "--rm", "-v", "fast:/d", "busybox", "true");
    const { Volumes, Warnings } = (await (await engine.api("GET", "/volumes")).json()) as { Volumes: { Name: string }[]; Warnings: string[] };
    expect([Volumes.map(({ Name }) => Name).includes("slow"), Warnings]).toEqual([true, ["list tested: VolumeDriver.List: busy"]]);
    await stuck;
    plugin.fault("VolumeDriver.List", undefined);

    // who wants to be rid of the container, or of the volume, is told at once
    await engine.ok("volume", "create", "-d", "tested", "other");
    let isOver = false;
    const start = engine.docker(["run", "--name", "starting", "-v", "other:/d:nocopy", "busybox", "true"], { limit: 60_000 }).finally(() => (isOver = true));
    while ((await engine.docker(["inspect", "-f", "{{.Id}}", "starting"])).code !== 0) await Bun.sleep(20);
    expect(await engine.refused("volume", "rm", "other")).toContain("remove other: volume is in use");
    expect(isOver).toBe(false);
    await engine.ok("rm", "-f", "starting");
    plugin.fault("VolumeDriver.Mount", undefined);
    await start;
  });
});
