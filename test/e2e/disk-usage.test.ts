import { describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { busyboxArchive } from "../busybox-image.ts";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { Engine, suiteEngine } from "./harness.ts";

interface Usage {
  ImageUsage: {
    ActiveCount: number;
    TotalCount: number;
    Reclaimable: number;
    TotalSize: number;
    BlobsSize: number;
    Items: { RepoTags: string[]; Size: number; SharedSize: number; Containers: number }[];
  };
  VolumeUsage: {
    ActiveCount: number;
    TotalCount: number;
    Reclaimable: number;
    TotalSize: number;
    Items: { Name: string; UsageData: { Size: number; RefCount: number } }[];
  };
  BuildCacheUsage: {
    TotalCount: number;
    Reclaimable: number;
    TotalSize: number;
    Items: { ID: string; Parents?: string[]; Shared: boolean; InUse: boolean; Size: number; LastUsedAt: string }[];
  };
}

describe.skipIf(skipped("root", "overlay", "docker"))("disk usage", () => {
  const engine = suiteEngine();
  const usage = async (): Promise<Usage> => (await (await engine.api("GET", "/v1.52/system/df?verbose=1")).json()) as Usage;
  const build = async (tag: string, ...steps: string[]): Promise<void> => {
    const context = join(engine.root, "busybox-tree");
    writeFileSync(join(context, "Dockerfile"), `FROM busybox\n${steps.join("\n")}\n`);
    await engine.docker(["build", "-q", "-t", tag, context]);
  };
  const write = (name: string): string => `RUN dd if=/dev/zero of=/${name} bs=1024 count=1000`;
  const bytes = 1_024_000;

  test("images share, the cache has its own, and the sums are what goes", async () => {
    await build("one", write("common"), write("one"));
    await build("two", write("common"), write("two"));
    await build("failed", write("lost"), "RUN false");
    await engine.ok("run", "--name", "user", "one", "true");
    const { ImageUsage: images, BuildCacheUsage: cache } = await usage();
    const own = new Map(images.Items.map(({ RepoTags, Size, SharedSize, Containers }) => [RepoTags[0], { own: Size - SharedSize, Containers }]));
    expect(own.get("one:latest")!.own).toBe(bytes);
    expect([...own.keys()].sort()).toEqual(["busybox:latest", "one:latest", "two:latest"]);
    expect(own.get("one:latest")!.Containers).toBe(1);
    expect(images.Reclaimable).toBe(bytes);
    expect([cache.TotalCount, cache.Reclaimable, cache.TotalSize]).toEqual([4, bytes, bytes]);
    expect(cache.Items.filter(({ Shared }) => !Shared).map(({ Size }) => Size)).toEqual([bytes]);
    const table = await engine.ok("system", "df");
    expect(table).toMatch(/Images +3 +1 +\d/);
    expect(table).toMatch(/Build Cache +4 +\d +1\.024MB +/);
    expect(await engine.ok("system", "df", "-v")).toMatch(/[0-9a-f]{12} +regular +1\.02MB +\d+ seconds? ago|Less than a second ago/);
    expect(images.BlobsSize).toBeGreaterThan(1000);
    const berth = await engine.berth(["system", "df", "-v"]);
    expect(berth.stdout).toContain("Build cache usage: 1.024MB");
    expect(berth.stdout).toMatch(/\nBlobs kept beside them, for push and save: [\d.]+kB\n/);

    await engine.ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "elsewhere");
    await engine.ok("run", "--rm", "-v", "sized:/x", "busybox", "sh", "-c", "dd if=/dev/zero of=/x/f bs=1000 count=5; ln /x/f /x/g; mkdir /x/d");
    await engine.ok("create", "--name", "sizer", "-v", "sized:/x", "-v", "vanished:/y", "busybox");
    rmSync(join(engine.data, "volumes/vanished"), { recursive: true });
    const { VolumeUsage: volumes } = await usage();
    const sizes = volumes.Items.map(({ Name, UsageData: { Size, RefCount } }) => [Name, Size, RefCount]);
    expect(sizes).toEqual([
      ["sized", 5000, 1],
      ["vanished", -1, 1],
    ]);
    expect(volumes).toMatchObject({ TotalSize: 5000, Reclaimable: 0, ActiveCount: 2, TotalCount: 2 });
    expect(await engine.ok("system", "df", "-v")).toMatch(/\nsized +1 +5kB\n/);
    await engine.ok("rm", "sizer");
    await engine.ok("volume", "rm", "sized", "vanished", "elsewhere");

    const pruned = await engine.ok("builder", "prune", "-f");
    expect(pruned).toMatch(/Total( reclaimed space)?:\s+1\.024MB/);
    expect((await usage()).BuildCacheUsage.TotalCount).toBe(3);
    await build("two", write("common"), write("two"));
    expect((await engine.berth(["builder", "prune", "-af", "--reserved-space", "1gb"])).stdout).toContain("Total:\t0B");
    expect((await engine.berth(["builder", "prune", "-af"])).code).toBe(0);
    expect((await usage()).BuildCacheUsage.TotalCount).toBe(0);
    const before = (await usage()).ImageUsage;
    expect(await engine.ok("image", "prune", "-af")).toContain("Total reclaimed space:");
    const after = (await usage()).ImageUsage;
    expect([after.TotalCount, before.TotalSize - after.TotalSize]).toEqual([1, before.Reclaimable]);
    await engine.removeAll();
    await engine.ok("system", "prune", "-af");
    expect((await usage()).ImageUsage).toMatchObject({ TotalCount: 0, TotalSize: 0 });
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("parameters that are none are refused", async () => {
    for (const query of [
      "reserved-space=x",
      "max-used-space=-1",
      `filters={"colour":["red"]}`,
      `filters={"until":["1h"],"unused-for":["1h"]}`,
      `filters={"id":["a","b"]}`,
    ]) {
      expect([query, (await engine.api("POST", `/v1.48/build/prune?${encodeURI(query)}`)).status]).toEqual([query, 400]);
    }
  });
});

test.skipIf(skipped("root", "overlay", "docker"))("an engine with a budget removes what nobody uses, and keeps to what it was told", async () => {
  await using engine = await Engine.start(["--image-gc-high-watermark", "1", "--image-gc-min-age", "0s", "--image-gc-keep", "kept*"]);
  for (const name of ["kept", "used", "free"]) {
    writeFileSync(join(engine.root, `${name}.tar`), busyboxArchive(name, { kind: name }));
    await engine.ok("load", "-q", "-i", join(engine.root, `${name}.tar`));
  }
  await engine.ok("create", "used", "true");
  for (let i = 0; i < 100 && (await engine.ok("images", "-q", "free")) !== ""; i++) await Bun.sleep(100);
  expect((await engine.ok("images", "--format", "{{.Repository}}")).split("\n").sort()).toEqual(["kept", "used"]);
  expect(engine.log()).toContain("removed an image to stay within the budget");
  await engine.removeAll();
  expect(await lastingInconsistencies(engine)).toEqual([]);
});
