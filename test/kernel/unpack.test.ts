import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EngineError } from "../../src/lib/errors.ts";
import { bytesOf } from "../../src/lib/tar.ts";
import { TarParser } from "../../src/lib/tar-reader.ts";
import { encodeHeader, tarOf, type TarHeaderInit } from "../../src/lib/tar-writer.ts";
import { AT_FDCWD, closeFd, O, openAt } from "../../src/kernel/fs.ts";
import { mount, unmount } from "../../src/kernel/mount.ts";
import { MergedView } from "../../src/snapshots/merged.ts";
import { Unpacker } from "../../src/snapshots/unpacker.ts";
import { skipped } from "../skips.ts";
import { listTree, openStorage, streamOf, temporaryDirectory, whatIs } from "./storage-fixture.ts";

type Entry = TarHeaderInit & { body?: string };

const base = mkdtempSync(join(tmpdir(), "berth-unpack-"));
let count = 0;
afterAll(() => rmSync(base, { recursive: true, force: true }));

interface Unpacked {
  root: string;
  leans: boolean;
  size: number;
}

/** Unpacks over `parents` (trees, lowest first); null: none at hand. */
function unpack(entries: readonly Entry[], parents: readonly string[] | null = []): Unpacked {
  const root = join(base, `${count++}`, "root");
  mkdirSync(root, { recursive: true });
  const fd = openAt(AT_FDCWD, root, O.RDONLY | O.DIRECTORY);
  try {
    using view = parents === null ? undefined : new MergedView(parents);
    using unpacker = new Unpacker(fd, view);
    const parser = new TarParser(unpacker);
    parser.push(tarOf(entries));
    parser.finish();
    unpacker.finish();
    return { root, leans: unpacker.leans, size: unpacker.size };
  } finally {
    closeFd(fd);
  }
}

function refused(entries: readonly Entry[]): EngineError {
  try {
    unpack(entries);
  } catch (error) {
    expect(error).toBeInstanceOf(EngineError);
    expect((error as EngineError).kind).toBe("invalidArgument");
    return error as EngineError;
  }
  throw new Error("it was accepted");
}

const file = (name: string, body = "x", more: Partial<Entry> = {}): Entry => ({ name, type: "file", body, ...more });
const dir = (name: string, more: Partial<Entry> = {}): Entry => ({ name, type: "directory", mode: 0o755, ...more });
const link = (name: string, linkName: string): Entry => ({ name, type: "symlink", linkName });
const hard = (name: string, linkName: string): Entry => ({ name, type: "hardlink", linkName });

