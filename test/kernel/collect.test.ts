import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ImageUsers } from "../../src/images/types.ts";
import { silent } from "../../src/lib/log.ts";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { createCollection, type Amount, type CollectorSettings } from "../../src/system/collector.ts";
import { skipped } from "../skips.ts";
import { openStorage, streamOf, temporaryDirectory, type Storage } from "./storage-fixture.ts";

const mebibyte = 1 << 20;

/** docker save's archive of an image whose layers each hold one file with so many bytes. */
function archive(name: string | null, layers: readonly { file: string; bytes: number }[], labels: Record<string, string> = {}): Buffer {
  const tars = layers.map(({ file, bytes }) => tarOf([{ name: file, type: "file", body: new Uint8Array(bytes).fill(file.charCodeAt(0)) }]));
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    config: { Labels: labels },
    rootfs: { type: "layers", diff_ids: tars.map((tar) => digestOf(tar)) },
  });
  const names = tars.map((_, i) => `${i}/layer.tar`);
  return tarOf([
    { name: "c.json", type: "file", body: config },
    ...tars.map((body, i) => ({ name: names[i]!, type: "file" as const, body })),
    { name: "manifest.json", type: "file", body: JSON.stringify([{ Config: "c.json", RepoTags: name === null ? null : [name], Layers: names }]) },
  ]);
}

const load = async ({ images }: Storage, bytes: Uint8Array): Promise<void> => await images.load(streamOf(bytes), { onProgress: () => {} });
const names = async ({ images }: Storage): Promise<string[]> => (await images.list()).map(({ repoTags, id }) => repoTags[0] ?? id).sort();

/** Uses of images in the past, in milliseconds before now. */
function usedBefore({ images, store }: Storage, ages: Record<string, number>): void {
  images.writeUses();
  for (const [name, age] of Object.entries(ages)) {
    store.db.query("UPDATE image_uses SET used_at = ? WHERE image = ?").run(Date.now() - age, images.resolve(name).id);
  }
}

