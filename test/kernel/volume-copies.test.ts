import { describe, expect, test } from "bun:test";
import { chownSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createEvents } from "../../src/events/events.ts";
import { silent } from "../../src/lib/log.ts";
import { tarOf } from "../../src/lib/tar-writer.ts";
import type { IdMap } from "../../src/oci/id-map.ts";
import { createPlugins } from "../../src/plugins/plugins.ts";
import { createVolumes } from "../../src/volumes/volumes.ts";
import { startPlugin } from "../plugin/start.ts";
import { outcome } from "../outcome.ts";
import { skipped } from "../skips.ts";
import { openStorage, temporaryDirectory, type Storage } from "./storage-fixture.ts";

const map: IdMap = { uids: [{ container: 0, host: 100_000, size: 65_536 }], gids: [{ container: 0, host: 200_000, size: 65_536 }] };

describe.skipIf(skipped("root"))("copies of volumes", () => {
  function open(
    place: string,
    options: { idMap?: IdMap; sockets?: string } = {},
  ): { storage: Storage; volumes: ReturnType<typeof createVolumes> } & AsyncDisposable {
    const root = join(place, "store");
    mkdirSync(root, { recursive: true });
    const storage = openStorage(root);
    const { store, snapshots } = storage;
    const { idMap, sockets } = options;
    const volumes = createVolumes({
      ...{ root: join(place, "volumes"), store, events: createEvents({ store, log: silent }), log: silent, trees: snapshots },
      ...(idMap !== undefined && { idMap }),
      ...(sockets !== undefined && { plugins: createPlugins({ folders: { sockets: sockets, specs: [] }, log: silent }) }),
    });
    return { storage, volumes, [Symbol.asyncDispose]: async () => await storage[Symbol.asyncDispose]() };
  }
  const owner = (path: string): string => `${lstatSync(path).uid}:${lstatSync(path).gid}`;

  test("a plugin's volume is copied while it is mounted; its name and files are the plugin's", async () => {
    using place = temporaryDirectory("copies");
    await using plugin = await startPlugin();
    await using lab = open(place.path, { sockets: plugin.folder });
    const { volumes } = lab;
    await volumes.create({ name: "remote", driver: "tested", labels: { a: "b" } });
    const path = await volumes.mount("remote", "c1");
    writeFileSync(join(path, "f"), "1");
    await volumes.unmount("remote", "c1");
    const copy = await volumes.clone("remote", "plain");
    expect(copy).toMatchObject({ name: "plain", driver: "local", labels: { a: "b" }, options: {} });
    expect(readFileSync(join(copy.mountpoint, "f"), "utf8")).toBe("1");
    let archive = 0;
    await volumes.exportTo("remote", {}, async (tar) => {
      for await (const chunk of tar) archive += chunk.length;
    });
    expect(archive).toBeGreaterThan(1024);
    expect(plugin.calls("VolumeDriver.Mount").length).toBe(3);
    expect(plugin.calls("VolumeDriver.Unmount").length).toBe(3);
    await expect(volumes.rename("remote", "other", () => {})).rejects.toThrow("volumes of driver tested have the names that it gives them");
    await expect(volumes.importFrom("remote", new Response("").body as never, { force: true })).rejects.toThrow(
      "import remote: its files are kept by driver tested",
    );
    await volumes.snapshot("plain", "before");
    await expect(volumes.restoreSnapshot("before", { to: "remote" })).rejects.toThrow("restore remote: its files are kept by driver tested");
    expect(volumes.get("remote").mountedFor).toEqual([]);
  });

  test("a plugin's mount for a copy of an engine that died is given back by the next", async () => {
    using place = temporaryDirectory("copies");
    await using plugin = await startPlugin();
    {
      await using lab = open(place.path, { sockets: plugin.folder });
      await lab.volumes.create({ name: "remote", driver: "tested" });
      await lab.volumes.mount("remote", "copy of an engine that died");
    }
    await using lab = open(place.path, { sockets: plugin.folder });
    await lab.volumes.restore();
    await lab.volumes.settle();
    for (let i = 0; i < 200 && plugin.calls("VolumeDriver.Unmount").length === 0; i++) await Bun.sleep(10);
    expect(plugin.calls("VolumeDriver.Unmount").length).toBe(1);
    expect(lab.volumes.get("remote").mountedFor).toEqual([]);
  });

  test("archives of volumes with other ids have those that containers know", async () => {
    using place = temporaryDirectory("copies");
    await using lab = open(place.path, { idMap: map });
    const { volumes } = lab;
    const { mountpoint } = await volumes.create({ name: "mapped" });
    writeFileSync(join(mountpoint, "f"), "1");
    chownSync(join(mountpoint, "f"), 100_005, 200_006);
    const chunks: Uint8Array[] = [];
    await volumes.exportTo("mapped", {}, async (tar) => {
      for await (const chunk of tar) chunks.push(chunk);
    });
    const archive = Buffer.concat(chunks);
    const listed = Bun.spawnSync(["tar", "--numeric-owner", "-tvf", "-"], { stdin: archive }).stdout.toString();
    expect(listed).toMatch(/ 0\/0 .* \.\/\n.* 5\/6 .* \.\/f\n/);
    const back = await volumes.importFrom("back", new Response(archive).body as never, {});
    expect([owner(back.mountpoint), owner(join(back.mountpoint, "f"))]).toEqual(["100000:200000", "100005:200006"]);
    const copy = await volumes.clone("mapped", "copy");
    expect([owner(copy.mountpoint), owner(join(copy.mountpoint, "f")), copy.idMap]).toEqual(["100000:200000", "100005:200006", map]);
  });

  test("without force an import takes no file away, also none that comes while the archive does", async () => {
    using place = temporaryDirectory("copies");
    await using lab = open(place.path);
    const { volumes } = lab;
    const { mountpoint } = await volumes.create({ name: "data" });
    const archive = tarOf([{ name: "f", type: "file", body: "of the archive" }]);
    const late = new ReadableStream<Uint8Array>(
      {
        pull: (out) => {
          writeFileSync(join(mountpoint, "mine"), "1");
          out.enqueue(archive);
          out.close();
        },
      },
      { highWaterMark: 0 },
    );
    expect(await outcome(volumes.importFrom("data", late, {}))).toThrow("import data: the volume isn't empty; with force (--force) what is in it is replaced");
    expect(readdirSync(mountpoint)).toEqual(["mine"]);
    rmSync(mountpoint, { recursive: true });
    expect(await outcome(volumes.importFrom("data", new Response(archive).body as never, {}))).toThrow(
      "it is gone: somebody removed the directory of volume data",
    );
  });

  test("what is being copied stays, under its name", async () => {
    using place = temporaryDirectory("copies");
    await using lab = open(place.path);
    const { volumes } = lab;
    await volumes.create({ name: "data" });
    await volumes.exportTo("data", {}, async () => {
      await expect(volumes.remove("data")).rejects.toThrow("remove data: volume is in use - [its files are being copied]");
      await expect(volumes.rename("data", "other", () => {})).rejects.toThrow("rename data: volume is in use");
      await expect(volumes.importFrom("data", new Response("").body as never, {})).rejects.toThrow("import data: volume is in use");
      expect((await volumes.prune({ all: true })).deleted).toEqual([]);
    });
    await volumes.remove("data");
  });
});