describe.skipIf(skipped("root"))("what an archive says is what there is", () => {
  test("types, owners, modes, times, xattrs, link counts", () => {
    const { root, leans, size } = unpack([
      dir("d", { mode: 0o2775, uid: 1, gid: 2, mtime: { seconds: 1000, nanoseconds: 5 } }),
      file("d/setuid", "hello", { mode: 0o4755, uid: 7, gid: 8, mtime: { seconds: 1500000000, nanoseconds: 123456789 } }),
      hard("d/hard", "d/setuid"),
      { ...link("d/soft", "nowhere"), uid: 3, gid: 4, mtime: { seconds: 77, nanoseconds: 0 } },
      { name: "d/null", type: "char", mode: 0o666, major: 1, minor: 3 },
      { name: "d/big", type: "char", mode: 0o600, major: 300, minor: 70000 },
      { name: "d/sda", type: "block", mode: 0o660, gid: 6, major: 8, minor: 0 },
      { name: "d/pipe", type: "fifo", mode: 0o600 },
      file("attrs", "", {
        xattrs: new Map([
          ["user.note", Buffer.from("a\0b")],
          ["trusted.x", Buffer.alloc(0)],
        ]),
      }),
      { ...dir("attrs.d"), xattrs: new Map([["user.d", Buffer.from("1")]]) },
    ]);
    expect(whatIs(root)).toEqual({
      d: "dir 2775 1:2",
      "d/setuid": 'file 4755 7:8 "hello"',
      "d/hard": 'file 4755 7:8 "hello"',
      "d/soft": "link 3:4 -> nowhere",
      "d/null": "char 666 0:0 1,3",
      "d/big": "char 600 0:0 300,70000",
      "d/sda": "block 660 0:6 8,0",
      "d/pipe": "fifo 600 0:0",
      attrs: 'file 644 0:0 ""',
      "attrs.d": "dir 755 0:0",
    });
    const tree = listTree(root);
    expect(tree["d"]!.mtime).toBe("1000.000000005");
    expect(tree["d/setuid"]!.mtime).toBe("1500000000.123456789");
    expect(tree["d/soft"]!.mtime).toBe("77.000000000");
    expect(tree["d/hard"]!.nlink).toBe(2);
    expect(tree["attrs"]!.xattrs).toEqual({ "user.note": "a\0b", "trusted.x": "" });
    expect(tree["attrs.d"]!.xattrs).toEqual({ "user.d": "1" });
    expect({ leans, size }).toEqual({ leans: false, size: 5 });
  });

  test("every mode, and owners beside groups that directories hand on", () => {
    const modes = [0o000, 0o200, 0o400, 0o600, 0o644, 0o664, 0o666, 0o755, 0o777, 0o1644, 0o2755, 0o4711, 0o6755];
    const entries = modes.map((mode) => file(`f${mode.toString(8)}`, "x", { mode }));
    const { root } = unpack([
      ...entries,
      dir("plain"),
      dir("group", { gid: 50 }),
      dir("setgid", { mode: 0o2755, gid: 50 }),
      file("setgid/root", "x"),
      file("setgid/other", "x", { gid: 7 }),
      dir("setgid/below"),
      file("setgid/below/root", "x", { mode: 0o666 }),
    ]);
    const found = whatIs(root);
    for (const mode of modes) expect(found[`f${mode.toString(8)}`]).toBe(`file ${mode.toString(8)} 0:0 "x"`);
    expect(found["setgid/root"]).toBe('file 644 0:0 "x"');
    expect(found["setgid/other"]).toBe('file 644 0:7 "x"');
    expect(found["setgid/below/root"]).toBe('file 666 0:0 "x"');
  });

  test("names that are not UTF-8, long names, deep directories", () => {
    const deep = Array.from({ length: 300 }, (_, i) => `d${i}`);
    const entries = deep.map((_, i) => dir(deep.slice(0, i + 1).join("/")));
    const { root } = unpack([...entries, file(`${deep.join("/")}/f`), file("n".repeat(255)), file("\xff\xfe"), file(bytesOf("ünï"))]);
    expect(existsSync(join(root, ...deep, "f"))).toBe(true);
    expect(
      readdirSync(root, { encoding: "buffer" })
        .map((name) => name.toString("latin1"))
        .sort(),
    ).toEqual(["d0", "n".repeat(255), bytesOf("ünï"), "\xff\xfe"].sort());
  });

  test("leading slashes, dots and a listed root", () => {
    const { root } = unpack([dir("./", { mode: 0o711, uid: 5 }), file("/abs"), file("./dot"), file("a/../b")]);
    expect(Object.keys(whatIs(root))).toEqual(["abs", "b", "dot"]);
  });

  test("sockets of the kernel can't come; empty archives can", () => expect(whatIs(unpack([]).root)).toEqual({}));
});

