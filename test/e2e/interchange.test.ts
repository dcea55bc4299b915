import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { mediaTypes, type Index, type Manifest } from "../../src/oci/image.ts";
import { skipped } from "../skips.ts";
import { debianProgram } from "./debian.ts";
import { dockerdPath, startDockerd, type Dockerd } from "./dockerd.ts";
import { createLab, startBerthRegistry, type Entry, type Lab } from "./images-lab.ts";

/** Archives that others write and read. */

let lab: Lab;
let folder: string;
beforeEach(() => {
  lab = createLab();
  folder = mkdtempSync(join(tmpdir(), "berth-interchange-"));
});
afterEach(() => {
  lab[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function run(...command: string[]): Promise<string> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", cwd: folder });
  const [code, output, problems] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${problems}`);
  return output;
}
const skopeo = (...args: string[]): Promise<string> => run("skopeo", "--insecure-policy", ...args);

const text = (name: string, body: string): Entry => ({ name, type: "file", body });
const long = `deep/${"d".repeat(90)}/${"n".repeat(120)}`;
/** Whatever a layer may have in it. */
const entries: Entry[] = [
  { name: "./", type: "directory", mode: 0o755 },
  { name: "./etc", type: "directory", mode: 0o750, uid: 3, gid: 4 },
  { ...text("etc/passwd", "root:x:0:0\n"), mode: 0o640, uid: 1000, gid: 1001, mtime: { seconds: 1_600_000_000, nanoseconds: 0 } },
  { name: "etc/again", type: "hardlink", linkName: "etc/passwd" },
  { name: "etc/link", type: "symlink", linkName: "/etc/passwd" },
  { ...text("bin", "#!"), mode: 0o4755 },
  { ...text("capable", "x"), xattrs: new Map([["security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex")]]) },
  text(Buffer.from("sp ace-ü\\x").toString("latin1"), "named"),
  // Listed, since the time of one that isn't is that of its unpacking.
  { name: "deep", type: "directory" },
  { name: `deep/${"d".repeat(90)}`, type: "directory" },
  text(long, "long"),
  { name: "big", type: "file", body: Buffer.alloc(300_000, "some text that packs well ") },
  { name: "empty", type: "file" },
  { name: "null", type: "char", major: 1, minor: 3, mode: 0o666 },
  { name: "pipe", type: "fifo" },
  { name: ".wh.gone", type: "file" },
];

async function saved(...references: string[]): Promise<string> {
  const path = join(folder, `saved-${readdirSync(folder).length}.tar`);
  await Bun.write(path, new Response((await lab.images.save(references)) as never));
  return path;
}

/** Loads the archive into an empty store. Returns what was said. */
async function loaded(path: string): Promise<string> {
  await lab.empty();
  let said = "";
  await lab.images.load(Bun.file(path).stream(), { onProgress: ({ stream }) => void (said += stream ?? ""), quiet: true });
  return said;
}

const manifestOf = (layout: string, at = 0): Manifest => {
  const blob = (digest: string): unknown => JSON.parse(readFileSync(join(layout, "blobs", digest.replace(":", "/")), "utf8"));
  const { manifests } = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as Index;
  return blob(manifests[at]!.digest) as Manifest;
};

/** Two images; the second stands on the first. */
async function two(): Promise<[Digest, Digest]> {
  const base = await lab.image("example.org/team/base:1", entries);
  const top = await lab.onTop(base, "top:latest", { second: "layer" });
  return [base.id, top.id];
}

describe.skipIf(skipped("root", "skopeo"))("skopeo", () => {
  test("reads what we save, as both kinds of archive, one of several by its name", async () => {
    const [base, top] = await two();
    const path = await saved("example.org/team/base:1", "top");
    for (const [source, id, layers] of [
      [`docker-archive:${path}:example.org/team/base:1`, base, 1],
      [`docker-archive:${path}:docker.io/library/top:latest`, top, 2],
      [`oci-archive:${path}:1`, base, 1],
      [`oci-archive:${path}:latest`, top, 2],
    ] as const) {
      rmSync(join(folder, "out"), { recursive: true, force: true });
      await skopeo("copy", source, `dir:${folder}/out`);
      const manifest = JSON.parse(readFileSync(join(folder, "out/manifest.json"), "utf8")) as Manifest;
      expect([source, manifest.config.digest, manifest.layers.length]).toEqual([source, id, layers]);
    }
  });

  test("writes what we load: the same image by every way", async () => {
    const [, top] = await two();
    const path = await saved("top");
    await skopeo("copy", `oci-archive:${path}:latest`, `docker-archive:${folder}/docker.tar:example.org/copied:2`);
    await skopeo("copy", `oci-archive:${path}:latest`, `oci-archive:${folder}/oci.tar:example.org/copied:3`);
    await skopeo("copy", "--dest-compress", "--dest-compress-format", "zstd", `oci-archive:${path}:latest`, `oci:${folder}/zstd:example.org/copied:4`);
    await run("tar", "-C", join(folder, "zstd"), "-cf", join(folder, "zstd.tar"), ".");
    for (const [name, tag] of [
      ["docker", 2],
      ["oci", 3],
      ["zstd", 4],
    ] as const) {
      expect(await loaded(join(folder, `${name}.tar`))).toBe(`Loaded image: example.org/copied:${tag}\n`);
      expect(lab.images.resolve(`example.org/copied:${tag}`).id).toBe(top);
    }
  });

  test("reads zstd layers that we keep", async () => {
    const [, top] = await two();
    await skopeo("copy", "--dest-compress", "--dest-compress-format", "zstd", `oci-archive:${await saved("top")}:latest`, `oci:${folder}/zstd:a.b/c:1`);
    await run("tar", "-C", join(folder, "zstd"), "-cf", join(folder, "zstd.tar"), ".");
    await loaded(join(folder, "zstd.tar"));
    const before = manifestOf(join(folder, "zstd"));
    await skopeo("copy", `oci-archive:${await saved("a.b/c:1")}:1`, `oci:${folder}/back:x`);
    expect(manifestOf(join(folder, "back"))).toEqual(before);
    expect(before.config.digest).toBe(top);
  });
});

/** Names, kinds, modes, owners, times, contents of a tree: one line each. */
function listing(root: string, path = ""): string[] {
  return readdirSync(join(root, path), { encoding: "latin1" })
    .sort()
    .flatMap((name) => {
      const at = `${path}/${name}`;
      const full = Buffer.from(join(root, at), "latin1");
      const stat = lstatSync(full);
      const { mode, uid, gid, rdev, nlink, mtimeMs } = stat;
      const body = stat.isFile() ? digestOf(readFileSync(full)) : stat.isSymbolicLink() ? readlinkSync(full) : "";
      const line = [at, mode.toString(8), uid, gid, rdev, stat.isDirectory() ? 0 : nlink, Math.floor(mtimeMs / 1000), body].join(" ");
      return stat.isDirectory() ? [line, ...listing(root, at)] : [line];
    });
}

describe.skipIf(skipped("root", "umoci"))("umoci", () => {
  const umoci = (...args: string[]): Promise<string> => run(debianProgram("umoci", "usr/bin/umoci")!, ...args);

  test("unpacks what we save to the same tree", async () => {
    const image = await lab.image(
      "tree:1",
      entries.filter(({ name }) => !name.startsWith(".wh.")),
    );
    mkdirSync(join(folder, "layout"));
    await run("tar", "-C", join(folder, "layout"), "-xf", await saved("tree:1"));
    await umoci("unpack", "--image", `${folder}/layout:1`, join(folder, "bundle"));
    const ours = lab.snapshots.path(image.layers[0]!);
    expect(listing(join(folder, "bundle/rootfs"))).toEqual(listing(ours));
    expect(statSync(join(folder, "bundle/rootfs/etc")).mode & 0o777).toBe(0o750);
  });

  test("unpacks an image made on one that a registry gave with Docker's media types", async () => {
    await using registry = await startBerthRegistry();
    const name = `${registry.host}/base:1`;
    await lab.image(name, [text("below", "1")]);
    await lab.push(name);
    await lab.empty();
    await lab.onTop(await lab.pull(name), "top:1", { above: "2" });
    mkdirSync(join(folder, "layout"));
    await run("tar", "-C", join(folder, "layout"), "-xf", await saved("top:1"));
    expect(manifestOf(join(folder, "layout")).layers.map(({ mediaType }) => mediaType)).toEqual([mediaTypes.ociLayerGzip, mediaTypes.ociLayer]);
    await umoci("unpack", "--image", `${folder}/layout:1`, join(folder, "bundle"));
    expect(readdirSync(join(folder, "bundle/rootfs")).sort()).toEqual(["above", "below"]);
  });

  test("writes what we load", async () => {
    const layout = join(folder, "layout");
    await umoci("init", "--layout", layout);
    await umoci("new", "--image", `${layout}:example.org/made:1`);
    mkdirSync(join(folder, "bundle"));
    writeFileSync(join(folder, "bundle/hello"), "world");
    await umoci("insert", "--image", `${layout}:example.org/made:1`, join(folder, "bundle"), "/data");
    await umoci("config", "--image", `${layout}:example.org/made:1`, "--config.entrypoint", "/data/hello");
    await run("tar", "-C", layout, "-cf", join(folder, "made.tar"), ".");
    expect(await loaded(join(folder, "made.tar"))).toBe("Loaded image: example.org/made:1\n");
    const image = lab.images.resolve("example.org/made:1");
    expect(image.config.config?.Entrypoint).toEqual(["/data/hello"]);
    expect(readFileSync(join(lab.snapshots.path(image.layers[0]!), "data/hello"), "utf8")).toBe("world");
  });
});

describe.skipIf(skipped("root", "overlay", "dockerd"))("dockerd", () => {
  let daemon: Dockerd | undefined;
  beforeAll(async () => {
    daemon = await startDockerd(dockerdPath()!);
  }, 60_000);
  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]();
  });

  const ask = async (method: string, path: string, body?: Blob): Promise<string> => {
    const answer = await daemon!.request(method, path, body);
    const said = await answer.text();
    if (!answer.ok || said.includes('"error"')) throw new Error(`${method} ${path}: ${answer.status} ${said}`);
    return said;
  };
  const fetched = async (path: string): Promise<string> => {
    const file = join(folder, `dockerd-${readdirSync(folder).length}.tar`);
    await Bun.write(file, await daemon!.request("GET", path));
    return file;
  };

  test("loads what we save, and we load what it saves of that", async () => {
    const [base, top] = await two();
    const said = await ask("POST", "/images/load", Bun.file(await saved("example.org/team/base:1", "top")));
    expect(said).toContain("Loaded image: example.org/team/base:1");
    expect(said).toContain("Loaded image: top:latest");
    const { Id, RootFS } = JSON.parse(await ask("GET", "/images/top:latest/json")) as { Id: string; RootFS: { Layers: string[] } };
    expect([Id, RootFS.Layers]).toEqual([top, lab.images.resolve("top").config.rootfs.diff_ids]);
    const both = await fetched("/images/get?names=example.org%2Fteam%2Fbase:1&names=top");
    expect((await loaded(both)).split("\n").sort()).toEqual(["", "Loaded image: example.org/team/base:1", "Loaded image: top:latest"]);
    expect([lab.images.resolve("example.org/team/base:1").id, lab.images.resolve("top").id]).toEqual([base, top]);
    await loaded(await fetched(`/images/${top}/get`));
    expect(lab.images.resolve(top).repoTags).toEqual([]);
  });

  test("loads compressed layers, gzip and zstd, of which it makes the same image", async () => {
    const plain = tarOf(entries.filter(({ name }) => name !== "null"));
    for (const [name, bytes] of [
      ["gzip", gzipSync(plain)],
      ["zstd", zstdCompressSync(plain)],
    ] as const) {
      const { id } = await lab.images.import(new Blob([bytes]).stream(), { reference: `${name}:1`, onProgress: () => {} });
      await ask("POST", "/images/load", Bun.file(await saved(`${name}:1`)));
      expect((JSON.parse(await ask("GET", `/images/${name}:1/json`)) as { Id: string }).Id).toBe(id);
    }
  });

  test("what it imported and saved we load, and save back the same bytes of the layer", async () => {
    await ask("POST", "/images/create?fromSrc=-&repo=imported&tag=1", new Blob([Uint8Array.from(tarOf(entries))]));
    const { Id } = JSON.parse(await ask("GET", "/images/imported:1/json")) as { Id: string };
    expect(await loaded(await fetched("/images/imported:1/get"))).toBe("Loaded image: imported:1\n");
    expect(lab.images.resolve("imported:1").id).toBe(Id as Digest);
    await ask("DELETE", "/images/imported:1");
    await ask("POST", "/images/load", Bun.file(await saved("imported:1")));
    expect((JSON.parse(await ask("GET", "/images/imported:1/json")) as { Id: string }).Id).toBe(Id);
  });
});
