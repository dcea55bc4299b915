import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { kindOf, messageOf } from "../../src/lib/errors.ts";
import { encodeHeader, tarOf, type TarHeaderInit } from "../../src/lib/tar-writer.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { skipped } from "../skips.ts";
import { openStorage, streamOf, temporaryDirectory } from "./storage-fixture.ts";

/** Layers' tars that are made again from their trees, bit by bit, whoever wrote them. */

type Entry = TarHeaderInit & { body?: Uint8Array | string };
const file = (name: string, body: Uint8Array | string = "x"): Entry => ({ name, type: "file", body });
const bytesOf = async (stream: ReadableStream<Uint8Array>): Promise<Buffer> => Buffer.from(await new Response(stream as never).bytes());

/** A header with fields that our own writer never writes. */
function strange(header: TarHeaderInit, change: (block: Buffer) => void): Buffer {
  const block = encodeHeader(header);
  change(block);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((all, byte) => all + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

const noise = crypto.getRandomValues(new Uint8Array(65536));
const big = Buffer.concat(Array.from({ length: 20 }, () => noise));
const zeros = Buffer.alloc(1024);
const archives: [what: string, tar: Buffer][] = [
  ["nothing", zeros],
  [
    "all kinds",
    tarOf([
      { name: "./", type: "directory" },
      { name: "d/", type: "directory" },
      file("d/f", big),
      file("d/empty", ""),
      { name: "d/l", type: "symlink", linkName: "f" },
      { name: "h", type: "hardlink", linkName: "d/f" },
      { name: "p", type: "fifo" },
      { name: "c", type: "char", major: 1, minor: 3 },
      { ...file("caps"), xattrs: new Map([["user.x", Buffer.from("y")]]), mtime: { seconds: 5, nanoseconds: 5 } },
      file(`${"long/".repeat(40)}name`),
      file("\xff\xfe"),
    ]),
  ],
  [
    "names that are no paths of ours",
    tarOf([file("/abs"), file("./dot"), file("a//b"), file("x/../y"), { name: "s", type: "symlink", linkName: "a" }, file("s/through")]),
  ],
  ["whiteouts, with a body that nobody wants", tarOf([file(".wh.gone", "body"), file("d/.wh..wh..opq", ""), file(".wh..wh.plnk", "z")])],
  ["no end, and no padding", Buffer.concat([tarOf([file("a"), file("b")]).subarray(0, -1024 - 511)])],
  ["a long tail", Buffer.concat([tarOf([file("a")]), Buffer.alloc(500_000), noise])],
  [
    "version 7, with an owner's name and rubbish after a name",
    Buffer.concat([
      strange({ name: "old", type: "file", size: 3 }, (block) => {
        block.fill(0, 257, 265);
        block.write("rubbish", 4, "latin1");
        block.write("somebody", 265, "latin1");
        block.fill(0, 156, 157);
      }),
      Buffer.from("abc"),
      Buffer.alloc(509),
      zeros,
    ]),
  ],
  ["padding that isn't zeros", Buffer.concat([encodeHeader({ name: "f", type: "file", size: 1 }), Buffer.alloc(512, "x"), zeros])],
  ["thousands of files", tarOf(Array.from({ length: 3000 }, (_, i) => file(`d${i % 7}/f${i}`, `${i}`.repeat(i % 50))))],
];

describe.skipIf(skipped("root"))("made again bit by bit", () => {
  for (const [what, tar] of archives) {
    test(what, async () => {
      using temporary = temporaryDirectory("recipe");
      await using storage = openStorage(temporary.path);
      const { snapshots } = storage;
      for (const source of [tar, gzipSync(tar)]) {
        const { snapshot, diffId } = await snapshots.unpack({ source: streamOf(source), parentIds: [], parents: [], recipe: true });
        expect([diffId, snapshots.recipe(snapshot)]).toEqual([digestOf(tar), join(snapshots.root, ".tars", snapshot)]);
        expect((await bytesOf(snapshots.diffTar(snapshot, { expect: diffId }))).equals(tar)).toBe(true);
        await snapshots.remove(snapshot);
        await snapshots.settled();
        expect(readdirSync(join(snapshots.root, ".tars"))).toEqual([]);
      }
    });
  }

  test("a layer that leans on its parents", async () => {
    using temporary = temporaryDirectory("recipe");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const below = await snapshots.unpack({
      source: streamOf(tarOf([{ name: "d", type: "directory", mode: 0o700 }, file("d/f", "below")])),
      parentIds: [],
      parents: [],
    });
    const tar = tarOf([{ name: "h", type: "hardlink", linkName: "d/f" }, file("d/g", "own")]);
    const parents = { parentIds: [below.diffId], parents: [below.snapshot] };
    const { snapshot, diffId } = await snapshots.unpack({ source: streamOf(tar), ...parents, recipe: true });
    expect((await bytesOf(snapshots.diffTar(snapshot, { expect: diffId }))).equals(tar)).toBe(true);
  });

  for (const [what, entries] of [
    ["a file twice", [file("f", "one"), file("f", "two")]],
    ["a file, and a whiteout of it", [file("f", "one"), file(".wh.f", "")]],
    ["a file in the place of a link", [file("a"), { name: "l", type: "symlink", linkName: "a" }, file("l", "own")]],
  ] as [string, Entry[]][]) {
    test(`not of ${what}: its blob is kept`, async () => {
      using temporary = temporaryDirectory("recipe");
      await using storage = openStorage(temporary.path);
      const { snapshots, images, content } = storage;
      const tar = tarOf(entries);
      const { config, layers } = await images.import(streamOf(tar), { reference: "r:1", onProgress: () => {} });
      expect(snapshots.recipe(layers[0]!)).toBeUndefined();
      expect(content.info(config.rootfs.diff_ids[0]!)?.size).toBe(tar.length);
      const saved = await bytesOf(await images.save(["r:1"]));
      expect(saved.includes(tar)).toBe(true);
    });
  }

  test("a tree that was changed, and a recipe that is damaged, are told", async () => {
    using temporary = temporaryDirectory("recipe");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const { snapshot, diffId } = await snapshots.unpack({
      source: streamOf(tarOf([file("d/f", "text"), file("g", big)])),
      parentIds: [],
      parents: [],
      recipe: true,
    });
    const failure = async (): Promise<string> =>
      await bytesOf(snapshots.diffTar(snapshot, { expect: diffId })).then(
        () => "none",
        (error: unknown) => `${kindOf(error)}: ${messageOf(error)}`,
      );
    const tree = snapshots.path(snapshot);
    writeFileSync(join(tree, "d/f"), "TEXT");
    expect(await failure()).toMatch(/^internal: layer sha256:\w+ came out of its snapshot as sha256:\w+/);
    writeFileSync(join(tree, "d/f"), "t");
    expect(await failure()).toMatch(/the layer's file "d\/f" isn't what it was/);
    rmSync(join(tree, "d"), { recursive: true });
    mkdirSync(join(temporary.path, "outside"));
    writeFileSync(join(temporary.path, "outside/f"), "text");
    symlinkSync(join(temporary.path, "outside"), join(tree, "d"));
    expect(await failure()).toMatch(/the layer's file "d\/f" isn't what it was/);
    const recipe = join(snapshots.root, ".tars", snapshot);
    writeFileSync(recipe, Buffer.from([9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    expect(await failure()).toMatch(/the recipe of a layer's tar is damaged/);
    writeFileSync(recipe, Buffer.from([255, 255, 255, 255]));
    expect(await failure()).toMatch(/the recipe of a layer's tar is damaged/);
  });

  test("one that no layer has goes at the next start", async () => {
    using temporary = temporaryDirectory("recipe");
    const tars = join(temporary.path, "snapshots/.tars");
    let kept = "";
    {
      await using storage = openStorage(temporary.path);
      kept = (await storage.images.import(streamOf(tarOf([file("f")])), { reference: "r:1", onProgress: () => {} })).layers[0]!;
      writeFileSync(join(tars, "zz"), "stray");
    }
    await using storage = openStorage(temporary.path);
    await storage.restore();
    expect(readdirSync(tars)).toEqual([kept]);
    expect(existsSync(storage.snapshots.path(kept as never))).toBe(true);
  });

  test("images of one archive that share their layers, one of which leans", async () => {
    using temporary = temporaryDirectory("recipe");
    await using storage = openStorage(temporary.path);
    const { images, content } = storage;
    const shared = tarOf([{ name: "d/h", type: "hardlink", linkName: "f" }]);
    const layers = [
      tarOf([file("f", "one"), { name: "d", type: "directory", mode: 0o700 }]),
      tarOf([file("f", "two"), { name: "d", type: "directory", mode: 0o755 }]),
    ];
    const config = (below: Buffer): string =>
      JSON.stringify({ os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids: [digestOf(below), digestOf(shared)] } });
    const list = layers.map((_, i) => ({ Config: `c${i}.json`, RepoTags: [`image:${i}`], Layers: [`l${i}.tar`, "shared.tar"] }));
    const archive = tarOf([
      file("shared.tar", shared),
      ...layers.flatMap((layer, i) => [file(`l${i}.tar`, layer), file(`c${i}.json`, config(layer))]),
      file("manifest.json", JSON.stringify(list)),
    ]);
    await images.load(streamOf(archive), { onProgress: () => {} });
    expect(content.list().length).toBe(2);
    const [zero, one] = [images.resolve("image:0"), images.resolve("image:1")];
    expect(zero.layers[1]).not.toBe(one.layers[1]);
    const saved = await bytesOf(await images.save(["image:0", "image:1"]));
    for (const layer of [shared, ...layers]) expect(saved.includes(layer)).toBe(true);
  });
});