describe.skipIf(skipped("root"))("later entries win", () => {
  const cases: [string, Entry[], Record<string, string>][] = [
    ["file over file", [file("a", "1"), file("a", "2", { mode: 0o600 })], { a: 'file 600 0:0 "2"' }],
    ["file over a symlink, not through it", [file("t", "keep"), link("a", "t"), file("a", "2")], { a: 'file 644 0:0 "2"', t: 'file 644 0:0 "keep"' }],
    ["file over a directory with content", [dir("a"), dir("a/b"), file("a/b/c"), file("a", "2")], { a: 'file 644 0:0 "2"' }],
    ["directory over file", [file("a"), dir("a"), file("a/b", "2")], { a: "dir 755 0:0", "a/b": 'file 644 0:0 "2"' }],
    ["directory over directory keeps what is in it", [dir("a"), file("a/b"), dir("a", { mode: 0o700 })], { a: "dir 700 0:0", "a/b": 'file 644 0:0 "x"' }],
    ["directory over a symlink to one", [dir("t"), link("a", "t"), dir("a"), file("a/b")], { t: "dir 755 0:0", a: "dir 755 0:0", "a/b": 'file 644 0:0 "x"' }],
    ["symlink over directory", [dir("a"), file("a/b"), link("a", "c")], { a: "link 0:0 -> c" }],
    ["hard link over file", [file("s", "1"), file("a", "2"), hard("a", "s")], { s: 'file 644 0:0 "1"', a: 'file 644 0:0 "1"' }],
    ["a hard link to itself", [file("a", "1"), hard("a", "a")], { a: 'file 644 0:0 "1"' }],
    ["device over file", [file("a"), { name: "a", type: "char", mode: 0o600, major: 1, minor: 5 }], { a: "char 600 0:0 1,5" }],
    ["whiteout over file", [file("a"), file(".wh.a", "")], { a: "whiteout" }],
    ["whiteout over directory", [dir("a"), file("a/b"), file(".wh.a", "")], { a: "whiteout" }],
    ["file over whiteout", [file(".wh.a", ""), file("a")], { a: 'file 644 0:0 "x"' }],
    [
      "a replaced parent is not written through",
      [dir("a"), file("a/x"), link("a", "/tmp"), dir("a"), file("a/y")],
      { a: "dir 755 0:0", "a/y": 'file 644 0:0 "x"' },
    ],
  ];
  for (const [name, entries, want] of cases) test(name, () => expect(whatIs(unpack(entries).root)).toEqual(want));
});

describe.skipIf(skipped("root"))("whiteouts", () => {
  test("an opaque directory", () => {
    const { root } = unpack([dir("d"), file("d/.wh..wh..opq", ""), file("d/new")]);
    expect(listTree(root)["d"]!.xattrs).toEqual({ "trusted.overlay.opaque": "y" });
    expect(Object.keys(whatIs(root))).toEqual(["d", "d/new"]);
  });
  test("a directory after its whiteout hides the lower one", () => {
    expect(listTree(unpack([file(".wh.d", ""), dir("d")]).root)["d"]!.xattrs).toEqual({ "trusted.overlay.opaque": "y" });
  });
  test("an opaque root hides each name below", () => {
    const lower = unpack([dir("a"), file("b")]).root;
    expect(whatIs(unpack([file(".wh..wh..opq", ""), file("c")], [lower]).root)).toEqual({ a: "whiteout", b: "whiteout", c: 'file 644 0:0 "x"' });
  });
  test("AUFS's own files are passed over", () => expect(whatIs(unpack([dir(".wh..wh.plnk"), file(".wh..wh.aufs", "")]).root)).toEqual({}));
  for (const name of [".wh.", ".wh..", ".wh..."]) test(`${name} names nothing`, () => void refused([file(name, "")]));
});

