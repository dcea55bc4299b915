import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SysError } from "../../src/kernel/ffi.ts";
import { EngineError } from "../../src/lib/errors.ts";
import { textOf } from "../../src/lib/tar.ts";
import { readTar, TarParser } from "../../src/lib/tar-reader.ts";
import { AT_FDCWD, closeFd, mkdirAt, O, openAt, openDirectory, readEntries } from "../../src/kernel/fs.ts";
import { MergedView } from "../../src/snapshots/merged.ts";
import type { InsertedFile } from "../../src/snapshots/chunked-output.ts";
import { packTree, type PackOptions } from "../../src/snapshots/packer.ts";
import { Unpacker } from "../../src/snapshots/unpacker.ts";
import { skipped } from "../skips.ts";
import { encodeHeader, tarOf } from "../../src/lib/tar-writer.ts";
import { mount } from "../../src/kernel/mount.ts";
import { header, oddArchives, raw, sparseArchives, sparseBody, sparseOf, withChecksum } from "./hostile-archives.ts";
import { listTree, openStorage, streamOf, temporaryDirectory, whatIs, type Storage } from "./storage-fixture.ts";

const base = mkdtempSync(join(tmpdir(), "berth-hostile-"));
let count = 0;
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** Unpacks in pieces of `step` bytes, over `lower`, and returns the directory. */
function unpack(tar: Buffer, lower?: Buffer, step = tar.length || 1): string {
  const parents = lower === undefined ? [] : [unpack(lower)];
  const root = join(base, `${count++}`, "root");
  mkdirSync(root, { recursive: true });
  const fd = openAt(AT_FDCWD, root, O.RDONLY | O.DIRECTORY);
  try {
    using view = new MergedView(parents);
    using unpacker = new Unpacker(fd, view);
    const parser = new TarParser(unpacker);
    for (let at = 0; at < tar.length; at += step) parser.push(tar.subarray(at, at + step));
    parser.finish();
    unpacker.finish();
    return root;
  } finally {
    closeFd(fd);
  }
}

describe.skipIf(skipped("root"))("odd archives", () => {
  for (const [name, { tar, lower, want }] of Object.entries(oddArchives)) {
    test(name, () => {
      if (typeof want === "string") {
        expect(() => unpack(tar, lower)).toThrow(want);
        expect(() => unpack(tar, lower, 511)).toThrow(EngineError);
      } else {
        const tree = Object.fromEntries(Object.entries(want).map(([path, what]) => [textOf(path), what]));
        expect(whatIs(unpack(tar, lower))).toEqual(tree);
        expect(whatIs(unpack(tar, lower, 511))).toEqual(tree);
      }
    });
  }
});

describe.skipIf(skipped("root"))("sparse files", () => {
  for (const [name, tar] of Object.entries(sparseArchives)) {
    test(`${name}: holes stay holes`, () => {
      const file = join(unpack(tar), "f");
      expect(readFileSync(file, "latin1")).toBe(sparseBody);
      expect(statSync(file).blocks * 512).toBeLessThanOrEqual(8192);
    });
  }
  for (const format of ["gnu", "pax --sparse-version=0.0", "pax --sparse-version=0.1", "pax --sparse-version=1.0"]) {
    test(`as GNU tar writes them: ${format}`, () => {
      const folder = join(base, `${count++}`);
      mkdirSync(folder);
      const file = join(folder, "f");
      writeFileSync(file, "begin");
      for (let i = 1; i < 40; i++)
        Bun.spawnSync(["dd", `of=${file}`, "bs=4096", `seek=${i * 16}`, "count=1", "conv=notrunc", "if=/dev/urandom", "status=none"]);
      Bun.spawnSync(["truncate", "-s", "1000001", file]);
      writeFileSync(join(folder, "after"), "x");
      const tar = Bun.spawnSync([
        "tar",
        "--sparse",
        "--hole-detection=seek",
        `--format=${format.split(" ")[0]}`,
        ...format.split(" ").slice(1),
        "-cC",
        folder,
        "f",
        "after",
      ]);
      expect(tar.stderr.toString()).toBe("");
      expect(tar.stdout.length).toBeLessThan(300_000);
      const root = unpack(tar.stdout as Buffer, undefined, 10_000);
      expect(readFileSync(join(root, "f")).equals(readFileSync(file))).toBe(true);
      expect(readFileSync(join(root, "after"), "utf8")).toBe("x");
      expect(statSync(join(root, "f")).blocks * 512).toBeLessThan(300_000);
    });
  }
});

