import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckReport } from "../../src/client/types.ts";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { suiteEngine, type Output } from "./harness.ts";

describe.skipIf(skipped("root", "overlay", "docker"))("berth system check", () => {
  const engine = suiteEngine();
  const blobs = (): string[] => {
    const folder = join(engine.data, "content/blobs/sha256");
    return readdirSync(folder)
      .map((name) => join(folder, name))
      .sort((a, b) => statSync(b).size - statSync(a).size);
  };
  const check = async (...flags: string[]): Promise<Output & { report: CheckReport }> => {
    const output = await engine.berth(["system", "check", "--json", ...flags]);
    return { ...output, report: JSON.parse(output.stdout) as CheckReport };
  };

  test("what is broken is found, fetched again from its registry, and said in sentences", async () => {
    await using _registry = await engine.registry();
    const context = join(engine.root, "busybox-tree");
    writeFileSync(join(context, "Dockerfile"), "FROM busybox\nRUN dd if=/dev/urandom of=/large bs=64k count=40\n");
    const name = "127.0.0.1:5000/checked";
    await engine.ok("build", "-q", "-t", name, context);
    await engine.ok("push", "-q", name);
    await engine.ok("system", "prune", "-af");
    await engine.ok("pull", "-q", name);
    await engine.ok("run", "-d", "--name", "stands", name, "sleep", "100000");

    const well = await engine.berth(["system", "check"]);
    expect(well).toEqual({
      code: 0,
      stderr: "",
      stdout: expect.stringMatching(/^Checked \d+ blobs \([\d.]+MB\), 2 layers, 1 image and 1 container: all is well\.\n$/),
    });

    for (const blob of blobs()) writeFileSync(blob, "x".repeat(statSync(blob).size));
    const layers = readdirSync(join(engine.data, "snapshots")).filter(
      (id) => statSync(join(engine.data, "snapshots", id, "large"), { throwIfNoEntry: false }) !== undefined,
    );
    rmSync(join(engine.data, "snapshots", layers[0]!, "large"));
    const found = await check();
    expect(found.code).toBe(1);
    expect(new Set(found.report.problems.map(({ problem }) => problem.replace(/sha256:\w+|layer \w+/, "it")))).toEqual(
      new Set(["blob it has other bytes than its digest says"]),
    );
    expect(found.report.problems[0]!.next).toBe(`berth system check --repair fetches it again from ${name}; it belongs to ${name}:latest`);

    const mended = await engine.berth(["system", "check", "--repair"]);
    expect(mended.stdout).toContain(`repaired: fetched again from ${name}`);
    expect(mended.stdout).toContain("/large is gone");
    expect(mended.stdout).toContain("repaired: unpacked again\n  next: restart stands: they still have the old files\n");
    expect(mended.stdout).toContain(", all repaired.");
    expect(mended.code).toBe(0);
    expect((await check()).report.problems).toEqual([]);
    expect(await engine.ok("run", "--rm", name, "wc", "-c", "/large")).toBe("2621440 /large");
    await engine.removeAll();
    await engine.ok("rmi", name);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("a layer whose files and blob are gone comes from the registry; without it the image goes, and it is said", async () => {
    const name = "127.0.0.1:5000/checked";
    const breakAll = (): void => {
      rmSync(blobs()[0]!);
      for (const id of readdirSync(join(engine.data, "snapshots"))) if (!id.startsWith(".")) rmSync(join(engine.data, "snapshots", id), { recursive: true });
    };
    {
      await using _registry = await engine.registry();
      await engine.ok("pull", "-q", name);
      breakAll();
      const { code, report } = await check("--repair");
      expect([code, report.problems.map(({ kind, repaired }) => [kind, repaired])]).toEqual([
        0,
        [
          ["blob", `fetched again from ${name}`],
          ["layer", "made again"],
          ["layer", "unpacked again"],
          ["layer", "unpacked again"],
        ],
      ]);
      expect(await engine.ok("run", "--rm", name, "wc", "-c", "/large")).toBe("2621440 /large");
    }
    {
      const users = join(engine.root, "htpasswd");
      writeFileSync(users, `user:${Bun.password.hashSync("secret", { algorithm: "bcrypt", cost: 4 })}\n`);
      await using _registry = await engine.registry("--htpasswd", users);
      breakAll();
      const { code, report } = await check("--repair");
      expect(code).toBe(1);
      expect(report.problems.find(({ kind }) => kind === "blob")).toMatchObject({
        next: "log in to 127.0.0.1:5000 (berth login) and repair again: without, it gives back nothing",
      });
      expect(await engine.ok("images", "-q", name)).not.toBe("");
      await engine.ok("login", "-u", "user", "-p", "secret", "127.0.0.1:5000");
      expect((await check("--repair")).code).toBe(0);
      expect(await engine.ok("run", "--rm", name, "wc", "-c", "/large")).toBe("2621440 /large");
      await engine.ok("logout", "127.0.0.1:5000");
    }
    breakAll();
    const unsure = await check("--repair");
    expect(unsure.code).toBe(1);
    const id = (await engine.ok("images", "-q", name)).slice(0, 12);
    expect(unsure.report.problems.filter(({ kind }) => kind === "layer").at(-1)!.next).toMatch(
      new RegExp(`^repair again: ${name} may have it, but .*connection refused; or remove ${id} \\(berth rmi -f\\)$`),
    );
    await using _empty = await engine.registry("--root", join(engine.root, "empty"));
    const { code, report } = await check("--repair");
    expect(code).toBe(0);
    expect(report.problems.at(-1)!).toMatchObject({ repaired: `removed, and with it ${name}:latest`, next: `pull, load or build ${name}:latest again` });
    expect(await engine.ok("images", "-q")).toBe("");
    expect((await check()).report.problems).toEqual([]);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("a layer that was here before its image came is fetched from where the image is, though images of a build's steps have it too", async () => {
    await using _registry = await engine.registry();
    await engine.ok("load", "-q", "-i", await busybox());
    const name = "127.0.0.1:5000/steps";
    const context = join(engine.root, "busybox-tree");
    writeFileSync(join(context, "Dockerfile"), "FROM busybox\nRUN dd if=/dev/urandom of=/below bs=64k count=8\nRUN true > /above\n");
    await engine.ok("build", "-q", "-t", name, context);
    await engine.ok("push", "-q", name);
    await engine.ok("rmi", "--no-prune", name);
    expect(await engine.ok("pull", name)).toContain("Already exists");
    const layers = readdirSync(join(engine.data, "snapshots")).map((id) => join(engine.data, "snapshots", id));
    for (const layer of layers) if (existsSync(join(layer, "below"))) rmSync(layer, { recursive: true });
    const { code, report } = await check("--repair");
    expect([code, report.problems.map(({ kind, repaired }) => [kind, repaired])]).toEqual([0, [["layer", `unpacked again from ${name}`]]]);
    expect(await engine.ok("run", "--rm", name, "wc", "-c", "/below")).toBe("524288 /below");
    await engine.ok("system", "prune", "-af");
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("a container whose own layer is gone is told of", async () => {
    await engine.ok("load", "-q", "-i", await busybox());
    const id = await engine.ok("create", "--name", "robbed", "busybox");
    const { UpperDir } = JSON.parse(await engine.ok("inspect", "-f", "{{json .GraphDriver.Data}}", id)) as { UpperDir: string };
    rmSync(UpperDir, { recursive: true });
    const { code, report } = await check("--quick");
    expect(code).toBe(1);
    expect(report.problems).toEqual([
      {
        kind: "container",
        id,
        images: [],
        problem: "container robbed has lost its writable layer",
        next: "remove it (berth rm -f robbed) and make it anew: it can't start",
      },
    ]);
    await engine.removeAll();
  });

  /** The suite's image was pruned by the first test: its archive. */
  async function busybox(): Promise<string> {
    const { busyboxArchive } = await import("../busybox-image.ts");
    const path = join(engine.root, "again.tar");
    writeFileSync(path, busyboxArchive("busybox"));
    return path;
  }
});
