import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Ingest } from "../../src/content/types.ts";
import { cancelled, EngineError } from "../../src/lib/errors.ts";
import { tarOf, type TarHeaderInit } from "../../src/lib/tar-writer.ts";
import { nextTurn } from "../../src/lib/turns.ts";
import { chainId } from "../../src/oci/chain.ts";
import { digestOf, hexOf, type Digest } from "../../src/oci/digest.ts";
import { mediaTypes, type ImageConfig } from "../../src/oci/image.ts";
import { platformOf } from "../../src/oci/platform.ts";
import type { ImageUsers, ProgressMessage } from "../../src/images/types.ts";
import { members } from "../members.ts";
import { countRounds } from "../rounds.ts";
import { skipped } from "../skips.ts";
import { openStorage, streamOf, temporaryDirectory, whatIs, type Storage } from "./storage-fixture.ts";

type Entry = TarHeaderInit & { body?: Uint8Array | string };
const file = (name: string, body: Uint8Array | string = "x", more: Partial<Entry> = {}): Entry => ({ name, type: "file", body, ...more });

const base = tarOf([{ name: "tmp", type: "directory", mode: 0o1777 }, file("a", "base")]);
const top = tarOf([file("tmp/x", "top"), file("b")]);
const diffIds = [digestOf(base), digestOf(top)];

function configOf(ids: readonly Digest[], more: Partial<ImageConfig> = {}): string {
  return JSON.stringify({
    architecture: "amd64",
    os: "linux",
    created: "2024-01-01T00:00:00Z",
    config: { Cmd: ["run"], Labels: { kind: "test" } },
    rootfs: { type: "layers", diff_ids: ids },
    history: ids.map((_, i) => ({ created: "2024-01-01T00:00:00Z", created_by: `step ${i}` })),
    ...more,
  });
}

const config = configOf(diffIds);
const imageId = digestOf(config);

/** docker save before 25. */
function oldArchive(tags: string[] | null = ["foo:1"], more: { layers?: Uint8Array[]; config?: string } = {}): Buffer {
  const layers = more.layers ?? [base, top];
  const text = more.config ?? config;
  return tarOf([
    file("c.json", text),
    ...layers.flatMap((layer, i) => [{ name: `${i}/`, type: "directory" as const }, file(`${i}/VERSION`, "1.0"), file(`${i}/layer.tar`, layer)]),
    file("manifest.json", JSON.stringify([{ Config: "c.json", RepoTags: tags, Layers: layers.map((_, i) => `${i}/layer.tar`) }])),
    file("repositories", "{}"),
  ]);
}