describe.skipIf(skipped("root"))("bounds", () => {
  const limited = (entries: Parameters<typeof tarOf>[0], limits: { bytes: number; entries: number }): void => {
    const root = join(base, `${count++}`);
    mkdirSync(root);
    const fd = openAt(AT_FDCWD, root, O.RDONLY | O.DIRECTORY);
    try {
      using unpacker = new Unpacker(fd, undefined, limits);
      new TarParser(unpacker).push(tarOf(entries));
    } finally {
      closeFd(fd);
    }
  };
  const some = Array.from({ length: 5 }, (_, i) => ({ name: `f${i}`, type: "file" as const, body: "x".repeat(100) }));

  test("bytes and entries of a layer", () => {
    limited(some, { bytes: 500, entries: 5 });
    expect(() => limited(some, { bytes: 499, entries: 5 })).toThrow("more than 499 bytes");
    expect(() => limited(some, { bytes: 500, entries: 4 })).toThrow("more than 4 entries");
  });

  test("thousands of attributes: as many as a file holds, or a sentence", () => {
    const xattrs = new Map(Array.from({ length: 5000 }, (_, i) => [`user.${"k".repeat(20)}${i}`, Buffer.from("v".repeat(100))]));
    try {
      limited([{ name: "f", type: "file", xattrs }], { bytes: 1000, entries: 1 });
    } catch (error) {
      expect((error as EngineError).kind).toBe("invalidArgument");
      expect((error as EngineError).message).toContain("extended attributes");
    }
  });

  test("many directories that come and go", () => {
    const entries = Array.from({ length: 500 }, (_, i) => [
      { name: `d${i}/${"s".repeat(100)}`, type: "directory" as const },
      { name: `d${i}`, type: "file" as const },
    ]).flat();
    limited([...Array.from({ length: 500 }, (_, i) => ({ name: `d${i}`, type: "directory" as const })), ...entries], { bytes: 1, entries: 9000 });
  });

  test("a tree 200 directories deep, replaced; names beside it stay", () => {
    const deep = Array.from({ length: 200 }, (_, i) => ({ name: Array.from({ length: i + 1 }, () => "d").join("/"), type: "directory" as const }));
    const root = unpack(tarOf([{ name: "d~1", type: "file", body: "x" }, { name: "d~2", type: "directory" }, ...deep, { name: "d", type: "file", body: "y" }]));
    expect(whatIs(root)).toEqual({ d: 'file 644 0:0 "y"', "d~1": 'file 644 0:0 "x"', "d~2": "dir 755 0:0" });
  });
});

