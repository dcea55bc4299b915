import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { ImageRecord, ProgressMessage } from "../../src/images/types.ts";
import { TarParser } from "../../src/lib/tar-reader.ts";
import { kindOf, messageOf } from "../../src/lib/errors.ts";
import { mediaTypes, type Index } from "../../src/oci/image.ts";
import { skipped } from "../skips.ts";
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

function members(archive: Uint8Array): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  let name = "";
  const parser = new TarParser({
    entry: (header) => void found.set((name = header.name), Buffer.alloc(0)),
    data: (chunk) => void found.set(name, Buffer.concat([found.get(name)!, chunk])),
    end: () => {},
  });
  parser.push(archive);
  parser.finish();
  return found;
}

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
    members(await new Response(lab.images.save([name], { platforms: platforms.map(linux) })).bytes());
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

    const archive = await new Response(lab.images.save(["multi:1"])).bytes();
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
    expect((await failure(() => lab.images.push(name, { platform: linux("s390x"), onProgress: () => {} }))).kind).toBe("notFound");

    // The digest it was pushed by goes with the last tag.
    await lab.images.remove("multi:1");
    await lab.images.remove(name);
    expect(lab.rest()).toEqual({ blobs: 0, snapshots: 0, ingests: 0 });

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