/** An OCI layout as skopeo or buildx write it. */
function ociLayout(annotations: Record<string, string> | undefined, nested = false): { archive: Buffer; manifest: Digest } {
  const blobs = new Map<Digest, Uint8Array | string>();
  const add = (bytes: Uint8Array | string, mediaType: string) => {
    const digest = digestOf(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: Buffer.from(bytes as string).length };
  };
  const layers = [add(Bun.gzipSync(base as never), mediaTypes.ociLayerGzip), add(Bun.zstdCompressSync(top as never), mediaTypes.ociLayerZstd)];
  const manifest = add(
    JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: add(config, mediaTypes.ociConfig), layers }),
    mediaTypes.ociManifest,
  );
  const missing = { ...manifest, digest: digestOf("elsewhere"), platform: { os: "linux", architecture: "s390x" } };
  const entry = nested
    ? add(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: mediaTypes.ociIndex,
          manifests: [missing, { ...manifest, platform: { os: "linux", architecture: "amd64" } }],
        }),
        mediaTypes.ociIndex,
      )
    : manifest;
  const archive = tarOf([
    file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`),
    file("index.json", JSON.stringify({ schemaVersion: 2, manifests: [{ ...entry, ...(annotations === undefined ? {} : { annotations }) }] })),
    ...[...blobs].map(([digest, bytes]) => file(`blobs/sha256/${hexOf(digest)}`, bytes)),
  ]);
  return { archive, manifest: manifest.digest };
}

function manifestArchive(manifest: unknown): Buffer {
  const text = JSON.stringify(manifest);
  const digest = digestOf(text);
  return tarOf([
    file("index.json", JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: mediaTypes.ociManifest, digest, size: text.length }] })),
    file(`blobs/sha256/${hexOf(digest)}`, text),
  ]);
}

async function load({ images }: Storage, bytes: Uint8Array, quiet = false): Promise<ProgressMessage[]> {
  const messages: ProgressMessage[] = [];
  await images.load(streamOf(bytes), { onProgress: (message) => void messages.push(message), quiet });
  return messages;
}

const streams = (messages: readonly ProgressMessage[]): string[] => messages.flatMap((message) => message.stream ?? []);

async function save({ images }: Storage, ...names: string[]): Promise<Buffer> {
  return Buffer.from(await new Response((await images.save(names)) as never).bytes());
}

async function failure(work: () => unknown): Promise<{ kind: string; message: string }> {
  try {
    await work();
  } catch (error) {
    if (error instanceof EngineError) return { kind: error.kind, message: error.message };
    throw error;
  }
  return { kind: "none", message: "" };
}

/** An archive as it comes, up to the entry that says what is what. */
function undescribed(archive: Buffer): { source: ReadableStream<Uint8Array>; controller: ReadableStreamDefaultController<Uint8Array> } {
  let controller: ReadableStreamDefaultController<Uint8Array>;
  const source = new ReadableStream<Uint8Array>({ start: (own) => void (controller = own) });
  controller!.enqueue(archive.subarray(0, archive.indexOf("manifest.json")));
  return { source, controller: controller! };
}

/** Whether there is a snapshot, whole or not, with that file. */
const isUnpacked = ({ snapshots }: Storage, name: string): boolean => readdirSync(snapshots.root).some((each) => existsSync(join(snapshots.root, each, name)));

/** A layer on top of an image, with the file `name`, or with no change. */
async function layerOn({ store, snapshots, images }: Storage, parent: string, name?: string) {
  const image = images.resolve(parent);
  const id = store.tx(() => snapshots.createActive());
  await snapshots.prepareActive(id, image.layers);
  if (name !== undefined) writeFileSync(join(snapshots.path(id), name), name);
  await snapshots.commit(id);
  return { image, id };
}

/** Committed on top of an image, as a build step or `docker commit` does. */
async function makeOn(storage: Storage, parent: string, name: string, reference?: string) {
  const { images } = storage;
  const { image, id } = await layerOn(storage, parent, name);
  const { rootfs: _, ...rest } = image.config;
  return await images.create({
    parent: image,
    snapshot: id,
    config: { ...rest, history: [...(rest.history ?? []), { created_by: name }] },
    ...(reference === undefined ? {} : { reference }),
  });
}

async function nothingLeft(storage: Storage): Promise<void> {
  await storage.snapshots.settled();
  expect(storage.content.list()).toEqual([]);
  expect(storage.snapshots.layers()).toEqual([]);
  for (const table of ["images", "image_refs", "image_blobs", "layer_blobs", "layer_keys"])
    expect(storage.store.db.query(`SELECT * FROM ${table}`).all()).toEqual([]);
  expect(readdirSync(storage.snapshots.root).filter((name) => !name.startsWith("."))).toEqual([]);
}

describe.skipIf(skipped("root", "overlay"))("an image made here", () => {
  test("that fails leaves neither its layer nor its config", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const { images } = storage;
    await load(storage, oldArchive(["foo:1"]));
    const { image: parent, id: snapshot } = await layerOn(storage, "foo:1", "new");
    await images.remove("foo:1");
    expect(await failure(() => images.create({ parent, snapshot, config: parent.config }))).toMatchObject({ kind: "conflict" });
    await nothingLeft(storage);
  });

  test("of nothing that changed has its parent's layers, and says so in its history, as Docker's", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const { snapshots, images } = storage;
    await load(storage, oldArchive(["foo:1"]));
    const { image: parent, id: snapshot } = await layerOn(storage, "foo:1");
    const { rootfs, ...config } = parent.config;
    const step = { created_by: "true" };
    const image = await images.create({ parent, snapshot, config: { ...config, history: [step] } });
    expect(image.config.rootfs).toEqual(rootfs);
    expect(image.config.history).toEqual([{ ...step, empty_layer: true }]);
    expect(image.layers).toEqual(parent.layers);
    expect(snapshots.layers().map(({ id }) => id)).toEqual(parent.layers);
    const unpacked = await snapshots.unpack({ source: streamOf(tarOf([])), parentIds: rootfs.diff_ids, parents: parent.layers });
    const kept = await images.create({ parent, snapshot: unpacked.snapshot, keepEmpty: true, config: { ...config, history: [step] } });
    expect(kept.config.rootfs.diff_ids).toHaveLength(rootfs.diff_ids.length + 1);
    expect(kept.config.history).toEqual([step]);
    // What nothing changed in is now a layer of another image, which stays.
    const again = await images.create({ parent, snapshot: unpacked.snapshot, config: { ...config, history: [step] } });
    expect(again.id).toBe(image.id);
    expect(kept.layers.map((id) => existsSync(snapshots.path(id)))).not.toContain(false);
  });

  test("of a layer that another image has, too, keeps it when that one goes meanwhile", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const { snapshots, images } = storage;
    const layer = tarOf([{ name: "file", type: "file", body: "the same" }]);
    const first = await images.import(streamOf(layer), { reference: "first", onProgress: () => {} });
    const [found, removed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const making = images.create({
      snapshot: async (keep) => {
        const { snapshot } = await snapshots.unpack({ source: streamOf(layer), parentIds: [], parents: [], onSnapshot: keep });
        found.resolve();
        await removed.promise;
        return snapshot;
      },
      config: { architecture: "amd64", os: "linux" },
      reference: "second",
    });
    await found.promise;
    await images.remove("first");
    removed.resolve();
    const second = await making;
    await snapshots.settled();
    expect(second.layers).toEqual(first.layers);
    expect(readFileSync(join(snapshots.path(second.layers[0]!), "file"), "utf8")).toBe("the same");
  });
});

describe.skipIf(skipped("root", "overlay"))("load", () => {
  test("an old docker-archive, with what Docker says", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const messages = await load(storage, oldArchive(["foo:1", "localhost:5000/bar:2"]));
    expect(streams(messages)).toEqual(["Loaded image: foo:1\n", "Loaded image: localhost:5000/bar:2\n"]);
    const progress = messages.filter((message) => message.status === "Loading layer");
    expect(new Set(progress.map((message) => message.id))).toEqual(new Set(diffIds.map((id) => hexOf(id).slice(0, 12))));
    expect(progress.at(-1)!.progressDetail!.total).toBe(top.length);
    const image = storage.images.resolve("foo:1");
    expect(image.id).toBe(imageId);
    expect(image.repoTags).toEqual(["foo:1", "localhost:5000/bar:2"]);
    expect(image.size).toBe(4 + 3 + 1);
    expect(whatIs(storage.snapshots.path(image.layers[1]!))).toEqual({ tmp: "dir 1777 0:0", "tmp/x": 'file 644 0:0 "top"', b: 'file 644 0:0 "x"' });
    expect(storage.events.history({}).map((event) => event.action)).toEqual(["load"]);
  });

  test("quiet, and without a name", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    expect(await load(storage, oldArchive(null), true)).toEqual([{ stream: `Loaded image ID: ${imageId}\n` }]);
  });

  for (const [how, pack] of [
    ["gzip", (b: Buffer) => Bun.gzipSync(b as never)],
    ["zstd", (b: Buffer) => Bun.zstdCompressSync(b as never)],
  ] as const) {
    test(`compressed with ${how}`, async () => {
      using temporary = temporaryDirectory("images");
      await using storage = openStorage(temporary.path);
      expect(streams(await load(storage, pack(oldArchive())))).toEqual(["Loaded image: foo:1\n"]);
    });
  }

  for (const how of ["xz", "bzip2"]) {
    test.skipIf(Bun.which(how) === null)(`compressed with ${how}: a load, its layers, and an import`, async () => {
      using temporary = temporaryDirectory("images");
      await using storage = openStorage(temporary.path);
      const pack = (bytes: Buffer): Buffer => Buffer.from(Bun.spawnSync([how, "-c"], { stdin: bytes }).stdout);
      expect(streams(await load(storage, pack(oldArchive())))).toEqual(["Loaded image: foo:1\n"]);
      expect(streams(await load(storage, oldArchive(["bar:1"], { layers: [pack(base), pack(top)] })))).toEqual(["Loaded image: bar:1\n"]);
      expect(storage.images.resolve("bar:1").layers).toEqual(storage.images.resolve("foo:1").layers);
      expect((await failure(() => load(storage, oldArchive(["bad:1"], { layers: [pack(base), pack(top).subarray(0, 40)] })))).message).toBe(
        `damaged ${how} data`,
      );
      const image = await storage.images.import(streamOf(pack(base)), { onProgress: () => {} });
      expect(image.config.rootfs.diff_ids).toEqual([diffIds[0]!]);
      const cut = pack(oldArchive());
      expect((await failure(() => load(storage, cut.subarray(0, cut.length - 20)))).message).toContain(`damaged ${how} data`);
    });
  }

  test("layers are unpacked while the archive still comes, and go where it breaks off", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const { source, controller } = undescribed(oldArchive());
    const loading = failure(() => storage.images.load(source, { onProgress: () => {} }));
    // the lower one: the other needs to know what lies under it
    while (!isUnpacked(storage, "a")) await Bun.sleep(5);
    controller.close();
    expect(await loading).toMatchObject({ kind: "invalidArgument" });
    await nothingLeft(storage);
  });

  test("a cancelled load stops at once what it unpacks already, though nothing more of the archive comes", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const layer = tarOf(Array.from({ length: 30_000 }, (_, i) => file(`f${i}`, "")));
    const { source, controller } = undescribed(oldArchive(["foo:1"], { layers: [layer], config: configOf([digestOf(layer)]) }));
    const client = new AbortController();
    const loading = failure(() => storage.images.load(source, { onProgress: () => {}, signal: client.signal }));
    while (!isUnpacked(storage, "f0")) await Bun.sleep(1);
    client.abort();
    while (isUnpacked(storage, "f0")) await Bun.sleep(5);
    controller.error(cancelled("the client has gone"));
    expect(await loading).toMatchObject({ kind: "cancelled" });
    await nothingLeft(storage);
  });

  test("tars in an archive that no image of it names, whole ones and bad ones, leave nothing", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const stray = tarOf([file("stray", "x".repeat(3000))]);
    const bad = Buffer.from(stray);
    bad.fill(0xff, 600, 1100);
    await load(storage, Buffer.concat([tarOf([file("stray.tar", stray), file("bad.tar", bad.subarray(0, 1024))]).subarray(0, -1024), oldArchive()]));
    await storage.snapshots.settled();
    expect(storage.snapshots.layers().length).toBe(2);
    await storage.images.remove("foo:1");
    await nothingLeft(storage);
    const broken = Buffer.from(top);
    broken.write("no number", 124, "latin1");
    const names = { layers: [base, broken], config: configOf([digestOf(base), digestOf(broken)]) };
    expect(await failure(() => load(storage, oldArchive(["foo:1"], names)))).toMatchObject({ kind: "invalidArgument" });
    await nothingLeft(storage);
  });

  test("layers given as links to others", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const text = configOf([diffIds[0]!, diffIds[0]!]);
    const archive = tarOf([
      file("c.json", text),
      file("0/layer.tar", base),
      { name: "1/layer.tar", type: "symlink", linkName: "../0/layer.tar" },
      file("manifest.json", JSON.stringify([{ Config: "c.json", RepoTags: ["twice:1"], Layers: ["0/layer.tar", "1/layer.tar"] }])),
    ]);
    await load(storage, archive);
    const { layers } = storage.images.resolve("twice:1");
    expect(layers[0]).toBe(layers[1]!);
  });

  for (const [annotations, says] of [
    [{ "io.containerd.image.name": "docker.io/library/foo:9" }, "Loaded image: foo:9\n"],
    [{ "org.opencontainers.image.ref.name": "localhost:5000/foo:9" }, "Loaded image: localhost:5000/foo:9\n"],
    [{ "org.opencontainers.image.ref.name": "latest" }, `Loaded image ID: ${imageId}\n`],
    [undefined, `Loaded image ID: ${imageId}\n`],
  ] as const) {
    test(`an OCI layout named ${JSON.stringify(annotations)}`, async () => {
      using temporary = temporaryDirectory("images");
      await using storage = openStorage(temporary.path);
      const { archive, manifest } = ociLayout(annotations as Record<string, string>);
      expect(streams(await load(storage, archive))).toEqual([says]);
      expect(storage.images.resolve(imageId).manifest?.digest).toBe(manifest);
    });
  }

  test("an OCI index of platforms, of which one is there", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    expect(streams(await load(storage, ociLayout({ "io.containerd.image.name": "docker.io/library/foo:9" }, true).archive))).toEqual(["Loaded image: foo:9\n"]);
  });

  test("a name that another image has moves, and it is said", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive());
    const said = streams(await load(storage, oldArchive(["foo:1"], { layers: [base], config: configOf([diffIds[0]!]) })));
    expect(said).toEqual([`The image foo:1 already exists, renaming the old one with ID ${imageId} to empty string\n`, "Loaded image: foo:1\n"]);
    expect(storage.images.resolve(imageId).repoTags).toEqual([]);
  });

  const good = { Config: "c.json", RepoTags: ["foo:1"], Layers: ["0/layer.tar"] };
  const one = configOf([diffIds[0]!]);
  const bad: [string, Uint8Array, string][] = [
    ["no archive", Buffer.from("hello ".repeat(200)), "bad tar archive"],
    ["a truncated archive", oldArchive().subarray(0, 3000), "bad tar archive"],
    ["a truncated gzip", Bun.gzipSync(oldArchive() as never).subarray(0, 200), "damaged compressed data"],
    ["nothing in it", tarOf([]), "unrecognized image format"],
    ["neither manifest nor index", tarOf([file("x")]), "unrecognized image format"],
    ["an empty list", tarOf([file("manifest.json", "[]")]), "holds no image"],
    ["a manifest that isn't JSON", tarOf([file("manifest.json", "{")]), "is not JSON"],
    ["a manifest that is no list", tarOf([file("manifest.json", "{}")]), "is no list"],
    ["a manifest without layers", tarOf([file("manifest.json", JSON.stringify([{ Config: "c.json" }]))]), "lacks Config or Layers"],
    ["a layer that isn't there", tarOf([file("c.json", one), file("manifest.json", JSON.stringify([good]))]), "is not in it"],
    ["a config that is no JSON", tarOf([file("c.json", "{"), file("0/layer.tar", base), file("manifest.json", JSON.stringify([good]))]), "is not JSON"],
    [
      "a config of another system",
      oldArchive(["w:1"], { layers: [base], config: configOf([diffIds[0]!], { os: "windows" }) }),
      "cannot load windows image on linux",
    ],
    ["a config with other layers", oldArchive(["w:1"], { layers: [base] }), "layers length mismatch: expected 2, got 1"],
    ["a layer of another digest", oldArchive(["w:1"], { layers: [top, base] }), "as its image says"],
    ["a bad name", oldArchive(["UPPER:1"]), "must be lowercase"],
    [
      "a layer that escapes",
      oldArchive(["w:1"], { layers: [tarOf([file("../x")])], config: configOf([digestOf(tarOf([file("../x")]))]) }),
      "leaves the layer's root",
    ],
    ["an entry that escapes", tarOf([file("../manifest.json", "[]")]), "leaves the archive"],
    [
      "a blob that lies about its digest",
      tarOf([
        file("index.json", JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: mediaTypes.ociManifest, digest: digestOf("a"), size: 1 }] })),
        file(`blobs/sha256/${hexOf(digestOf("a"))}`, "b"),
      ]),
      "has digest",
    ],
    ["a tag that is none", oldArchive(["foo"]), 'invalid tag "foo"'],
    ["a tag with a digest", oldArchive([`foo:1@${imageId}`]), "invalid tag"],
    ["an index entry that is null", tarOf([file("index.json", JSON.stringify({ manifests: [null] }))]), "without a digest"],
    ["an index entry without a digest", tarOf([file("index.json", JSON.stringify({ manifests: [{ digest: 5 }] }))]), "without a digest"],
    ["a manifest whose layers are null", manifestArchive({ config: { digest: imageId }, layers: [null] }), "is no image manifest"],
    ["a config that is a list", oldArchive(["w:1"], { layers: [base], config: "[]" }), "the config is no object"],
    [
      "labels that are no texts",
      oldArchive(["w:1"], { layers: [base], config: configOf([diffIds[0]!], { config: { Labels: { a: 1 } as never } }) }),
      "bad Labels",
    ],
    ["a history that is none", oldArchive(["w:1"], { layers: [base], config: configOf([diffIds[0]!], { history: "long" as never }) }), "bad history"],
    ["diff ids that are none", oldArchive(["w:1"], { layers: [base], config: configOf(["x" as never]) }), "bad diff_ids"],
    ["a bad layer on a good one", oldArchive(["w:1"], { layers: [base, base] }), "as its image says"],
    [
      "more layers than can be mounted",
      oldArchive(["w:1"], { layers: Array(500).fill(base), config: configOf(Array(500).fill(diffIds[0]!)) }),
      "has 500 layers: more than the 499 that overlayfs can mount",
    ],
    ["an index without a list", tarOf([file("index.json", JSON.stringify({ manifests: "x" }))]), "is no image manifest"],
  ];
  for (const [name, archive, says] of bad) {
    test(`${name}: refused, and nothing stays`, async () => {
      using temporary = temporaryDirectory("images");
      await using storage = openStorage(temporary.path);
      const { kind, message } = await failure(() => load(storage, archive));
      expect(kind).toBe("invalidArgument");
      expect(message).toContain(says);
      await nothingLeft(storage);
    });
  }
});

describe.skipIf(skipped("root", "overlay"))("save", () => {
  test("what was loaded comes out and loads elsewhere, with its manifest", async () => {
    using temporary = temporaryDirectory("images");
    for (const side of ["one", "two"]) mkdirSync(join(temporary.path, side));
    await using one = openStorage(join(temporary.path, "one"));
    const { archive, manifest } = ociLayout({ "io.containerd.image.name": "docker.io/library/foo:9" });
    await load(one, archive);
    one.images.tag("foo:9", "bar/foo:10");
    const saved = await save(one, "foo:9", "bar/foo:10", "foo:9");
    expect(saved.equals(await save(one, "foo:9", "bar/foo:10"))).toBe(true);
    const found = members(saved);
    expect(JSON.parse(found.get("manifest.json")!.toString())).toEqual([
      { Config: `blobs/sha256/${hexOf(imageId)}`, RepoTags: ["foo:9", "bar/foo:10"], Layers: expect.any(Array) },
    ]);
    const index = JSON.parse(found.get("index.json")!.toString()) as { manifests: { digest: string; annotations: Record<string, string> }[] };
    expect(index.manifests.map((entry) => [entry.digest, entry.annotations["io.containerd.image.name"]])).toEqual([
      [manifest, "docker.io/library/foo:9"],
      [manifest, "docker.io/bar/foo:10"],
    ]);
    for (const [name, bytes] of found)
      if (name.startsWith("blobs/sha256/") && !name.endsWith("/")) expect(digestOf(bytes)).toBe(`sha256:${name.slice(13)}` as Digest);
    await using two = openStorage(join(temporary.path, "two"));
    expect(streams(await load(two, saved))).toEqual(["Loaded image: foo:9\n", "Loaded image: bar/foo:10\n"]);
    expect(two.images.resolve("foo:9").manifest?.digest).toBe(manifest);
    expect(two.images.resolve("foo:9").id).toBe(imageId);
  });

  test("a layer without a blob is made again, bit by bit", async () => {
    using temporary = temporaryDirectory("images");
    for (const side of ["one", "two"]) mkdirSync(join(temporary.path, side));
    await using one = openStorage(join(temporary.path, "one"));
    await load(one, oldArchive());
    const made = await makeOn(one, "foo:1", "added", "made:1");
    const blobs = one.content.list().length;
    const saved = await save(one, "made:1");
    expect(one.content.list().length).toBe(blobs);
    expect([...members(saved).keys()]).toContain(`blobs/sha256/${hexOf(made.config.rootfs.diff_ids[2]!)}`);
    await using two = openStorage(join(temporary.path, "two"));
    await load(two, saved);
    expect(two.images.resolve("made:1").id).toBe(made.id);
    expect(two.images.resolve("made:1").config.rootfs.diff_ids).toEqual(made.config.rootfs.diff_ids);
  });

  test("by id without names, by repository with all its tags, and unknown ones", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1", "foo:2", "food:3"]));
    const tagsOf = (archive: Buffer): unknown => (JSON.parse(members(archive).get("manifest.json")!.toString()) as { RepoTags: unknown }[])[0]!.RepoTags;
    expect(tagsOf(await save(storage, imageId))).toBeNull();
    expect(tagsOf(await save(storage, hexOf(imageId).slice(0, 12)))).toBeNull();
    expect(tagsOf(await save(storage, "foo"))).toEqual(["foo:1", "foo:2"]);
    expect(await failure(() => storage.images.save(["foo:1", "nope"]))).toEqual({ kind: "notFound", message: "No such image: nope:latest" });
  });

  test("an image that is removed meanwhile is still saved whole", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive());
    const stream = await storage.images.save(["foo:1"]);
    await storage.images.remove("foo:1");
    const found = members(await new Response(stream as never).bytes());
    expect(found.has("manifest.json")).toBe(true);
    await storage.restore();
    await nothingLeft(storage);
  });
});

describe.skipIf(skipped("root", "overlay"))("names", () => {
  test("look-up by name, id, prefix; ambiguity and absence", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:latest"]));
    for (const text of [
      "foo",
      "foo:latest",
      "docker.io/library/foo",
      imageId,
      hexOf(imageId),
      hexOf(imageId).slice(0, 12),
      `sha256:${hexOf(imageId).slice(0, 5)}`,
    ]) {
      expect(storage.images.resolve(text).id).toBe(imageId);
    }
    expect(await failure(() => storage.images.resolve("bar"))).toEqual({ kind: "notFound", message: "No such image: bar:latest" });
    expect((await failure(() => storage.images.resolve(digestOf("x")))).kind).toBe("notFound");
    expect((await failure(() => storage.images.resolve("Bad Name"))).kind).toBe("invalidArgument");
    expect((await failure(() => storage.images.resolve("foo", { platform: "linux/s390x" }))).kind).toBe("notFound");
    expect(storage.images.resolve("foo", { platform: "linux/amd64" }).id).toBe(imageId);
    storage.store.db
      .query("INSERT INTO images SELECT ?, config, manifest, layers, parent, created, last_tagged FROM images")
      .run(`${imageId.slice(0, 13)}${"0".repeat(58)}`);
    expect((await failure(() => storage.images.resolve(hexOf(imageId).slice(0, 4)))).kind).toBe("invalidArgument");
  });

  test("a record that can't be read is left out, keeps its layers, and is made whole by the next load", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1"]));
    const other = await makeOn(storage, "foo:1", "other", "other:1");
    for (const column of ["config", "layers"]) {
      storage.store.db.query(`UPDATE images SET ${column} = '{"x' WHERE id = ?`).run(imageId);
      await using again = openStorage(temporary.path);
      expect((await again.images.list({ all: true })).map(({ id }) => id)).toEqual([other.id]);
      expect((await failure(() => again.images.resolve("foo:1"))).kind).toBe("notFound");
      await again.images.restore();
      await load(again, oldArchive(["foo:1"]));
      expect(again.images.resolve("foo:1").layers).toEqual(other.layers.slice(0, 2));
    }
    storage.store.db.run("UPDATE image_refs SET name = 'No Name' WHERE image = ?", [other.id]);
    await using again = openStorage(temporary.path);
    expect((await again.images.list()).map(({ repoTags }) => repoTags)).toEqual(expect.arrayContaining([["foo:1"], []]));
  });

  test("a name made of hex digits is a name first", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1"]));
    const other = configOf([diffIds[0]!]);
    await load(storage, oldArchive([`${hexOf(imageId).slice(0, 6)}:latest`], { layers: [base], config: other }));
    expect(storage.images.resolve(hexOf(imageId).slice(0, 6)).id).toBe(digestOf(other));
  });

  test("tag", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive());
    storage.images.tag("foo:1", "other/name");
    expect(storage.images.resolve("other/name").repoTags).toEqual(
      ["other/name:latest", "foo:1"].sort((a, b) =>
        `docker.io/${a.includes("/") ? a : `library/${a}`}` < `docker.io/${b.includes("/") ? b : `library/${b}`}` ? -1 : 1,
      ),
    );
    expect(storage.images.resolve("foo:1").lastTagged).toBeGreaterThan(0n);
    expect(storage.events.history({}).at(-1)).toMatchObject({ action: "tag", actor: imageId, attributes: { name: "other/name:latest", kind: "test" } });
    expect((await failure(() => storage.images.tag("foo:1", `x@${imageId}`))).message).toBe("refusing to create a tag with a digest reference");
    expect((await failure(() => storage.images.tag("foo:1", "sha256:abc"))).message).toBe("refusing to create an ambiguous tag using digest algorithm as name");
    expect((await failure(() => storage.images.tag("nope", "x"))).kind).toBe("notFound");
    expect((await failure(() => storage.images.tag("foo:1", "UPPER"))).kind).toBe("invalidArgument");
  });
});

describe.skipIf(skipped("root", "overlay"))("remove, by Docker's rules", () => {
  const user = (running: boolean): ImageUsers => ({ containersOf: (id) => (id === imageId ? [{ id: "c".repeat(64), name: "c", running }] : []) });
  const short = hexOf(imageId).slice(0, 12);

  test("a name of several is untagged, the last one takes the image", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1", "foo:2"]));
    expect(await storage.images.remove("foo:1")).toEqual([{ Untagged: "foo:1" }]);
    expect(await storage.images.remove("foo:2")).toEqual([
      { Untagged: "foo:2" },
      { Deleted: imageId },
      { Deleted: chainId(diffIds) },
      { Deleted: diffIds[0]! },
    ]);
    expect(storage.events.history({}).map((event) => event.action)).toEqual(["load", "untag", "untag", "delete"]);
    await nothingLeft(storage);
  });

  test("by id: one repository goes, several need force", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1", "bar:1"]));
    expect(await failure(() => storage.images.remove(short))).toEqual({
      kind: "conflict",
      message: `conflict: unable to delete ${short} (must be forced) - image is referenced in multiple repositories`,
    });
    const removed = await storage.images.remove(short, { force: true });
    expect(removed.slice(0, 3)).toEqual([{ Untagged: "bar:1" }, { Untagged: "foo:1" }, { Deleted: imageId }]);
    await load(storage, oldArchive(["foo:1"]));
    expect((await storage.images.remove(short)).slice(0, 2)).toEqual([{ Untagged: "foo:1" }, { Deleted: imageId }]);
    await nothingLeft(storage);
  });

  test("a container that is stopped: force", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path, user(false));
    await load(storage, oldArchive());
    expect(await failure(() => storage.images.remove("foo:1"))).toEqual({
      kind: "conflict",
      message: `conflict: unable to remove repository reference "foo:1" (must force) - container cccccccccccc is using its referenced image ${short}`,
    });
    expect((await failure(() => storage.images.remove(short))).message).toBe(
      `conflict: unable to delete ${short} (must be forced) - image is being used by stopped container cccccccccccc`,
    );
    // The container stands on the layers: they stay with it.
    const active = storage.store.tx(() => storage.snapshots.createActive());
    const { layers } = storage.images.resolve("foo:1");
    await storage.snapshots.prepareActive(active, layers);
    expect(await storage.images.remove("foo:1", { force: true })).toEqual([{ Untagged: "foo:1" }, { Deleted: imageId }]);
    expect(
      storage.snapshots
        .layers()
        .map((layer) => layer.id)
        .sort(),
    ).toEqual([...layers].sort());
    await storage.restore();
    expect(storage.snapshots.layers().length).toBe(2);
    await storage.snapshots.remove(active);
    await storage.snapshots.settled();
    await storage.restore();
    await nothingLeft(storage);
  });

  test("a container that runs: never the image, but a name by force", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path, user(true));
    await load(storage, oldArchive());
    expect(await failure(() => storage.images.remove(short, { force: true }))).toEqual({
      kind: "conflict",
      message: `conflict: unable to delete ${short} (cannot be forced) - image is being used by running container cccccccccccc`,
    });
  });

  test("children and parents", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive());
    const middle = await makeOn(storage, "foo:1", "one");
    const leaf = await makeOn(storage, middle.id, "two", "leaf:1");
    expect((await failure(() => storage.images.remove(middle.id))).message).toContain("(cannot be forced) - image has dependent child images");
    expect((await storage.images.list()).map((image) => image.id).sort()).toEqual([imageId, leaf.id].sort());
    expect((await storage.images.list({ all: true })).length).toBe(3);
    expect(storage.images.history("leaf:1").map((entry) => entry.id)).toEqual([leaf.id, middle.id, imageId, undefined]);
    // noprune keeps the step, the default takes it along, but not the parent that has a name.
    const removed = await storage.images.remove("leaf:1");
    expect(removed.map((entry) => entry.Deleted).filter((id) => id === leaf.id || id === middle.id || id === imageId)).toEqual([leaf.id, middle.id]);
    expect(storage.images.resolve("foo:1").id).toBe(imageId);
    const again = await makeOn(storage, (await makeOn(storage, "foo:1", "one")).id, "two", "leaf:1");
    await storage.images.remove("leaf:1", { noPrune: true });
    expect((await storage.images.list({ all: true })).map((image) => image.id).sort()).toEqual([imageId, again.parent!].sort());
  });

  test("an unknown image", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    expect(await failure(() => storage.images.remove("nope"))).toEqual({ kind: "notFound", message: "No such image: nope:latest" });
  });
});

describe.skipIf(skipped("root", "overlay"))("list, history, prune, import, create", () => {
  test("filters", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1", "bar:1"]));
    const later = configOf([diffIds[0]!], { created: "2024-06-01T00:00:00Z", config: {} });
    await load(storage, oldArchive(null, { layers: [base], config: later }));
    const [old, young] = [imageId, digestOf(later)];
    const ids = async (filters: Record<string, string[]>): Promise<string[]> => (await storage.images.list({ filters })).map((image) => image.id);
    expect(await ids({})).toEqual([young, old]);
    expect(await ids({ dangling: ["true"] })).toEqual([young]);
    expect(await ids({ dangling: ["0"] })).toEqual([old]);
    expect(await ids({ label: ["kind"] })).toEqual([old]);
    expect(await ids({ label: ["kind=test"] })).toEqual([old]);
    expect(await ids({ label: ["kind=other"] })).toEqual([]);
    expect(await ids({ before: [young] })).toEqual([old]);
    expect(await ids({ since: ["foo:1"] })).toEqual([young]);
    expect(await ids({ until: ["2024-03-01T00:00:00Z"] })).toEqual([old]);
    expect((await storage.images.list({ filters: { reference: ["f*"] } })).map((image) => image.repoTags)).toEqual([["foo:1"]]);
    expect(await ids({ reference: ["*:2"] })).toEqual([]);
    expect((await failure(() => ids({ dangling: ["maybe"] }))).kind).toBe("invalidArgument");
    expect((await failure(() => ids({ nope: ["x"] }))).message).toBe("invalid filter 'nope'");
  });

  test("a list tells of each config what stands there, however odd it is", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const deep = (depth: number): string =>
      configOf([diffIds[0]!], { comment: "@", config: { Labels: { 'a"\\': "\u0000é\ud800", __proto: "x" } } }).replace(
        '"@"',
        `"@","x":${"[".repeat(depth)}${"]".repeat(depth)}`,
      );
    const odd = [deep(1), deep(1100), configOf([diffIds[0]!], { history: null as never, config: null as never, created: null as never })];
    for (const text of odd) await load(storage, oldArchive(null, { layers: [base], config: text }));
    await using again = openStorage(temporary.path);
    for (const text of odd) {
      const [listed] = (await again.images.list()).filter(({ id }) => id === digestOf(text));
      const { created, config: run, history, ...platform } = JSON.parse(text) as ImageConfig;
      expect(listed!.facts).toEqual({ created: created ?? undefined, labels: run?.Labels ?? null, platform: platformOf(platform), step: history?.at(-1) });
    }
  });

  test("a list is of one moment: a tag that moves meanwhile is shown once", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1"]));
    const copy = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000), copy(id, n) AS (SELECT printf('sha256:%064x', n), n FROM n)";
    storage.store.db.run(`${copy} INSERT INTO images SELECT copy.id, config, manifest, layers, parent, created, last_tagged FROM images, copy`);
    storage.store.db.run(`${copy} INSERT INTO image_refs SELECT printf('docker.io/library/x:%d', n), 'tag', id, NULL FROM copy`);
    storage.images.tag("x:1", "moving:1");
    const listing = storage.images.list();
    // when the first image has been looked at, and the last has not
    for (let round = 0; round < 2; round++) await nextTurn();
    storage.images.tag("x:1000", "moving:1");
    const listed = await listing;
    expect(listed.filter(({ repoTags }) => repoTags.includes("moving:1")).map(({ id }) => id)).toEqual([storage.images.resolve("x:1000").id]);
  });

  test("others have their turn while hundreds of images are looked up for a save", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1"]));
    const names = Array.from({ length: 1000 }, (_, i) => `foo:many-${i}`);
    for (const name of names) storage.images.tag("foo:1", name);
    using rounds = countRounds();
    const stream = await storage.images.save(names);
    expect(rounds.count).toBeGreaterThan(1);
    await stream.cancel();
  });

  test("history: sizes belong to the entries that made layers", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const text = configOf(diffIds, {
      history: [{ created_by: "base" }, { created_by: "env", empty_layer: true }, { created_by: "top", created: "2024-01-01T00:00:00Z" }],
    });
    await load(storage, oldArchive(["foo:1"], { config: text }));
    expect(storage.images.history("foo:1")).toEqual([
      { created_by: "top", created: "2024-01-01T00:00:00Z", size: 4, tags: ["foo:1"], createdSeconds: 1704067200, id: digestOf(text) },
      { created_by: "env", empty_layer: true, size: 0, tags: [], createdSeconds: 0 },
      { created_by: "base", size: 4, tags: [], createdSeconds: 0 },
    ]);
  });

  test("prune", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive(["foo:1"]));
    await load(storage, oldArchive(null, { layers: [base], config: configOf([diffIds[0]!]) }));
    const first = await storage.images.prune({});
    expect(first.deleted).toEqual([{ Deleted: digestOf(configOf([diffIds[0]!])) }]);
    expect(first.spaceReclaimed).toBe(0);
    const second = await storage.images.prune({ filters: { dangling: ["false"], label: ["kind=test"] } });
    expect(second.deleted.map((entry) => Object.keys(entry)[0])).toEqual(["Untagged", "Deleted", "Deleted", "Deleted"]);
    expect(second.spaceReclaimed).toBe(8);
    expect(storage.events.history({}).at(-1)).toMatchObject({ action: "prune", attributes: { reclaimed: "8" } });
    await nothingLeft(storage);
  });

  test("import", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    const messages: ProgressMessage[] = [];
    const image = await storage.images.import(streamOf(Bun.gzipSync(base as never)), {
      reference: "imported",
      message: "by hand",
      config: { Cmd: ["sh"] },
      onProgress: (message) => void messages.push(message),
    });
    expect(messages.at(-1)).toEqual({ status: image.id });
    expect(image.repoTags).toEqual(["imported:latest"]);
    expect(image.config).toMatchObject({ os: "linux", config: { Cmd: ["sh"] }, rootfs: { diff_ids: [diffIds[0]] }, history: [{ comment: "by hand" }] });
    expect((await failure(() => storage.images.import(streamOf(Buffer.alloc(2000, 1)), { onProgress: () => {} }))).kind).toBe("invalidArgument");
    // Its config: the layer's tar is made again where it is needed.
    expect(storage.content.list().length).toBe(1);
    await storage.images.remove("imported");
    await nothingLeft(storage);
  });

  test("create makes no blob of the layer, and the same twice is the same image", async () => {
    using temporary = temporaryDirectory("images");
    await using storage = openStorage(temporary.path);
    await load(storage, oldArchive());
    const made = await makeOn(storage, "foo:1", "file", "made:1");
    expect(made.parent).toBe(imageId);
    expect(made.size).toBe(8 + 4);
    expect(storage.events.history({}).slice(-2)).toMatchObject([
      { action: "create", actor: made.id },
      { action: "tag", actor: made.id },
    ]);
    expect(storage.content.info(made.config.rootfs.diff_ids[2]!)).toBeUndefined();
    const { rootfs: _, ...rest } = made.config;
    const relabelled = await storage.images.create({ parent: made, config: { ...rest, author: "me" } });
    expect(relabelled.layers).toEqual(made.layers);
    expect((await storage.images.create({ parent: made, config: { ...rest, author: "me" } })).id).toBe(relabelled.id);
    const scratch = await storage.images.create({ config: { os: "linux", architecture: "amd64" } });
    expect(scratch.layers).toEqual([]);
  });

  test("what an interrupted load left goes at the next start", async () => {
    using temporary = temporaryDirectory("images");
    let half: Ingest;
    {
      await using storage = openStorage(temporary.path);
      await load(storage, oldArchive());
      await storage.content.put("a blob that no image names");
      await storage.snapshots.unpack({ source: streamOf(tarOf([file("orphan")])), parentIds: [], parents: [] });
      half = await storage.content.ingest();
      await half.write(Buffer.from("half"));
    }
    await using storage = openStorage(temporary.path);
    await storage.restore();
    expect(storage.images.resolve("foo:1").layers.length).toBe(2);
    expect(storage.content.list().length).toBe(1);
    expect(storage.snapshots.layers().length).toBe(2);
    expect(readdirSync(join(temporary.path, "content/ingest"))).toEqual([]);
    await half[Symbol.asyncDispose]();
    await storage.images.remove("foo:1");
    await nothingLeft(storage);
  });
});
