import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckReport } from "../../src/images/check/types.ts";
import type { ImageRecord } from "../../src/images/types.ts";
import { tarOf, type TarHeaderInit } from "../../src/lib/tar-writer.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { busyboxArchive } from "../busybox-image.ts";
import { skipped } from "../skips.ts";
import { openStorage, streamOf, temporaryDirectory, whatIs, type Storage } from "./storage-fixture.ts";

type Entry = TarHeaderInit & { body?: Uint8Array | string };
const file = (name: string, body: Uint8Array | string = "x", more: Partial<Entry> = {}): Entry => ({ name, type: "file", body, ...more });

/** Layers with all that makes comparing hard: later entries that win, links, whiteouts, modes, a layer that leans on the one below. */
const layers = [
  tarOf([
    { name: "tmp", type: "directory", mode: 0o1777 },
    file("twice", "first"),
    file("twice", "second one"),
    file("dir/below", "gone soon"),
    { name: "dir", type: "symlink", linkName: "tmp" },
    { name: "hard", type: "hardlink", linkName: "twice" },
    file("set", "x", { mode: 0o4755, uid: 5, gid: 6 }),
    { name: "fifo", type: "fifo" },
    file("removed", "x"),
    file("big", new Uint8Array(700_000).fill(7)),
  ]),
  tarOf([file("tmp/x", "what is replaced, so that the blob is kept"), file("tmp/x", "leans"), file(".wh.removed"), file("empty", "")]),
];

function archive(name: string): Buffer {
  const config = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: layers.map((layer) => digestOf(layer)) },
    history: [],
  });
  const names = layers.map((_, i) => `${i}/layer.tar`);
  return tarOf([
    file("c.json", config),
    ...layers.map((layer, i) => file(names[i]!, layer)),
    file("manifest.json", JSON.stringify([{ Config: "c.json", RepoTags: [name], Layers: names }])),
  ]);
}

async function loaded(storage: Storage): Promise<ImageRecord> {
  await storage.images.load(streamOf(archive("image:1")), { onProgress: () => {} });
  return storage.images.resolve("image:1");
}

async function check({ images }: Storage, options: { repair?: boolean; quick?: boolean; signal?: AbortSignal } = {}): Promise<CheckReport> {
  return await images.check({ repair: false, quick: false, onProgress: () => {}, onProblem: () => {}, ...options });
}
const sentences = ({ problems }: CheckReport): string[] => problems.map(({ problem }) => problem);