describe.skipIf(skipped("root"))("hostile archives stay inside", () => {
  const secret = join(base, "secret");
  writeFileSync(secret, "untouched");
  const up = "../".repeat(20);
  const outside = bytesOf(secret);

  const escapes: [string, Entry[]][] = [
    ["a name with ..", [file(`${up}${outside.slice(1)}`, "hacked")]],
    ["a name with .. in the middle", [dir("a"), file(`a/../../${outside.slice(1)}`, "hacked")]],
    ["a hard link out", [hard("a", `${up}${outside.slice(1)}`)]],
    ["a hard link to the root", [hard("a", "/")]],
    ["a hard link to a directory", [dir("d"), hard("a", "d")]],
    ["a hard link to nothing", [hard("a", "missing")]],
    ["a hard link through a symlink out", [link("l", base), hard("a", "l/secret")]],
    ["a whiteout with ..", [file(`${up}${base.slice(1)}/.wh.secret`, "")]],
    ["a root that is a file", [file(".")]],
    ["a parent that is a file", [file("a"), file("a/b")]],
    ["a symlink loop as parent", [link("a", "b"), link("b", "a"), file("a/c")]],
    ["a name of 300 bytes", [file("n".repeat(300))]],
    ["a path of 5000 bytes", [file("d/".repeat(2500) + "f")]],
    ["a symlink target of 5000 bytes", [link("a", "x".repeat(5000))]],
    ["a symlink without target", [link("a", "")]],
  ];
  for (const [name, entries] of escapes) {
    test(`${name} is refused`, () => {
      refused(entries);
      expect(readFileSync(secret, "utf8")).toBe("untouched");
    });
  }

  const contained: [string, Entry[], string][] = [
    ["an absolute name", [file(outside, "hacked")], outside.slice(1)],
    ["a symlink to / as parent", [link("l", "/"), file(`l${outside}`, "hacked")], outside.slice(1)],
    ["a symlink up as parent", [link("l", up), file(`l${outside}`, "hacked")], outside.slice(1)],
    ["symlinks in steps", [link("a", ".."), link("b", "a/.."), link("c", "b/.."), file(`c${outside}`, "hacked")], outside.slice(1)],
    ["/proc/self/root", [link("p", "/proc/self/root"), file(`p${outside}`, "hacked")], `proc/self/root${outside}`],
    ["/proc/self/cwd", [dir("proc"), dir("proc/self"), link("proc/self/cwd", base), file("proc/self/cwd/secret", "hacked")], outside.slice(1)],
  ];
  for (const [name, entries, lands] of contained) {
    test(`${name} is taken from the root`, () => {
      const { root } = unpack(entries);
      expect(readFileSync(secret, "utf8")).toBe("untouched");
      expect(readFileSync(join(root, lands), "utf8")).toBe("hacked");
    });
  }

  test("a symlink out as the last part is replaced, not followed", () => {
    const { root } = unpack([link("a", secret), file("a", "mine")]);
    expect(whatIs(root)).toEqual({ a: 'file 644 0:0 "mine"' });
    expect(readFileSync(secret, "utf8")).toBe("untouched");
  });

  test("times and modes are not set through a symlink", () => {
    const before = readFileSync(secret, "utf8");
    const tree = listTree(base)["secret"]!.what;
    unpack([{ ...link("a", secret), mode: 0o777, uid: 9, mtime: { seconds: 1, nanoseconds: 0 } }]);
    expect(listTree(base)["secret"]!.what).toBe(tree);
    expect(readFileSync(secret, "utf8")).toBe(before);
  });

  test("xattrs that would steer overlayfs are left out", () => {
    const { root } = unpack([
      {
        ...dir("d"),
        xattrs: new Map([
          ["trusted.overlay.redirect", Buffer.from("/etc")],
          ["trusted.overlay.opaque", Buffer.from("y")],
          ["user.overlay.x", Buffer.from("1")],
        ]),
      },
    ]);
    expect(listTree(root)["d"]!.xattrs).toEqual({});
  });

  test("a body cut short", () => {
    const header = encodeHeader({ name: "f", type: "file", size: 2 ** 40 });
    const fd = openAt(AT_FDCWD, base, O.RDONLY | O.DIRECTORY);
    using unpacker = new Unpacker(fd, undefined);
    const parser = new TarParser(unpacker);
    parser.push(header);
    expect(() => parser.finish()).toThrow("truncated");
    closeFd(fd);
    rmSync(join(base, "f"));
  });
});