describe.skipIf(skipped("root"))("packing", () => {
  const packed = async (root: string, options: Pick<PackOptions, "takesFiles"> & { seen?: (files: number) => void } = {}): Promise<Buffer> => {
    const { takesFiles = () => false, seen = () => {} } = options;
    const parts: Uint8Array[] = [];
    const emit = (chunk: Uint8Array, files: readonly InsertedFile[]): void => {
      let at = 0;
      for (const { after, fd, offset, length } of files) {
        const room = Buffer.alloc(length);
        readSync(fd, room, 0, length, offset);
        parts.push(Buffer.from(chunk.subarray(at, after)), room);
        at = after;
      }
      parts.push(Buffer.from(chunk.subarray(at)));
      seen(files.length);
    };
    const fd = openAt(AT_FDCWD, root, O.RDONLY | O.DIRECTORY);
    try {
      await packTree({ root: fd, listRoot: false, cancelled: () => false, emit, takesFiles });
    } finally {
      closeFd(fd);
    }
    return Buffer.concat(parts);
  };

  test("files that are taken from where they are: the same archive, and no descriptor stays open", async () => {
    const root = join(base, `${count++}`);
    mkdirSync(root);
    for (let i = 0; i < 300; i++) writeFileSync(join(root, `f${i}`), `${i} `.repeat(i % 3 === 0 ? 100 : i === 100 ? 3_000_000 : 9000 + i));
    const open = (): number => readdirSync("/proc/self/fd").length;
    const before = open();
    const copied = await packed(root);
    let taken = 0;
    expect((await packed(root, { takesFiles: () => true, seen: (files) => (taken += files) })).equals(copied)).toBe(true);
    // the largest in three pieces
    expect(taken).toBe(202);
    const broken = packed(root, {
      takesFiles: () => true,
      seen: () => {
        throw new Error("gone");
      },
    });
    await expect(broken).rejects.toThrow("gone");
    expect(open()).toBe(before);
  });

  test("what is taken away meanwhile is left out", async () => {
    const root = join(base, `${count++}`);
    mkdirSync(join(root, "b/c"), { recursive: true });
    mkdirSync(join(root, "d"));
    writeFileSync(join(root, "e"), "e");
    // the first chunk ends with the head of b, before b itself is looked into
    writeFileSync(join(root, "a"), Buffer.alloc((1 << 18) - 1024));
    let chunks = 0;
    const tar = await packed(root, {
      seen: () => {
        if (chunks++ === 0) rmSync(join(root, "b"), { recursive: true });
      },
    });
    const names: string[] = [];
    for await (const { header: each } of readTar(streamOf(tar))) names.push(each.name);
    expect(names).toEqual(["a", "b/", "d/", "e"]);
    // what fails once an entry has been begun is no such thing
    chunks = 0;
    const sent = packed(root, {
      seen: () => {
        if (chunks++ === 0) throw new SysError("sendfile", 116);
      },
    });
    await expect(sent).rejects.toThrow("sendfile");
    const gone = join(base, `${count++}`);
    mkdirSync(gone);
    using directory = openDirectory(gone);
    rmSync(gone, { recursive: true });
    expect([...readEntries(directory.fd)]).toEqual([]);
  });

  test("what was unpacked is packed, and unpacks to the same", async () => {
    for (const { tar, lower, want } of Object.values(oddArchives)) {
      if (typeof want === "string" || lower !== undefined) continue;
      const root = unpack(tar);
      const again = unpack(await packed(root));
      expect(whatIs(again)).toEqual(whatIs(root));
    }
  });

  test("a tree deeper than any path is refused", async () => {
    const root = join(base, `${count++}`);
    mkdirSync(root);
    // no single call can name the deepest ones
    let fd = openAt(AT_FDCWD, root, O.RDONLY | O.DIRECTORY);
    for (let i = 0; i < 50; i++) {
      mkdirAt(fd, "d".repeat(100), 0o755);
      const below = openAt(fd, "d".repeat(100), O.RDONLY | O.DIRECTORY);
      closeFd(fd);
      fd = below;
    }
    closeFd(fd);
    const error: unknown = await packed(root).catch((e: unknown) => e);
    expect((error as EngineError).kind).toBe("invalidArgument");
    expect((error as EngineError).message).toContain("more than 4096 bytes");
  });
});

