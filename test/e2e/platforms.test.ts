import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ImageRecord, ProgressMessage } from "../../src/images/types.ts";
import { kindOf, messageOf } from "../../src/lib/errors.ts";
import { mediaTypes, type Index, type Manifest } from "../../src/oci/image.ts";
import { members } from "../members.ts";
import { skipped } from "../skips.ts";
import { Engine } from "./harness.ts";
import { createLab, startBerthRegistry, type Lab } from "./images-lab.ts";
import { foreign, multiPlatform, own } from "./multi-platform.ts";

const all = ["amd64", "arm64", "s390x"];
const linux = (architecture: string): { os: string; architecture: string } => ({ os: "linux", architecture });
const failure = async (work: () => unknown): Promise<{ kind: string; text: string }> => {
  try {
    await work();
    return { kind: "none", text: "" };
  } catch (error) {
    return { kind: kindOf(error), text: messageOf(error) };
  }
};

describe.skipIf(skipped("root", "overlay"))("an index of platforms", () => {
  const index = multiPlatform("docker.io/library/multi:1", all);
  let registry: { host: string } & AsyncDisposable;
  let lab: Lab;
  beforeAll(async () => {
    registry = await startBerthRegistry();
  });
  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    lab = createLab();
  });
  afterEach(() => {
    lab[Symbol.dispose]();
  });

  const load = async (archive: Uint8Array, platforms: string[] = []): Promise<string> => {
    let said = "";
    const onProgress = (message: ProgressMessage): void => void (said += message.stream ?? "");
    await lab.images.load(new Blob([archive as never]).stream(), { onProgress, platforms: platforms.map(linux) });
    return said;
  };
  const save = async (name: string, platforms: string[] = []): Promise<Map<string, Buffer>> =>
    members(await new Response(await lab.images.save([name], { platforms: platforms.map(linux) })).bytes());
  /** Counted and measured without reading them, images are as many and as large as those that are listed. */
  const expectCount = async (): Promise<void> => {
    const all = await lab.images.list({ all: true });
    expect(lab.images.count()).toBe(all.length);
    const layers = new Set(all.flatMap((image) => [image, ...image.variants]).flatMap((image) => image.layers));
    expect(lab.images.layersSize()).toBe([...layers].reduce((sum, layer) => sum + lab.snapshots.size(layer), 0));
  };
  const here = (name = "multi:1"): string[] => lab.images.named(name).map(({ config }) => config.architecture);
  const named = (name = "multi:1"): ImageRecord => lab.images.resolve(name);
  const available = async (name = "multi:1"): Promise<unknown[]> =>
    (await lab.images.manifests(named(name))).map(({ kind, available: is, platform, subject }) => [kind, platform?.architecture ?? subject, is]);

  test("is loaded whole, or the platforms asked for", async () => {
    expect(await load(index.archive)).toBe("Loaded image: multi:1\n");
    expect([here()[0], here().sort()]).toEqual([own, all]);
    expect(named().id).toBe(index.configs[own]!);
    expect(lab.images.descriptor(named())).toEqual(index.index);
    expect(await available()).toEqual([
      ...all.map((each) => ["image", each, true]),
      ...all.map((each) => ["attestation", index.manifests[each]!.digest, true]),
    ]);
    await lab.empty();
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });

    await load(index.archive, [foreign]);
    expect(here()).toEqual([foreign]);
    expect(await failure(() => load(index.archive, ["mips"]))).toEqual({
      kind: "notFound",
      text: "requested platform(s) (linux/mips) not found in the archive",
    });
    // The others beside it, under the same name.
    await load(index.archive, ["s390x"]);
    expect(here().sort()).toEqual([foreign, "s390x"].sort());
    expect(await load(index.archive)).toBe("Loaded image: multi:1\n");
    expect(here()).toHaveLength(3);
  });

  test("is saved as it is here, and loads again with its digests", async () => {
    await load(index.archive, [own, foreign]);
    const both = await save("multi:1");
    const top = JSON.parse(both.get("index.json")!.toString()) as Index;
    expect(top.manifests).toEqual([
      { ...index.index, annotations: { "io.containerd.image.name": "docker.io/library/multi:1", "org.opencontainers.image.ref.name": "1" } },
    ]);
    const path = ({ digest }: { digest: string }): string => `blobs/${digest.replace(":", "/")}`;
    for (const each of [own, foreign]) for (const kind of [index.manifests, index.attestations]) expect(both.has(path(kind[each]!))).toBe(true);
    for (const kind of [index.manifests, index.attestations]) expect(both.has(path(kind["s390x"]!))).toBe(false);
    // Who knows one platform a name is given this host's.
    expect(JSON.parse(both.get("manifest.json")!.toString())).toEqual([
      { Config: `blobs/${index.configs[own]!.replace(":", "/")}`, RepoTags: ["multi:1"], Layers: expect.any(Array) as never },
    ]);

    const one = JSON.parse((await save("multi:1", [foreign])).get("index.json")!.toString()) as Index;
    expect(one.manifests.map(({ digest, platform }) => [digest, platform?.architecture])).toEqual([[index.manifests[foreign]!.digest, foreign]]);
    expect(await failure(() => save("multi:1", ["s390x"]))).toEqual({
      kind: "notFound",
      text: expect.stringContaining("image with reference multi:1 was found but does not provide the specified platform (linux/s390x)") as never,
    });

    const archive = await new Response(await lab.images.save(["multi:1"])).bytes();
    await lab.empty();
    expect(await load(archive)).toBe("Loaded image: multi:1\n");
    expect([here(), lab.images.descriptor(named())]).toEqual([[own, foreign], index.index]);
    expect(await lab.images.attestations("multi:1", { platform: linux(foreign), types: [], statement: true })).toHaveLength(1);
  });

  test("is pushed whole where it is here whole, else the one that suits this host", async () => {
    const name = `${registry.host}/push/multi:1`;
    await load(index.archive, [own, foreign]);
    lab.images.tag("multi:1", name);
    await lab.push(name);
    expect(lab.messages.at(-2)!.aux).toEqual({ Tag: "1", Digest: index.manifests[own]!.digest, Size: index.manifests[own]!.size });
    const { annotations: _, platform: _platform, ...selected } = index.manifests[own]!;
    expect(lab.messages.at(-1)!.aux).toEqual({ manifestPushedInsteadOfIndex: true, originalIndex: index.index, selectedManifest: selected });
    await lab.images.push(name, { platform: linux(foreign), onProgress: (message) => void lab.messages.push(message) });
    expect(lab.messages.at(-1)!.aux).toMatchObject({ Digest: index.manifests[foreign]!.digest });
    const digested = `${registry.host}/push/multi@${index.manifests[foreign]!.digest}`;
    expect(lab.images.resolve(index.configs[foreign]!).repoDigests).toEqual([digested]);
    expect((await lab.images.list()).map(({ id }) => id)).toEqual([index.configs[own]!]);
    expect(await lab.images.remove(digested)).toEqual([{ Untagged: digested }]);
    expect(here(name)).toEqual([own, foreign]);
    await lab.images.push(name, { platform: linux(foreign), onProgress: () => {} });
    expect((await failure(() => lab.images.push(name, { platform: linux("s390x"), onProgress: () => {} }))).kind).toBe("notFound");

    // The digest it was pushed by goes with the last tag.
    await lab.images.remove("multi:1");
    await lab.images.remove(name);
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });

    // A layer of another platform that isn't here as it came any more.
    await load(index.archive);
    lab.images.tag("multi:1", name);
    const { layers } = await lab.content.json<Manifest>(index.manifests[foreign]!.digest);
    await lab.content.remove(layers[1]!.digest);
    await lab.push(name);
    expect(lab.messages.at(-1)!.aux).toMatchObject({ manifestPushedInsteadOfIndex: true, selectedManifest: { digest: index.manifests[own]!.digest } });
    await lab.images.remove("multi:1");
    await lab.images.remove(name);

    await load(index.archive);
    lab.images.tag("multi:1", name);
    await lab.push(name);
    expect(lab.messages.at(-1)!.aux).toEqual({ Tag: "1", Digest: index.index.digest, Size: index.index.size });
    expect(named(name).repoDigests).toContain(`${registry.host}/push/multi@${index.index.digest}`);

    await lab.empty();
    expect((await lab.pull(name, { platform: "linux/s390x" })).config.architecture).toBe("s390x");
    expect(lab.images.descriptor(named(name))).toEqual(index.index);
    // What is attested of it comes along, and that of the others doesn't.
    expect(await available(name)).toEqual([
      ...all.map((each) => ["image", each, each === "s390x"]),
      ...all.map((each) => ["attestation", index.manifests[each]!.digest, each === "s390x"]),
    ]);
    const [statement, ...more] = await lab.images.attestations(name, { platform: linux("s390x"), types: [], statement: true });
    expect(more).toEqual([]);
    expect(statement).toMatchObject({ type: "https://slsa.dev/provenance/v0.2", statement: { predicate: { architecture: "s390x" } } });
    expect(await lab.images.attestations(name, { platform: linux("s390x"), types: ["other"], statement: false })).toEqual([]);
    expect((await failure(() => lab.images.attestations(name, { types: [], statement: false }))).text).toContain("are not here: pull it again");
    expect((await failure(() => lab.images.attestations(name, { platform: linux("mips"), types: [], statement: false }))).kind).toBe("notFound");
  });

  test("whose tag moved on is dangling with all its platforms, and pruned", async () => {
    const name = `${registry.host}/moving/multi:1`;
    await load(index.archive);
    lab.images.tag("multi:1", name);
    await lab.push(name);
    await lab.empty();
    for (const each of [own, foreign]) await lab.pull(name, { platform: `linux/${each}` });
    const next = await lab.image("next:1", [{ name: "next", type: "file", body: "next" }]);
    lab.images.tag("next:1", name);
    const dangling = await lab.images.list({ filters: { dangling: ["true"] } });
    expect(dangling.map(({ id, repoTags, repoDigests, variants }) => [id, repoTags, repoDigests.length, variants.length])).toEqual([
      [index.configs[own]!, [], 1, 1],
    ]);
    await expectCount();
    const { deleted } = await lab.images.prune({});
    const gone = deleted.flatMap(({ Deleted }) => Deleted ?? []);
    expect(gone).toContain(index.configs[own]!);
    expect(gone).toContain(index.configs[foreign]!);
    expect((await lab.images.list({ all: true })).map(({ id }) => id)).toEqual([next.id]);
    await expectCount();
  });

  test("that is followed by one with the same image for this host: what only the former one names is dangling", async () => {
    const name = `${registry.host}/following/multi:1`;
    const publish = async (architectures: string[]): Promise<void> => {
      await load(multiPlatform("docker.io/library/multi:1", architectures).archive);
      lab.images.tag("multi:1", name);
      await lab.push(name);
      await lab.empty();
    };
    await publish([own, foreign]);
    for (const each of [own, foreign]) await lab.pull(name, { platform: `linux/${each}` });
    const other = createLab();
    try {
      await other.images.load(new Blob([multiPlatform(name, [own, "s390x"]).archive as never]).stream(), { onProgress: () => {} });
      await other.push(name);
    } finally {
      other[Symbol.dispose]();
    }
    await lab.pull(name);
    expect((await lab.images.list()).map(({ id, repoTags, variants }) => [id, repoTags, variants.length])).toContainEqual([index.configs[own]!, [name], 0]);
    await expectCount();
    expect((await lab.images.list({ filters: { dangling: ["true"] } })).map(({ id }) => id)).toEqual([index.configs[foreign]!]);
    expect((await failure(() => lab.images.resolve(name, { platform: `linux/${foreign}` }))).kind).toBe("notFound");
    expect((await lab.images.prune({})).deleted[0]).toEqual({ Deleted: index.configs[foreign]! });
    expect((await lab.images.list()).map(({ id }) => id)).toEqual([index.configs[own]!]);
  });

  test("that names what is no manifest is listed all the same", async () => {
    await load(index.archive, [own]);
    const document = JSON.parse(Buffer.from(await lab.content.bytes(index.index.digest)).toString()) as Index;
    const config = { mediaType: mediaTypes.ociManifest, digest: index.configs[own]!, size: 1 };
    const { digest } = await lab.content.put(JSON.stringify({ ...document, manifests: [config, ...document.manifests] }));
    // As if it had come so.
    lab.store.db.query("UPDATE index_members SET idx = ?").run(digest);
    lab.store.db.query("UPDATE image_refs SET target = ?").run(digest);
    lab.images.tag("multi:1", "again:1");
    expect((await available("again:1"))[0]).toEqual(["unknown", undefined, false]);
    expect(await available("again:1")).toHaveLength(7);
    writeFileSync(lab.content.path(digest), "{");
    lab.images.tag("multi:1", "again:2");
    expect((await lab.images.list()).flatMap(({ repoTags }) => repoTags)).toEqual(["again:1", "again:2", "multi:1"]);
  });

  test("that shares an image with another index: each name's end takes what only it stood for", async () => {
    const second = multiPlatform("docker.io/library/second:1", [own, "riscv64"]);
    await load(multiPlatform("docker.io/library/multi:1", [own, foreign]).archive);
    await load(second.archive);
    expect([here(), here("second:1")]).toEqual([
      [own, foreign],
      [own, "riscv64"],
    ]);
    expect((await lab.images.list()).map(({ repoTags, variants }) => [repoTags, variants.length])).toEqual([[["multi:1", "second:1"], 2]]);
    await expectCount();
    const removed = await lab.images.remove("multi:1");
    expect(removed.slice(0, 2)).toEqual([{ Untagged: "multi:1" }, { Deleted: index.configs[foreign]! }]);
    expect(here("second:1")).toEqual([own, "riscv64"]);
    await load(multiPlatform("docker.io/library/multi:1", [own, foreign]).archive);
    await lab.images.remove(index.configs[own]!, { force: true });
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });
  });

  test("of which one platform is here, tagged by its id: that one is pushed", async () => {
    await load(index.archive, [own]);
    const name = `${registry.host}/push/single:1`;
    lab.images.tag(index.configs[own]!, name);
    await lab.push(name);
    expect(lab.messages.findLast(({ aux }) => aux !== undefined)!.aux).toMatchObject({ manifestPushedInsteadOfIndex: true });
    const pushed = await fetch(`http://${registry.host}/v2/push/single/manifests/1`, { headers: { accept: mediaTypes.ociManifest } });
    expect(pushed.headers.get("docker-content-digest")).toBe(index.manifests[own]!.digest);
    expect(await failure(() => lab.images.push(name, { platform: linux(own), onProgress: () => {} }))).toEqual({ kind: "none", text: "" });
  });
});