describe.skipIf(skipped("root"))("layers that lean on their parents", () => {
  const lower = (): string =>
    unpack([
      dir("tmp", { mode: 0o1777, uid: 4, gid: 5, mtime: { seconds: 50, nanoseconds: 0 } }),
      dir("usr"),
      dir("usr/lib", { mode: 0o750 }),
      link("lib", "usr/lib"),
      file("usr/lib/f", "lower", { mode: 0o4755, uid: 9, xattrs: new Map([["user.k", Buffer.from("v")]]) }),
      link("soft", "f"),
    ]).root;

  test("an ancestor that isn't listed is as the parents have it", () => {
    const { root, leans } = unpack([file("tmp/x")], [lower()]);
    expect(leans).toBe(true);
    expect(whatIs(root)).toEqual({ tmp: "dir 1777 4:5", "tmp/x": 'file 644 0:0 "x"' });
    expect(listTree(root)["tmp"]!.mtime).toBe("50.000000000");
  });
  test("a symlink of the parents is followed", () =>
    expect(whatIs(unpack([file("lib/g")], [lower()]).root)).toEqual({ usr: "dir 755 0:0", "usr/lib": "dir 750 0:0", "usr/lib/g": 'file 644 0:0 "x"' }));
  test("an ancestor that nobody has is 755", () =>
    expect(whatIs(unpack([file("new/x")], [lower()]).root)).toEqual({ new: "dir 755 0:0", "new/x": 'file 644 0:0 "x"' }));
  test("a hard link to a lower file copies it", () => {
    const { root } = unpack([hard("copy", "usr/lib/f"), hard("copy2", "soft")], [lower()]);
    expect(whatIs(root)).toEqual({ copy: 'file 4755 9:0 "lower"', copy2: "link 0:0 -> f" });
    expect(listTree(root)["copy"]!.xattrs).toEqual({ "user.k": "v" });
  });
  test("what a layer between has removed isn't seen", () => {
    const between = unpack([file(".wh.tmp", ""), dir("usr"), file("usr/.wh..wh..opq", "")]).root;
    expect(whatIs(unpack([file("tmp/x")], [lower(), between]).root)["tmp"]).toBe("dir 755 0:0");
    expect(() => unpack([hard("copy", "usr/lib/f")], [lower(), between])).toThrow("no such file");
  });
  test("a layer that lists its ancestors leans on nothing", () => expect(unpack([dir("tmp"), file("tmp/x")], null).leans).toBe(false));
  test("without parents at hand it says so", () => expect(() => unpack([file("tmp/x")], null)).toThrow("leans on its parents"));
  test("a symlink to the host in the parents stays inside", () => {
    const bad = unpack([]).root;
    symlinkSync(base, join(bad, "l"));
    const { root } = unpack([file("l/secret", "hacked")], [bad]);
    expect(readFileSync(join(root, base, "secret"), "utf8")).toBe("hacked");
  });
});