describe.skipIf(skipped("root", "overlay"))("what is stored", () => {
  test("an image that shares 32 layers with another costs its last one: in bytes, in files, and in work", async () => {
    using temporary = temporaryDirectory("collect");
    await using storage = openStorage(temporary.path);
    const { images, snapshots } = storage;
    const common = Array.from({ length: 32 }, (_, i) => ({ file: `f${i}`, bytes: 10_000 }));
    await load(storage, archive("one:1", [...common, { file: "own1", bytes: 5000 }]));
    const [before, layers] = [images.storedBytes(), snapshots.layers()];
    await load(storage, archive("two:1", [...common, { file: "own2", bytes: 6000 }]));
    // the layer, whose tar can be made again, and the config
    const { size: config } = storage.content.info(images.resolve("two:1").id)!;
    expect(images.storedBytes() - before).toBe(6000 + config);
    const fresh = snapshots.layers().filter(({ id }) => !layers.some((each) => each.id === id));
    expect(fresh.map(({ size }) => size)).toEqual([6000]);
    // ids are given in order: nothing else was unpacked and thrown away
    expect(Math.max(...snapshots.layers().map(({ id }) => parseInt(id, 36)))).toBe(34);
    const usage = await images.diskUsage(await images.list());
    expect(["one:1", "two:1"].map((name) => usage.shared.get(images.resolve(name).id))).toEqual([320_000, 320_000]);
    expect(usage).toMatchObject({ layers: 331_000, reclaimable: 331_000, blobs: images.storedBytes() - 331_000 });
  });

  test("a committed layer has neither digest nor blob, and others stand on it", async () => {
    using temporary = temporaryDirectory("collect");
    await using storage = openStorage(temporary.path);
    const { snapshots, store, content } = storage;
    const first = store.tx(() => snapshots.createActive());
    await snapshots.prepareActive(first, []);
    await snapshots.commit(first);
    const second = store.tx(() => snapshots.createActive());
    await snapshots.prepareActive(second, [first]);
    await snapshots.commit(second);
    expect([first, second].map((id) => snapshots.diffIdOf(id))).toEqual([undefined, undefined]);
    expect(content.list()).toEqual([]);
    expect(snapshots.layers().map(({ id }) => id)).toEqual([first, second]);
  });

  test("images go in the order of their last use, until the budget is met; those in use, kept and young stay", async () => {
    using temporary = temporaryDirectory("collect");
    const inUse = new Set<string>();
    const users: ImageUsers = { containersOf: (image) => (inUse.has(image) ? [{ id: "c", name: "c", running: false }] : []) };
    await using storage = openStorage(temporary.path, users);
    const { images } = storage;
    for (const name of ["a:1", "b:1", "c:1", "d:1", "e:1"]) await load(storage, archive(name, [{ file: name[0]!, bytes: mebibyte }]));
    await load(storage, archive(null, [{ file: "z", bytes: mebibyte }]));
    images.tag("b:1", "other/b:2");
    const hour = 3_600_000;
    usedBefore(storage, { "a:1": 5 * hour, "b:1": 9 * hour, "c:1": 8 * hour, "d:1": 7 * hour, "e:1": hour / 2 });
    inUse.add(images.resolve("c:1").id);
    const keep = ["d"];
    expect((await images.collect({ bytes: 1.5 * mebibyte, unusedFor: hour, keep })).removed).toEqual(["b:1", "a:1"]);
    const { removed, freed } = await images.collect({ bytes: 100 * mebibyte, unusedFor: hour, keep });
    expect([removed, freed]).toEqual([[], 0]);
    expect(await names(storage)).toEqual(["c:1", "d:1", "e:1", expect.stringMatching(/^sha256:/)]);
    inUse.clear();
    expect((await images.collect({ bytes: 100 * mebibyte, unusedFor: 0, keep: [] })).removed.slice(0, 2)).toEqual(["c:1", "d:1"]);
    expect(await names(storage)).toEqual([]);
  });

  test("what an image was built on keeps its name for as long as that image is there", async () => {
    using temporary = temporaryDirectory("collect");
    await using storage = openStorage(temporary.path);
    const { images, snapshots, store } = storage;
    await load(storage, archive("base:1", [{ file: "a", bytes: mebibyte }]));
    const parent = images.resolve("base:1");
    const snapshot = store.tx(() => snapshots.createActive());
    await snapshots.prepareActive(snapshot, parent.layers);
    writeFileSync(join(snapshots.path(snapshot), "b"), new Uint8Array(mebibyte).fill(98));
    await snapshots.commit(snapshot);
    await images.create({ parent, snapshot, config: { architecture: "amd64", os: "linux", config: {} }, reference: "child:1" });
    usedBefore(storage, { "base:1": 9000, "child:1": 10 });
    expect((await images.collect({ bytes: 1, unusedFor: 5000, keep: [] })).removed).toEqual([]);
    expect(await names(storage)).toEqual(["base:1", "child:1"]);
    expect((await images.collect({ bytes: 1, unusedFor: 0, keep: [] })).removed).toEqual(["child:1"]);
    expect(await names(storage)).toEqual(["base:1"]);
    expect((await images.collect({ bytes: 1, unusedFor: 0, keep: [] })).removed).toEqual(["base:1"]);
  });

  test("uses are written together, and outlive the engine", async () => {
    using temporary = temporaryDirectory("collect");
    {
      await using storage = openStorage(temporary.path);
      await load(storage, archive("a:1", [{ file: "a", bytes: 10 }]));
      await load(storage, archive("b:1", [{ file: "b", bytes: 10 }]));
      usedBefore(storage, { "a:1": 1000, "b:1": 2000 });
      storage.images.lease(storage.images.resolve("b:1"))[Symbol.dispose]();
      const written = (): number =>
        storage.store.db.query<{ used_at: number }, []>("SELECT used_at FROM image_uses ORDER BY used_at DESC LIMIT 1").get()!.used_at;
      const before = written();
      storage.images.writeUses();
      expect(written()).toBeGreaterThan(before);
    }
    await using storage = openStorage(temporary.path);
    expect((await storage.images.collect({ bytes: 1, unusedFor: 0, keep: [] })).removed).toEqual(["a:1"]);
  });

  test("the collector: nothing without a budget; above the high watermark down to the low one", async () => {
    using temporary = temporaryDirectory("collect");
    await using storage = openStorage(temporary.path);
    const { images, snapshots } = storage;
    for (const name of ["a:1", "b:1", "c:1"]) await load(storage, archive(name, [{ file: name[0]!, bytes: mebibyte }]));
    usedBefore(storage, { "a:1": 3000, "b:1": 2000, "c:1": 1000 });
    const settings: { -readonly [K in keyof CollectorSettings]: CollectorSettings[K] } = {
      imageGcHigh: undefined,
      imageGcLow: undefined,
      imageGcMinAge: 0,
      imageGcKeep: [],
      buildCacheRules: [],
    };
    const builder = { cache: async () => [], collectCache: async () => ({ deleted: [], spaceReclaimed: 0 }) };
    let standing: { imageId: Digest }[] = [];
    const collect = createCollection({
      images,
      builder,
      containers: { list: () => standing as never },
      snapshots,
      dataRoot: temporary.path,
      settings,
      log: silent,
    });
    const after = async (high: Amount | undefined, low: Amount | undefined = high): Promise<string[]> => {
      Object.assign(settings, { imageGcHigh: high, imageGcLow: low });
      await collect();
      return await names(storage);
    };
    expect(await after(undefined)).toEqual(["a:1", "b:1", "c:1"]);
    // the last container that stood on it goes
    standing = [{ imageId: images.resolve("a:1").id }];
    await collect();
    standing = [];
    expect(await after({ bytes: 10 * mebibyte })).toEqual(["a:1", "b:1", "c:1"]);
    expect(await after({ bytes: 2.5 * mebibyte }, { bytes: 2.2 * mebibyte })).toEqual(["a:1", "c:1"]);
    expect(await after({ percent: 100 })).toEqual(["a:1", "c:1"]);
    expect(await after({ percent: 1e-9 })).toEqual([]);
    expect(await snapshots.strays()).toEqual([]);
  });
});