describe.skipIf(skipped("root", "overlay", "docker"))("platforms of a name, with real clients", () => {
  const index = multiPlatform("docker.io/library/multi:1", all);
  const name = "127.0.0.1:5000/team/multi:1";
  let engine: Engine;
  let registry: AsyncDisposable;
  beforeAll(async () => {
    engine = await Engine.start();
    registry = await engine.registry();
    writeFileSync(join(engine.root, "multi.tar"), index.archive);
    await engine.ok("load", "-i", join(engine.root, "multi.tar"));
    await engine.ok("tag", "multi:1", name);
    await engine.ok("push", name);
    await engine.ok("rmi", "multi:1", name);
  });
  afterAll(async () => {
    await registry[Symbol.asyncDispose]();
    await engine[Symbol.asyncDispose]();
  });
  const berth = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await engine.berth(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return stdout;
  };
  const json = async (path: string): Promise<{ status: number; body: unknown }> => {
    const answer = await engine.api("GET", path);
    return { status: answer.status, body: await answer.json() };
  };

  test("pulled one after the other, run, shown and removed by the platform", async () => {
    const ok = (...args: string[]): Promise<string> => engine.ok(...args);
    expect(await ok("pull", "-q", "--platform", `linux/${foreign}`, name)).toBe(name);
    expect(await ok("run", "--rm", name)).toBe(foreign);
    expect(await ok("pull", name)).toContain("Status: Downloaded newer image");
    expect(await ok("run", "--rm", name)).toBe(own);
    expect(await ok("run", "--name", "other", "--platform", `linux/${foreign}`, name)).toBe(foreign);
    expect(await ok("ps", "-a", "--format", "{{.Names}} {{.Image}}", "--filter", `ancestor=${name}`)).toBe(`other ${name}`);
    expect(await ok("inspect", "-f", "{{.ImageManifestDescriptor.Digest}} {{.ImageManifestDescriptor.Platform.Architecture}}", "other")).toBe(
      `${index.manifests[foreign]!.digest} ${foreign}`,
    );
    expect((await ok("images", "-a", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")).split("\n")).toEqual([`${name} ${index.configs[own]!.slice(7, 19)}`]);
    expect(await ok("inspect", "-f", "{{.Architecture}}", name)).toBe(own);
    expect(await ok("inspect", "-f", "{{json .RepoTags}}", index.configs[foreign]!)).toBe(JSON.stringify([name]));

    // In use: the name goes by force only, its platform not at all while it runs.
    expect(await engine.refused("rmi", name)).toContain("is using its referenced image");
    await ok("rm", "other");
    await ok("run", "-d", "--name", "other", "--platform", `linux/${foreign}`, name, "cat", "/dev/zero");
    expect(await engine.refused("rmi", "-f", index.configs[own]!)).toContain("is being used by running container");
    expect((await engine.berth(["rmi", "-f", "--platform", `linux/${foreign}`, name])).stderr).toContain("is being used by running container");
    await ok("rm", "-f", "other");

    expect(await berth("images", "--tree")).toMatch(
      new RegExp(`^IMAGE +ID +DISK USAGE +CONTENT SIZE +EXTRA\n${name} .*\n├─ linux/amd64 .*\n├─ linux/arm64 .*\n└─ linux/s390x +[0-9a-f]{12} +0B +0B `),
    );
    expect(await berth("history", "--platform", `linux/${foreign}`, "--format", "{{.CreatedBy}}", name)).toBe(`arch ${foreign}\nbase\n`);
    expect(await berth("image", "inspect", "--platform", foreign, "-f", "{{.Architecture}} {{.Descriptor.digest}}", name)).toBe(
      `${foreign} ${index.manifests[foreign]!.digest}\n`,
    );
    const archive = join(engine.root, "both.tar");
    await berth("save", "-o", archive, "--platform", `linux/amd64,linux/arm64`, name);
    expect((await engine.berth(["rmi", "--platform", `linux/${foreign}`, name])).stderr).toContain("Use --force to force delete");
    expect(await berth("rmi", "-f", "--platform", foreign, name)).toContain(`Deleted: ${index.configs[foreign]}`);
    expect((await engine.berth(["image", "inspect", "--platform", foreign, name])).stderr).toContain("does not provide the specified platform");
    expect(await berth("push", name)).toContain(`Not all platforms of the image are here: only the one with digest ${index.manifests[own]!.digest} was pushed`);
    await berth("load", "-q", "-i", archive, "--platform", foreign);
    expect(await ok("run", "--rm", "--platform", `linux/${foreign}`, name)).toBe(foreign);
    await berth("rmi", name);
    expect(await ok("images", "-aq")).toBe("");
  });

  test("parameters by version, and what is refused", async () => {
    await engine.ok("load", "-i", join(engine.root, "multi.tar"));
    const at = `/images/multi:1`;
    const platform = encodeURIComponent(JSON.stringify({ os: "linux", architecture: foreign }));
    const architecture = async (path: string): Promise<unknown> => ((await json(path)).body as { Architecture: string }).Architecture;
    expect(await architecture(`/v1.49${at}/json?platform=${platform}`)).toBe(foreign);
    expect(await architecture(`/v1.48${at}/json?platform=${platform}`)).toBe(own);
    const inspect = async (version: string): Promise<string[]> => Object.keys((await json(`/v${version}${at}/json?manifests=1`)).body as object);
    expect((await inspect("1.55")).includes("Manifests")).toBe(true);
    expect((await inspect("1.47")).filter((key) => ["Manifests", "Descriptor", "Identity"].includes(key))).toEqual([]);
    const list = async (version: string, query: string): Promise<Record<string, unknown>> =>
      ((await json(`/v${version}/images/json?${query}`)).body as Record<string, unknown>[])[0]!;
    expect(await list("1.55", "manifests=1")).toMatchObject({ Manifests: { length: 6 }, Descriptor: index.index });
    expect(await list("1.46", "manifests=1")).not.toHaveProperty("Manifests");
    expect(await list("1.47", "")).not.toHaveProperty("Descriptor");
    const statements = await json(`/v1.55${at}/attestations?statement=1&platform=${platform}`);
    expect(statements.body).toMatchObject([{ PredicateType: "https://slsa.dev/provenance/v0.2", Statement: { predicate: { architecture: foreign } } }]);
    expect((await json(`/v1.55${at}/attestations?type=https://spdx.dev/Document`)).body).toEqual([]);
    expect((await json(`/v1.54${at}/attestations`)).status).toBe(400);

    const bad: [method: string, path: string, status: number, message: string][] = [
      ["GET", `/v1.55${at}/json?platform=linux`, 400, "failed to parse platform"],
      ["GET", `/v1.55${at}/json?platform={"os":"linux"}`, 400, "both OS and Architecture must be provided"],
      ["GET", `/v1.55${at}/json?platform={"variant":"v7"}`, 400, "optional platform fields provided"],
      ["GET", `/v1.55${at}/json?platform={"os":1,"architecture":"x"}`, 400, "failed to parse platform"],
      ["GET", `/v1.55${at}/json?manifests=1&platform=${platform}`, 400, "manifests and platform options cannot both be set"],
      ["GET", `/v1.55${at}/history?platform={"os":"linux","architecture":"mips"}`, 404, "does not provide the specified platform (linux/mips)"],
      ["GET", `/v1.55/images/json?identity=1`, 400, "identity requires manifests=1"],
      ["GET", `/v1.55/images/json?filters={"no":["x"]}`, 400, "invalid filter 'no'"],
      ["GET", `/v1.55${at}/attestations?platform=${platform}&platform=${platform}`, 400, "only one platform value"],
      ["GET", `/v1.55/images/none/attestations`, 404, "No such image: none:latest"],
      ["GET", `/v1.51${at}/get?platform=${platform}&platform=${platform}`, 400, "multiple platform parameters are not supported"],
      ["GET", `/v1.55${at}/get?platform={"os":"linux","architecture":"mips"}`, 404, "does not provide"],
      ["POST", `/v1.51/images/load?platform=${platform}&platform=${platform}`, 400, "multiple platform parameters are not supported"],
      ["POST", `/v1.55${at}/push?platform=x`, 400, "failed to parse platform"],
      ["DELETE", `/v1.55${at}?platforms=${platform}`, 400, "Use --force"],
      ["DELETE", `/v1.55${at}?force=1&platforms={}`, 400, "both OS and Architecture must be provided"],
      ["GET", `/v1.55/images/search?term=x&limit=101`, 400, "limit 101 is outside the range of [1, 100]"],
      ["GET", `/v1.55/images/search?term=x&limit=-1`, 400, "invalid limit"],
      ["GET", `/v1.55/images/search?term=x&filters={"stars":["many"]}`, 400, "invalid filter 'stars=many'"],
      ["GET", `/v1.55/images/search?term=x&filters={"is-official":["perhaps"]}`, 400, "invalid filter 'is-official=[perhaps]'"],
    ];
    for (const [method, path, status, message] of bad) {
      const answer = await engine.api(method, path);
      expect({ path, status: answer.status, message: ((await answer.json()) as { message: string }).message }).toEqual({
        path,
        status,
        message: expect.stringContaining(message) as never,
      });
    }
    // Versions that don't know it don't read it.
    expect((await engine.api("DELETE", `/v1.49${at}?platforms=x`)).status).toBe(200);
  });

  test("the registry's repositories can be searched", async () => {
    expect(await engine.ok("search", "127.0.0.1:5000/mult", "--format", "{{.Name}}")).toBe("127.0.0.1:5000/team/multi");
    expect(await berth("search", "--filter", "stars=1", "--format", "{{.Name}}", "127.0.0.1:5000/mult")).toBe("");
  });
});