describe.skipIf(skipped("root", "overlay"))("through the Worker", () => {
  const refusalOf = async (storage: Storage, bytes: Uint8Array): Promise<EngineError | undefined> => {
    const error: unknown = await storage.snapshots.unpack({ source: streamOf(bytes), parentIds: [], parents: [] }).then(
      () => undefined,
      (e: unknown) => e,
    );
    if (error === undefined) return undefined;
    expect(error).toBeInstanceOf(EngineError);
    expect(storage.snapshots.layers()).toEqual([]);
    expect(readdirSync(storage.snapshots.root).filter((name) => !name.startsWith("."))).toEqual([]);
    expect(readdirSync(join(storage.snapshots.root, ".trash"))).toEqual([]);
    return error as EngineError;
  };

  test("files without end on a disk with few inodes: refused, and nothing stays", async () => {
    using temporary = temporaryDirectory("hostile");
    const root = join(temporary.path, "small");
    mkdirSync(root);
    mount("tmpfs", root, "tmpfs", 0, "size=64m,nr_inodes=3000");
    await using storage = openStorage(root);
    const many = tarOf(Array.from({ length: 20_000 }, (_, i) => ({ name: `f${i}`, type: "file" as const })));
    const error = await refusalOf(storage, Bun.gzipSync(many as never));
    expect(error?.kind).toBe("unavailable");
    expect(error?.message).toContain("no space left on device");
  });

  test("a bomb ends at the administrator's limit", async () => {
    using temporary = temporaryDirectory("hostile");
    await using storage = openStorage(temporary.path, undefined, () => ({ bytes: 10 << 20, entries: 100 }));
    const zeros = Buffer.alloc(64 << 20);
    const bombs = {
      "one large file": Buffer.concat([encodeHeader({ name: "f", type: "file", size: zeros.length }), zeros]),
      "garbage after the end": Buffer.concat([tarOf([]), zeros]),
      "global headers": Buffer.concat(Array.from({ length: 20_000 }, () => raw("g", "g", "13 comment=a\n"))),
      "a hole": sparseOf(1e15),
    };
    for (const bytes of Object.values(bombs))
      for (const packed of [Bun.gzipSync(bytes as never), Bun.zstdCompressSync(bytes as never)]) {
        const error = await refusalOf(storage, packed);
        expect(error?.kind).toBe("invalidArgument");
        expect(error?.message).toContain("max-layer-size");
      }
    const many = tarOf(Array.from({ length: 101 }, (_, i) => ({ name: `f${i}`, type: "file" as const })));
    expect((await refusalOf(storage, many))?.message).toContain("max-layer-entries");
  });

  const good = tarOf([{ name: "f", type: "file", body: "x".repeat(3000) }]);
  const wrongSum = Buffer.from(Bun.gzipSync(good as never));
  wrongSum.fill(7, wrongSum.length - 8, wrongSum.length - 4);
  const skippable = Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 8, 0, 0, 0]), Buffer.alloc(8)]);
  const compressed: [string, Uint8Array, boolean][] = [
    [
      "500 gzip members",
      Buffer.concat(Array.from({ length: 512 }, (_, i) => Bun.gzipSync(good.subarray(i * 9, i === 511 ? good.length : i * 9 + 9) as never))),
      true,
    ],
    ["empty gzip members", Buffer.concat([Bun.gzipSync(new Uint8Array()), Bun.gzipSync(good as never), Bun.gzipSync(new Uint8Array())]), true],
    [
      "zstd frames among skippable ones",
      Buffer.concat([
        skippable,
        Bun.zstdCompressSync(good.subarray(0, 1000) as never),
        skippable,
        Bun.zstdCompressSync(good.subarray(1000) as never),
        skippable,
      ]),
      true,
    ],
    ["a zstd window of 2 GiB", Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8]), Bun.zstdCompressSync(good as never).subarray(6)]), false],
    // dockerd 26.1 passes over what follows; the decompressor here fails without saying where the good data ended
    ["gzip with garbage after it", Buffer.concat([Bun.gzipSync(good as never), Buffer.from("garbage")]), false],
    ["zstd with garbage after it", Buffer.concat([Bun.zstdCompressSync(good as never), Buffer.from("garbage")]), false],
    ["gzip with a wrong checksum", wrongSum, false],
  ];
  for (const [name, bytes, works] of compressed) {
    test(`${name} is ${works ? "read" : "refused"}`, async () => {
      using temporary = temporaryDirectory("hostile");
      await using storage = openStorage(temporary.path);
      const error = await refusalOf(storage, bytes);
      expect(error?.kind).toBe(works ? undefined : "invalidArgument");
    });
  }

  test("archives that are copied into containers: the same sparse files, and nothing outside", async () => {
    using temporary = temporaryDirectory("hostile");
    await using storage = openStorage(temporary.path);
    const before = join(temporary.path, "sentinel");
    writeFileSync(before, "untouched");
    for (const [i, { tar, want }] of Object.values(oddArchives).entries()) {
      const root = join(temporary.path, `root-${i}`);
      mkdirSync(root);
      const error: unknown = await storage.snapshots.extractInto(root, "/", streamOf(tar), { keepKinds: false }).catch((e: unknown) => e);
      if (error !== undefined) expect((error as EngineError).kind).toBe("invalidArgument");
      else if (typeof want !== "string" && want["f"]?.includes("aaaa") === true) expect(readFileSync(join(root, "f"), "latin1")).toBe(sparseBody);
    }
    for (const tar of Object.values(sparseArchives)) {
      const root = mkdtempSync(join(temporary.path, "sparse-"));
      await storage.snapshots.extractInto(root, "/", streamOf(tar), { keepKinds: false });
      expect(readFileSync(join(root, "f"), "latin1")).toBe(sparseBody);
      expect(statSync(join(root, "f")).blocks * 512).toBeLessThanOrEqual(8192);
    }
    expect(readFileSync(before, "utf8")).toBe("untouched");
  });

  test("what is taken can be given back, bit by bit, where nothing took the place of another", async () => {
    using temporary = temporaryDirectory("hostile");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    let again = 0;
    for (const { tar, lower, want } of Object.values(oddArchives)) {
      if (typeof want === "string" || lower !== undefined) continue;
      const { snapshot, diffId } = await snapshots.unpack({ source: streamOf(tar), parentIds: [], parents: [], recipe: true });
      if (snapshots.recipe(snapshot) !== undefined) {
        const made = new Bun.CryptoHasher("sha256");
        for await (const chunk of snapshots.diffTar(snapshot, { expect: diffId }) as unknown as AsyncIterable<Uint8Array>) made.update(chunk);
        expect(`sha256:${made.digest("hex")}`).toBe(diffId);
        again++;
      }
      await snapshots.remove(snapshot);
    }
    expect(again).toBeGreaterThan(30);
  });

  test("mutated archives: success or a sentence, nothing outside, nothing left", async () => {
    using temporary = temporaryDirectory("hostile");
    const sentinel = join(temporary.path, "sentinel");
    mkdirSync(join(sentinel, "d"), { recursive: true });
    writeFileSync(join(sentinel, "d", "f"), "untouched");
    const before = JSON.stringify(listTree(sentinel));
    await using storage = openStorage(temporary.path);
    const random = createRandom(Number(process.env["BERTH_FUZZ_SEED"] ?? 1));
    const seeds = Object.values(oddArchives)
      .flatMap(({ tar, lower }) => (lower === undefined ? [tar] : [tar, lower]))
      .filter(({ length }) => length > 0 && length < 50_000);
    const evil = [`../../sentinel/d/f`, `${sentinel}/d/f`, "l/d/f", ".wh.d", ".wh..wh..opq", "..", ".", ""];
    const rounds = Number(process.env["BERTH_FUZZ_ROUNDS"] ?? 1500);
    for (let round = 0; round < rounds; round++) {
      const tar = mutated(random, seeds, evil, sentinel);
      try {
        unpack(tar, undefined, 1 + random(2000));
      } catch (error) {
        if (!(error instanceof EngineError) || error.kind !== "invalidArgument") throw new Error(`round ${round}: ${String(error)}`, { cause: error });
      }
      if (round % 30 > 0) continue;
      const error = await refusalOf(storage, [tar, Bun.gzipSync(tar as never), Bun.zstdCompressSync(tar as never)][random(3)]!);
      if (error !== undefined) expect(error.kind).toBe("invalidArgument");
      for (const { id } of storage.snapshots.layers()) await storage.snapshots.remove(id);
      await storage.snapshots.settled();
    }
    expect(JSON.stringify(listTree(sentinel))).toBe(before);
  }, 60_000);
});