describe.skipIf(skipped("root", "overlay"))("through the Worker", () => {
  test("gzip, zstd and plain give the same layer", async () => {
    using temporary = temporaryDirectory("unpack");
    await using storage = openStorage(temporary.path);
    const tar = tarOf([dir("d"), file("d/f", "body")]);
    const ids = [];
    for (const bytes of [
      tar,
      Bun.gzipSync(tar as never),
      Bun.zstdCompressSync(tar as never),
      Buffer.concat([Bun.gzipSync(tar.subarray(0, 700) as never), Bun.gzipSync(tar.subarray(700) as never)]),
    ]) {
      ids.push((await storage.snapshots.unpack({ source: streamOf(bytes), parentIds: [], parents: [] })).snapshot);
    }
    expect(new Set(ids).size).toBe(1);
  });

  const bad: [string, Uint8Array][] = [
    ["text", Buffer.from("this is no archive ".repeat(100))],
    ["a cut gzip", Bun.gzipSync(tarOf([file("f", "x".repeat(5000))]) as never).subarray(0, 60)],
    ["a damaged zstd", Buffer.concat([Bun.zstdCompressSync(tarOf([file("f")]) as never).subarray(0, 20), Buffer.alloc(50, 7)])],
    ["xz", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2, 3])],
    ["an escape after good entries", tarOf([file("good"), file("../bad")])],
  ];
  for (const [name, bytes] of bad) {
    test(`${name}: refused, and nothing stays`, async () => {
      using temporary = temporaryDirectory("unpack");
      await using storage = openStorage(temporary.path);
      const error = await storage.snapshots.unpack({ source: streamOf(bytes), parentIds: [], parents: [] }).then(
        () => undefined,
        (e: unknown) => e,
      );
      expect((error as EngineError | undefined)?.kind).toBe("invalidArgument");
      expect(readdirSync(storage.snapshots.root).filter((entry) => !entry.startsWith("."))).toEqual([]);
      expect(readdirSync(join(storage.snapshots.root, ".trash"))).toEqual([]);
      expect(storage.snapshots.layers()).toEqual([]);
    });
  }

  test("a wrong digest is refused", async () => {
    using temporary = temporaryDirectory("unpack");
    await using storage = openStorage(temporary.path);
    const expected = `sha256:${"0".repeat(64)}` as never;
    const error = await storage.snapshots
      .unpack({ source: streamOf(tarOf([file("f")])), parentIds: [], parents: [], expect: expected })
      .catch((e: unknown) => e);
    expect(String(error)).toContain("has digest");
    expect(storage.snapshots.layers()).toEqual([]);
  });

  test("a bomb ends at the disk's limit with a sentence, and nothing stays", async () => {
    using temporary = temporaryDirectory("unpack");
    const root = join(temporary.path, "small");
    mkdirSync(root);
    mount("tmpfs", root, "tmpfs", 0, "size=8m");
    try {
      await using storage = openStorage(root);
      // 64 MiB of zeros: 64 KiB of gzip.
      const bomb = Bun.gzipSync(Buffer.concat([encodeHeader({ name: "zeros", type: "file", size: 64 << 20 }), Buffer.alloc((64 << 20) + 1024)]) as never);
      const error = await storage.snapshots.unpack({ source: streamOf(bomb), parentIds: [], parents: [] }).catch((e: unknown) => e);
      expect((error as EngineError).kind).toBe("unavailable");
      expect((error as EngineError).message).toContain("no space left on device");
      expect(readdirSync(storage.snapshots.root).filter((entry) => !entry.startsWith("."))).toEqual([]);
      const ingest = await storage.content.ingest();
      const filling = (async () => {
        for (;;) await ingest.write(new Uint8Array(1 << 20));
      })();
      expect(String(await filling.catch((e: unknown) => e))).toContain("no space left on device");
      await ingest[Symbol.asyncDispose]();
    } finally {
      unmount(root, { lazy: true });
    }
  });

  test("cancelled half-way, nothing stays", async () => {
    using temporary = temporaryDirectory("unpack");
    await using storage = openStorage(temporary.path);
    const stop = new AbortController();
    let pulls = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        controller.enqueue(pulls === 0 ? encodeHeader({ name: "f", type: "file", size: 2 ** 40 }) : new Uint8Array(65536));
        if (++pulls === 20) stop.abort();
      },
    });
    const error = await storage.snapshots.unpack({ source: endless, parentIds: [], parents: [], signal: stop.signal }).catch((e: unknown) => e);
    expect((error as EngineError).kind).toBe("cancelled");
    expect(storage.snapshots.layers()).toEqual([]);
    expect(readdirSync(storage.snapshots.root).filter((entry) => !entry.startsWith("."))).toEqual([]);
  });
});
