import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { kernelState, leaks } from "../leaks.ts";
import { skipped } from "../skips.ts";
import { createEngine, type TestEngine } from "./containers-fixture.ts";

const rounds = 12;

/** Everything that exists for containers, by the place where it is. */
function traces({ paths, runtime, root }: TestEngine): Record<string, string[]> {
  const idsIn = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory).filter((name) => /^[0-9a-f]{64}$/.test(name)) : []);
  const mounts = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((target) => target.startsWith(`${root}/run/bundles/`) || target.startsWith(`${root}/data/tmp/`));
  return {
    directories: idsIn(paths.containers),
    bundles: idsIn(paths.bundles),
    cgroups: [...new Set(runtime.cgroups.roots.flatMap((each) => idsIn(each + runtime.cgroupParent)))],
    mounts: mounts.map((target) => target.slice(`${root}/run/bundles/`.length).slice(0, 64)),
  };
}

describe.skipIf(skipped("root", "overlay"))("an engine killed at any moment", () => {
  let before: Set<string>;
  let engine: TestEngine;
  beforeAll(async () => {
    before = kernelState();
    engine = await createEngine();
  });
  afterAll(async () => {
    const { root } = engine;
    await engine.close();
    expect(leaks(before, kernelState()).filter((line) => line.includes(root))).toEqual([]);
  });

  test("the next one knows all that is there, and nothing else is there", async () => {
    for (let round = 0; round < rounds; round++) {
      const { root } = engine;
      await engine.abandon();
      const child = Bun.spawn([process.execPath, join(import.meta.dir, "containers-engine.ts"), root], { stdout: "pipe", stderr: "inherit" });
      await child.stdout.getReader().read();
      await Bun.sleep(Math.random() * 250);
      child.kill("SIGKILL");
      await child.exited;
      engine = await createEngine({ at: root });
      await settled(engine);

      const records = engine.containers.list({ all: true });
      expect(traces(engine)["directories"]?.sort()).toEqual(records.map(({ id }) => id).sort());
      await sameAsRunning(engine);
      for (const { state } of records) expect(["created", "running", "exited"]).toContain(state.status);
      for (const { state, host } of records) if (state.status !== "running") expect(host.AutoRemove).not.toBe(true);
      // What ended on its own meanwhile has the code it ended with.
      for (const { state, args } of records) {
        const code = /exit (\d+)/.exec(args[1] ?? "")?.[1];
        if (state.status === "exited" && code !== undefined) expect([Number(code), 137]).toContain(state.exitCode);
      }
      const anonymous = engine.volumes.list().filter((volume) => volume.anonymous);
      for (const { name } of anonymous) expect(engine.volumes.usersOf(name).length).toBe(1);
      // Nothing is stuck: each can be removed, running or not.
      await Promise.all(records.filter((_, index) => index % 2 === 0).map(({ id }) => engine.containers.remove(id, { force: true, volumes: true })));
    }
  }, 120_000);
});

/** Bundles, cgroups and mounts are those of the running containers. One that ends just now is being cleaned up: then they soon are. */
async function sameAsRunning(engine: TestEngine): Promise<void> {
  for (let i = 0; ; i++) {
    const running = engine.containers.list().map(({ id }) => id);
    const { bundles, cgroups, mounts } = traces(engine);
    const same = [bundles, cgroups, mounts].every((found) => String(found?.toSorted()) === String(running.toSorted()));
    if (same) return;
    if (i === 400) expect({ bundles, cgroups, mounts }).toEqual({ bundles: running, cgroups: running, mounts: running });
    await Bun.sleep(5);
  }
}

/** Removals that the start has begun in the background are done. */
async function settled({ containers, snapshots }: TestEngine): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    const { length } = containers
      .list({ all: true })
      .filter(({ state, host }) => state.status === "removing" || (host.AutoRemove === true && state.status !== "running"));
    if (length === 0) break;
    await Bun.sleep(5);
  }
  await snapshots.settled();
}