describe.skipIf(skipped("root", "overlay"))("a check of what is stored", () => {
  test("finds nothing wrong where nothing is, whatever the layers hold", async () => {
    using temporary = temporaryDirectory("check");
    await using storage = openStorage(temporary.path);
    const image = await loaded(storage);
    await storage.images.load(streamOf(busyboxArchive("busybox")), { onProgress: () => {} });
    const { store, snapshots, images } = storage;
    const id = store.tx(() => snapshots.createActive());
    await snapshots.prepareActive(id, image.layers);
    writeFileSync(join(snapshots.path(id), "made"), "here");
    chmodSync(snapshots.path(id), 0o700);
    await snapshots.commit(id);
    await images.create({ parent: image, snapshot: id, config: { architecture: "amd64", os: "linux", config: {} }, reference: "made:1" });
    const report = await check(storage);
    expect(report.problems).toEqual([]);
    expect(report.checked).toMatchObject({ images: 3, layers: 4 });
    expect(report.checked.bytes).toBe(storage.content.list().reduce((sum, { size }) => sum + size, 0));
  });

  test("a layer that was changed, or lost its files, is unpacked again from its blob, leaning ones too", async () => {
    using temporary = temporaryDirectory("check");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const image = await loaded(storage);
    const [lower, upper] = image.layers.map((layer) => snapshots.path(layer));
    const before = [whatIs(lower!), whatIs(upper!)];
    const changes: [string, () => void, string][] = [
      ["bytes", () => writeFileSync(join(lower!, "twice"), "SECOND one"), "/twice has other bytes"],
      ["length", () => truncateSync(join(lower!, "big"), 5), "/big has 5 bytes instead of 700000"],
      ["mode", () => chmodSync(join(lower!, "set"), 0o755), "/set has another mode"],
      ["a file", () => rmSync(join(lower!, "fifo")), "/fifo is gone"],
      ["all of it", () => rmSync(lower!, { recursive: true }), "has lost its files"],
      ["what leans", () => rmSync(join(upper!, "tmp/x")), "/tmp/x is gone"],
    ];
    for (const [what, change, says] of changes) {
      change();
      const found = await check(storage);
      expect([what, sentences(found).join("\n")]).toEqual([what, expect.stringContaining(says)]);
      expect(found.problems[0]!.next).toContain("--repair");
      const mended = await check(storage, { repair: true });
      expect([what, mended.problems.map(({ repaired }) => repaired)]).toEqual([what, ["unpacked again"]]);
      expect((await check(storage)).problems).toEqual([]);
    }
    await snapshots.settled();
    expect([whatIs(lower!), whatIs(upper!)]).toEqual(before);
    expect(snapshots.inventory().length).toBe(2);
    expect(await snapshots.strays()).toEqual([]);
  });

  test("a layer without a blob is held against its recipe", async () => {
    using temporary = temporaryDirectory("check");
    await using storage = openStorage(temporary.path);
    const { content, snapshots, images } = storage;
    const make = async (): Promise<string> => {
      const tar = tarOf([file("f", "bytes"), file("set", "x", { mode: 0o4755 })]);
      const { layers: made } = await images.import(streamOf(tar), { reference: "imported:1", onProgress: () => {} });
      return snapshots.path(made[0]!);
    };
    const changes: [string, (tree: string) => void, string][] = [
      ["bytes", (tree) => writeFileSync(join(tree, "f"), "BYTES"), "its files have other bytes"],
      ["length", (tree) => truncateSync(join(tree, "f"), 1), '"f" isn\'t what it was'],
      ["mode", (tree) => chmodSync(join(tree, "set"), 0o755), "/set has another mode"],
      ["a file", (tree) => rmSync(join(tree, "f")), '"f" isn\'t what it was'],
      ["all of it", (tree) => rmSync(tree, { recursive: true }), "has lost its files"],
    ];
    for (const [what, change, says] of changes) {
      const tree = await make();
      expect([content.list().length, sentences(await check(storage))]).toEqual([1, []]);
      change(tree);
      expect([what, sentences(await check(storage)).join("\n")]).toEqual([what, expect.stringContaining(says)]);
      const [problem] = (await check(storage, { repair: true })).problems;
      expect([what, problem!.repaired]).toEqual([what, "removed, and with it imported:1"]);
      await snapshots.settled();
    }
  });

  test("a layer that can't be put back goes with its image, unless a container stands on it", async () => {
    using temporary = temporaryDirectory("check");
    const users: { id: string; name: string; running: boolean }[] = [{ id: "c".repeat(64), name: "/user", running: false }];
    await using storage = openStorage(temporary.path, { containersOf: () => users });
    const { content, snapshots, images } = storage;
    const image = await loaded(storage);
    rmSync(snapshots.path(image.layers[0]!), { recursive: true });
    for (const layer of layers) rmSync(content.path(digestOf(layer)));
    const used = await check(storage, { repair: true });
    expect(used.problems.map(({ kind, repaired }) => [kind, repaired])).toEqual([
      ["blob", "removed"],
      ["blob", "removed"],
      ["layer", undefined],
    ]);
    expect(used.problems.at(-1)!.next).toContain("remove user, which stand on it");
    users.length = 0;
    const { problems } = await check(storage, { repair: true });
    expect(problems[0]).toEqual({
      kind: "layer",
      id: image.layers[0]!,
      images: ["image:1"],
      problem: expect.any(String),
      repaired: "removed, and with it image:1",
      next: "pull, load or build image:1 again",
    });
    expect(await images.list()).toEqual([]);
    await loaded(storage);
    expect((await check(storage)).problems).toEqual([]);
  });

  test("a blob that was changed or is gone: a config is written again, another one goes and is told of", async () => {
    using temporary = temporaryDirectory("check");
    await using storage = openStorage(temporary.path);
    const { content } = storage;
    const image = await loaded(storage);
    const blob = digestOf(layers[1]!);
    const bytes = readFileSync(content.path(blob));
    bytes[1000] = 1;
    writeFileSync(content.path(blob), bytes);
    rmSync(content.path(image.id));
    expect(sentences(await check(storage, { quick: true }))).toEqual([`blob ${image.id} has lost its file`]);
    expect(sentences(await check(storage)).sort()).toEqual([`blob ${image.id} has lost its file`, `blob ${blob} has other bytes than its digest says`].sort());
    const { problems } = await check(storage, { repair: true });
    expect(new Map(problems.map(({ id, repaired }) => [id as Digest, repaired]))).toEqual(
      new Map([
        [image.id, "written again from the image's record"],
        [blob, "removed"],
      ]),
    );
    expect(content.info(blob)).toBeUndefined();
    await loaded(storage);
    expect((await check(storage)).problems).toEqual([]);
  });

  test("what nobody names is told of, and goes", async () => {
    using temporary = temporaryDirectory("check");
    await using storage = openStorage(temporary.path);
    await loaded(storage);
    writeFileSync(join(temporary.path, "content/blobs/sha256", "0".repeat(64)), "stray");
    mkdirSync(join(temporary.path, "snapshots/zzz"));
    const found = await check(storage);
    expect(found.problems.map(({ kind, id }) => [kind, id])).toEqual([
      ["file", `content/blobs/sha256/${"0".repeat(64)}`],
      ["file", "snapshots/zzz"],
    ]);
    await check(storage, { repair: true });
    expect((await check(storage)).problems).toEqual([]);
  });

  test("one at a time, and it ends when it is cancelled", async () => {
    using temporary = temporaryDirectory("check");
    await using storage = openStorage(temporary.path);
    await loaded(storage);
    const stop = new AbortController();
    const running = check(storage, { signal: stop.signal });
    expect(check(storage)).rejects.toThrow("under way");
    stop.abort();
    expect(running).rejects.toThrow("cancelled");
    await running.catch(() => {});
    expect((await check(storage)).problems).toEqual([]);
  });
});