/** Whole numbers below `most`, the same for a seed (mulberry32). */
function createRandom(seed: number): (most: number) => number {
  let state = seed >>> 0;
  return (most) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % most;
  };
}

/** Blocks of two archives, shuffled a little; bytes and names changed, mostly with checksums made right. */
function mutated(random: (most: number) => number, seeds: readonly Buffer[], evil: readonly string[], target: string): Buffer {
  const one = seeds[random(seeds.length)]!;
  const other = seeds[random(seeds.length)]!;
  const parts = [one.subarray(0, 512 * random(one.length / 512 + 1)), other];
  if (random(4) === 0) parts.unshift(header({ name: "l", type: "symlink", linkName: target }));
  const tar = Buffer.concat(parts);
  for (let change = random(6); change > 0 && tar.length >= 512; change--) {
    const block = tar.subarray(512 * random(Math.floor(tar.length / 512))).subarray(0, 512);
    const kind = random(6);
    if (kind === 0) tar.copy(block, 0, 512 * random(Math.floor(tar.length / 512)));
    if (kind === 1) block[156] = "0123456gxLKSX7V\0".charCodeAt(random(16));
    if (kind === 2) block.fill(0, 0, 100).write(evil[random(evil.length)]!.slice(0, 100), 0, "latin1");
    if (kind === 3) block.fill(0, 157, 257).write(evil[random(evil.length)]!.slice(0, 100), 157, "latin1");
    if (kind === 4) block[random(block.length)] = random(256);
    if (kind === 5)
      block.write(
        random(2 ** 31)
          .toString(8)
          .padStart(11, "0"),
        124,
        "latin1",
      );
    if (random(8) === 0 || block.length < 512) continue;
    withChecksum(block);
  }
  return random(6) === 0 ? tar.subarray(0, random(tar.length + 1)) : tar;
}
