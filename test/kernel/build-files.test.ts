import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isArchive } from "../../src/snapshots/archive.ts";
import { combinedHash, selectSources, type CopySource } from "../../src/build/checksum.ts";
import { unpackContext } from "../../src/build/context.ts";
import { copySources, type CopyOptions } from "../../src/build/copy.ts";
import { extractTar } from "../../src/snapshots/extract.ts";
import { createBuildFiles } from "../../src/build/files.ts";
import { Root } from "../../src/snapshots/root.ts";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { skipped } from "../skips.ts";

const base = mkdtempSync(join(tmpdir(), "berth-build-"));
let work = "";
let outside = "";
let count = 0;

beforeEach(() => {
  work = join(base, `${count++}`);
  outside = join(work, "outside");
  for (const name of ["", "outside", "from", "to"]) mkdirSync(join(work, name));
  writeFileSync(join(outside, "secret"), "secret");
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

const streamOf = (bytes: Uint8Array): ReadableStream<Uint8Array> => new Response(bytes as never).body as never;

async function extract(entries: Parameters<typeof tarOf>[0], destination = ""): Promise<void> {
  using root = new Root(join(work, "to"));
  await extractTar(root, streamOf(tarOf(entries)) as never, { destination });
}

/** Everything below a directory: path and what it is. */
function tree(directory: string, above = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(directory).sort()) {
    const [path, shown] = [join(directory, name), above + name];
    const stat = lstatSync(path);
    found[shown] = stat.isSymbolicLink() ? `-> ${readlinkSync(path)}` : stat.isDirectory() ? "dir" : readFileSync(path, "utf8");
    if (stat.isDirectory()) Object.assign(found, tree(path, `${shown}/`));
  }
  return found;
}

describe.skipIf(skipped("root"))("archives", () => {
  test("files, directories, links, owners, modes and times", async () => {
    await extract([
      { name: "./d/", type: "directory", mode: 0o2750, uid: 3, gid: 4, mtime: { seconds: 1000, nanoseconds: 0 } },
      { name: "d/f", type: "file", body: "hello", mode: 0o4755, uid: 1, gid: 2, mtime: { seconds: 2000, nanoseconds: 0 } },
      { name: "d/l", type: "symlink", linkName: "f" },
      { name: "d/h", type: "hardlink", linkName: "./d/f" },
      { name: "d/fifo", type: "fifo", mode: 0o600 },
      { name: "x/y/z", type: "file", body: "deep" },
    ]);
    const to = join(work, "to");
    const [d, f, h] = ["d", "d/f", "d/h"].map((path) => lstatSync(join(to, path)));
    expect([d!.mode & 0o7777, d!.uid, d!.gid, d!.mtimeMs]).toEqual([0o2750, 3, 4, 1_000_000]);
    expect([f!.mode & 0o7777, f!.uid, f!.gid, f!.mtimeMs, f!.nlink]).toEqual([0o4755, 1, 2, 2_000_000, 2]);
    expect(h!.ino).toBe(f!.ino);
    expect(readlinkSync(join(to, "d/l"))).toBe("f");
    expect(lstatSync(join(to, "d/fifo")).isFIFO()).toBe(true);
    expect(readFileSync(join(to, "x/y/z"), "utf8")).toBe("deep");
  });

  test("later entries replace earlier ones; directories keep what is in them", async () => {
    await extract([
      { name: "a", type: "file", body: "1" },
      { name: "a/", type: "directory", mode: 0o755 },
      { name: "a/b", type: "file", body: "2" },
      { name: "a/", type: "directory", mode: 0o700 },
      { name: "c/d/e", type: "file", body: "3" },
      { name: "c", type: "symlink", linkName: "a" },
      { name: "c/f", type: "file", body: "4" },
    ]);
    expect(tree(join(work, "to"))).toEqual({ a: "dir", "a/b": "2", "a/f": "4", c: "-> a" });
    expect(lstatSync(join(work, "to/a")).mode & 0o777).toBe(0o700);
  });

  test("a link to a directory is filled, not replaced", async () => {
    mkdirSync(join(work, "to/usr/bin"), { recursive: true });
    symlinkSync("usr/bin", join(work, "to/bin"));
    await extract([
      { name: "bin/", type: "directory", mode: 0o755 },
      { name: "bin/sh", type: "file", body: "x" },
    ]);
    expect(tree(join(work, "to"))).toEqual({ bin: "-> usr/bin", usr: "dir", "usr/bin": "dir", "usr/bin/sh": "x" });
  });

  const hostile: [string, Parameters<typeof tarOf>[0], string | undefined][] = [
    ["dots", [{ name: "../outside/evil", type: "file", body: "x" }], "is outside of its root"],
    ["dots within", [{ name: "a/../../outside/evil", type: "file", body: "x" }], "is outside of its root"],
    ["a hard link out", [{ name: "h", type: "hardlink", linkName: "../outside/secret" }], "is outside of its root"],
    ["a hard link to nothing", [{ name: "h", type: "hardlink", linkName: "nope" }], "which isn't there"],
    ["an absolute name", [{ name: "/outside/evil", type: "file", body: "x" }], undefined],
    [
      "a symlink out",
      [
        { name: "l", type: "symlink", linkName: "../outside" },
        { name: "l/evil", type: "file", body: "x" },
      ],
      undefined,
    ],
    [
      "an absolute symlink",
      [
        { name: "l", type: "symlink", linkName: "/proc/self/root/tmp" },
        { name: "l/evil", type: "file", body: "x" },
      ],
      undefined,
    ],
    [
      "a file through a symlink",
      [
        { name: "l", type: "symlink", linkName: "../outside/secret" },
        { name: "l", type: "file", body: "x" },
      ],
      undefined,
    ],
    [
      "a chain of symlinks",
      [
        { name: "a", type: "symlink", linkName: "b" },
        { name: "b", type: "symlink", linkName: "a" },
        { name: "a/x", type: "file", body: "x" },
      ],
      "symbolic links",
    ],
    [
      "a file below a file",
      [
        { name: "a", type: "file", body: "x" },
        { name: "a/b", type: "file", body: "x" },
      ],
      "not a directory",
    ],
  ];
  for (const [what, entries, error] of hostile) {
    test(`hostile: ${what}`, async () => {
      if (error === undefined) await extract(entries);
      else await expect(extract(entries)).rejects.toThrow(error);
      await Bun.sleep(0);
      expect(tree(outside)).toEqual({ secret: "secret" });
    });
  }

  test("runs of zeros become holes", async () => {
    const zeros = Buffer.alloc(1 << 20);
    const [middle, end] = [Buffer.concat([Buffer.from("a"), zeros, zeros, Buffer.from("b")]), Buffer.concat([Buffer.from("a"), zeros])];
    await extract([
      { name: "middle", type: "file", body: middle },
      { name: "end", type: "file", body: end },
      { name: "all", type: "file", body: zeros },
    ]);
    const to = join(work, "to");
    for (const [name, body] of Object.entries({ middle, end, all: zeros })) {
      expect(readFileSync(join(to, name)).equals(body)).toBe(true);
      expect(lstatSync(join(to, name)).blocks * 512).toBeLessThan(body.length / 2);
    }
  });

  test("cut and damaged archives are refused", async () => {
    const tar = tarOf([{ name: "a", type: "file", body: "x".repeat(5000) }]);
    using root = new Root(join(work, "to"));
    await expect(extractTar(root, streamOf(tar.subarray(0, 2000)) as never, { destination: "" })).rejects.toThrow("unexpected end");
    await expect(extractTar(root, streamOf(Buffer.alloc(2048, 7)) as never, { destination: "" })).rejects.toThrow("bad tar archive");
  });
});

describe.skipIf(skipped("root"))("contexts", () => {
  const contextOf = async (entries: Parameters<typeof tarOf>[0], dockerfile = "Dockerfile", pack = (tar: Buffer): Uint8Array => tar): Promise<string> =>
    await unpackContext(join(work, "to"), streamOf(pack(tarOf(entries))), dockerfile);
  const dockerfile = { name: "Dockerfile", type: "file", body: "FROM scratch\n" } as const;

  test("the Dockerfile is found, by another name, and in lower case", async () => {
    expect(await contextOf([dockerfile])).toBe("FROM scratch\n");
    expect(await contextOf([{ ...dockerfile, name: "sub/x.Dockerfile" }], "./sub/x.Dockerfile")).toBe("FROM scratch\n");
    rmSync(join(work, "to/Dockerfile"));
    expect(await contextOf([{ ...dockerfile, name: "dockerfile" }])).toBe("FROM scratch\n");
  });

  for (const [name, command] of Object.entries({ gzip: ["gzip", "-c"], bzip2: ["bzip2", "-c"], xz: ["xz", "-c"], zstd: ["zstd", "-cq"] })) {
    test.skipIf(Bun.which(name) === null)(`compressed with ${name}`, async () => {
      const pack = (tar: Buffer): Uint8Array => Bun.spawnSync(command, { stdin: tar }).stdout;
      expect(await contextOf([dockerfile], "Dockerfile", pack)).toBe("FROM scratch\n");
    });
  }

  test(".dockerignore takes itself and the Dockerfile out, and nothing else", async () => {
    await contextOf([dockerfile, { name: ".dockerignore", type: "file", body: "*\n!kept\n" }, { name: "a", type: "file", body: "a" }]);
    expect(tree(join(work, "to"))).toEqual({ a: "a" });
  });

  const mistakes: [string, Parameters<typeof tarOf>[0], string, string][] = [
    ["none", [{ name: "a", type: "file" }], "Dockerfile", "Cannot locate specified Dockerfile: Dockerfile"],
    ["empty", [{ name: "Dockerfile", type: "file" }], "Dockerfile", "the Dockerfile (Dockerfile) cannot be empty"],
    ["a directory", [{ name: "Dockerfile", type: "directory" }], "Dockerfile", "is no regular file"],
    ["a fifo", [{ name: "Dockerfile", type: "fifo" }], "Dockerfile", "is no regular file"],
    ["outside", [dockerfile], "../outside/secret", "forbidden path outside the build context"],
    ["a symlink out", [{ name: "Dockerfile", type: "symlink", linkName: "../outside/secret" }], "Dockerfile", "Cannot locate specified Dockerfile"],
  ];
  for (const [what, entries, name, message] of mistakes) test(`Dockerfile: ${what}`, () => expect(contextOf(entries, name)).rejects.toThrow(message));
});

describe.skipIf(skipped("root"))("sources and their hashes", () => {
  const options = { command: "COPY", keepOwners: false, context: true };
  const select = (...words: string[]): CopySource[] => {
    using root = new Root(join(work, "from"));
    return selectSources(root, words, options);
  };
  beforeEach(() => {
    for (const name of ["a.txt", "b.txt", "c.md", "d/e.txt", "d/s/f"]) {
      mkdirSync(join(work, "from", name, ".."), { recursive: true });
      writeFileSync(join(work, "from", name), name);
    }
  });

  test("names, wildcards and directories", () => {
    expect(select("a.txt", "/b.txt", "./d").map(({ path, directory }) => [path, directory])).toEqual([
      ["a.txt", false],
      ["b.txt", false],
      ["d", true],
    ]);
    expect(select("*.txt").map(({ path }) => path)).toEqual(["a.txt", "b.txt"]);
    expect(select("*/*.txt").map(({ path }) => path)).toEqual(["d/e.txt"]);
    expect(select("?").map(({ path }) => path)).toEqual(["d"]);
    expect(select(".")[0]).toMatchObject({ path: "", directory: true });
  });

  test("hashes change with content, mode and name, not with time", () => {
    const before = select(".")[0]!.hash;
    utimesSync(join(work, "from/d/s/f"), 1, 1);
    expect(select(".")[0]!.hash).toBe(before);
    writeFileSync(join(work, "from/d/s/f"), "other");
    const after = select(".")[0]!.hash;
    expect(after).not.toBe(before);
    expect(before).toMatch(/^dir:[0-9a-f]{64}$/);
    expect(select("a.txt")[0]!.hash).not.toBe(select("b.txt")[0]!.hash);
    expect(combinedHash(select("a.txt", "b.txt"))).toMatch(/^multi:[0-9a-f]{64}$/);
  });

  const mistakes: [string, string][] = [
    ["nope", "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: file does not exist"],
    ["../outside/secret", "COPY failed: forbidden path outside the build context: ../outside/secret ()"],
    ["*.nope", "COPY failed: no source files were specified"],
    ["[", "syntax error in pattern"],
  ];
  for (const [word, message] of mistakes) test(`${word} is refused`, () => expect(() => select(word)).toThrow(message));

  test("a symlink out of the context finds nothing", () => {
    symlinkSync("../outside/secret", join(work, "from/l"));
    symlinkSync(join(outside, "secret"), join(work, "from/m"));
    expect(() => select("l")).toThrow("file does not exist");
    expect(() => select("m")).toThrow("file does not exist");
  });
});

describe.skipIf(skipped("root"))("copies", () => {
  const copy = async (words: string[], destination: string, options: Partial<CopyOptions> = {}): Promise<Record<string, string>> => {
    using from = new Root(join(work, "from"));
    using to = new Root(join(work, "to"));
    const sources = selectSources(from, words, { command: "COPY", keepOwners: false, context: true });
    await copySources(from, sources, to, { destination, unpack: false, owner: { uid: 0, gid: 0 }, ...options });
    return tree(join(work, "to"));
  };
  const put = (name: string, body = name): void => {
    mkdirSync(join(work, "from", name, ".."), { recursive: true });
    writeFileSync(join(work, "from", name), body);
  };

  test("a file to a name, into a directory, and into one that is there", async () => {
    put("a");
    mkdirSync(join(work, "to/there"));
    await copy(["a"], "/x/y");
    await copy(["a"], "/dir/");
    expect(await copy(["a"], "/there")).toEqual({ dir: "dir", "dir/a": "a", there: "dir", "there/a": "a", x: "dir", "x/y": "a" });
    expect(lstatSync(join(work, "to/dir")).mode & 0o777).toBe(0o755);
  });

  test("a directory gives its contents, merged with what is there", async () => {
    put("d/a");
    put("d/s/b");
    put("d/s/c", "new");
    symlinkSync("a", join(work, "from/d/l"));
    mkdirSync(join(work, "to/x/s"), { recursive: true });
    writeFileSync(join(work, "to/x/s/c"), "old");
    writeFileSync(join(work, "to/x/s/kept"), "kept");
    expect(await copy(["d"], "/x")).toEqual({ x: "dir", "x/a": "d/a", "x/l": "-> a", "x/s": "dir", "x/s/b": "d/s/b", "x/s/c": "new", "x/s/kept": "kept" });
  });

  test("owner, mode and time", async () => {
    put("d/a");
    utimesSync(join(work, "from/d/a"), 77, 77);
    await copy(["d"], "/x", { owner: { uid: 5, gid: 6 }, mode: 0o640 });
    const { uid, gid, mode, mtimeMs } = lstatSync(join(work, "to/x/a"));
    expect([uid, gid, mode & 0o7777, mtimeMs]).toEqual([5, 6, 0o640, 77_000]);
    expect(lstatSync(join(work, "to/x")).uid).toBe(5);
  });

  test("hard links stay hard links", async () => {
    put("d/a");
    linkSync(join(work, "from/d/a"), join(work, "from/d/b"));
    await copy(["d"], "/x");
    expect(lstatSync(join(work, "to/x/a")).ino).toBe(lstatSync(join(work, "to/x/b")).ino);
  });

  test("a link to a directory is followed, in the destination's own root", async () => {
    put("d/s/a");
    put("f");
    mkdirSync(join(work, "to/usr/lib"), { recursive: true });
    symlinkSync("/usr", join(work, "to/u"));
    symlinkSync("usr/lib", join(work, "to/s"));
    await copy(["f"], "/u/lib/");
    expect(await copy(["d"], "/")).toEqual({ s: "-> usr/lib", u: "-> /usr", usr: "dir", "usr/lib": "dir", "usr/lib/a": "d/s/a", "usr/lib/f": "f" });
  });

  test("hostile destinations stay inside", async () => {
    put("a");
    symlinkSync("../../../../../../" + outside, join(work, "to/up"));
    symlinkSync("../outside/secret", join(work, "to/file"));
    await copy(["a"], "/up/a");
    await copy(["a"], "/file");
    expect(tree(outside)).toEqual({ secret: "secret" });
    expect(existsSync(join(work, "to", outside, "a"))).toBe(true);
  });

  test("a directory can't become a file", async () => {
    put("d/a");
    writeFileSync(join(work, "to/x"), "");
    await expect(copy(["d"], "/x")).rejects.toThrow("cannot copy to non-directory: /x");
  });

  test("ADD unpacks archives and copies everything else", async () => {
    const tar = tarOf([{ name: "in/a", type: "file", body: "a", uid: 9 }]);
    put("rootfs.tar.gz");
    writeFileSync(join(work, "from/rootfs.tar.gz"), Bun.gzipSync(new Uint8Array(tar)));
    put("text", "not an archive");
    put("gz", "x");
    writeFileSync(join(work, "from/gz"), Bun.gzipSync("no tar inside"));
    const found = await copy(["rootfs.tar.gz", "text", "gz"], "/x/", { unpack: true });
    expect(found).toMatchObject({ "x/in/a": "a", "x/text": "not an archive" });
    expect(Object.keys(found)).toContain("x/gz");
    expect(lstatSync(join(work, "to/x/in/a")).uid).toBe(9);
  });

  test("what an archive is", async () => {
    expect(await isArchive(streamOf(tarOf([{ name: "a", type: "file" }])))).toBe(true);
    expect(await isArchive(streamOf(tarOf([])))).toBe(false);
    expect(await isArchive(streamOf(Buffer.from("hello")))).toBe(false);
    expect(await isArchive(streamOf(new Uint8Array()))).toBe(false);
  });
});

/** What it fails with. `expect().rejects` waits in a way that never hears of a Worker's message. */
const failure = async (work: Promise<unknown>): Promise<unknown> =>
  await work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe.skipIf(skipped("root"))("the Worker", () => {
  test("unpacks, selects and copies; errors keep their kind; a stream that fails ends it", async () => {
    using files = createBuildFiles();
    const [from, to] = [join(work, "from"), join(work, "to")];
    const tar = tarOf([
      { name: "Dockerfile", type: "file", body: "FROM scratch" },
      { name: "big", type: "file", body: "x".repeat(3 << 20) },
    ]);
    expect(await files.run({ op: "context", directory: from, dockerfile: "Dockerfile" }, streamOf(tar))).toBe("FROM scratch");
    const options = { command: "COPY", keepOwners: false, context: true };
    const sources = await files.run({ op: "select", root: from, words: ["big"], options });
    await files.run({ op: "copy", root: from, sources, target: to, options: { destination: "/y/", unpack: false } });
    expect(lstatSync(join(to, "y/big")).size).toBe(3 << 20);
    expect(await failure(files.run({ op: "select", root: from, words: ["nope"], options }))).toMatchObject({ kind: "invalidArgument" });
    expect(await failure(files.run({ op: "mkdir", target: to, path: "/y/big/z" }))).toMatchObject({ kind: "invalidArgument" });
    const broken = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.error(new Error("the client is gone")),
    });
    expect(await failure(files.run({ op: "context", directory: from, dockerfile: "Dockerfile" }, broken))).toMatchObject({ message: "the client is gone" });
    await files.run({ op: "mkdir", target: to, path: "/w" });
    expect(existsSync(join(to, "w"))).toBe(true);
  });
});
