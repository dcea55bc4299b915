import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { AT_FDCWD, closeFd, mkdirAt, O, openAt } from "../../src/kernel/fs.ts";
import { tarOf, type TarHeaderInit } from "../../src/lib/tar-writer.ts";
import { chainId } from "../../src/oci/chain.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import type { SnapshotId } from "../../src/snapshots/types.ts";
import { kernelState, leaks } from "../leaks.ts";
import { skipped } from "../skips.ts";
import { listTree, openStorage, streamOf, temporaryDirectory, whatIs, type Storage } from "./storage-fixture.ts";

type Entry = TarHeaderInit & { body?: string };
const file = (name: string, body = "x", more: Partial<Entry> = {}): Entry => ({ name, type: "file", body, ...more });
const dir = (name: string, more: Partial<Entry> = {}): Entry => ({ name, type: "directory", mode: 0o755, ...more });

async function layer({ snapshots }: Storage, entries: readonly Entry[], below: readonly { diffId: Digest; snapshot: SnapshotId }[] = []) {
  return await snapshots.unpack({ source: streamOf(tarOf(entries)), parentIds: below.map((l) => l.diffId), parents: below.map((l) => l.snapshot) });
}

async function active({ store, snapshots }: Storage, layers: readonly SnapshotId[]): Promise<SnapshotId> {
  const id = store.tx(() => snapshots.createActive());
  await snapshots.prepareActive(id, layers);
  return id;
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return await new Response(stream as never).bytes();
}

describe.skipIf(skipped("root", "overlay"))("snapshots", () => {
  let before: Set<string>;
  beforeAll(() => void (before = kernelState()));
  afterAll(() => expect(leaks(before, kernelState()).filter((line) => line.includes("berth-snapshots"))).toEqual([]));

  test("a layer that goes while its writer waits for the disk doesn't come back without its files", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const { snapshot } = await snapshots.unpack({ source: streamOf(tarOf([file("new")])), parentIds: [], parents: [], unsynced: true });
    const settling = snapshots.settle([snapshot]).catch((error: unknown) => error);
    await snapshots.remove(snapshot);
    expect(await settling).toMatchObject({ kind: "notFound" });
    await snapshots.settled();
    expect(snapshots.layers()).toEqual([]);
  });

  for (const count of [1, 3, 100, 500]) {
    test(`${count} layers, mounted to read and to write`, async () => {
      using temporary = temporaryDirectory("snapshots");
      await using storage = openStorage(temporary.path);
      const { snapshots } = storage;
      const layers: SnapshotId[] = [];
      for (let i = 0; i < count; i++) layers.push((await layer(storage, [file(`only-${i}`, `${i}`), file("shared", `${i}`)])).snapshot);
      const [view, root] = ["view", "root"].map((name) => join(temporary.path, name)) as [string, string];
      mkdirSync(view);
      mkdirSync(root);
      await snapshots.mount({ target: view, layers });
      expect(readFileSync(join(view, "shared"), "utf8")).toBe(`${count - 1}`);
      expect(readFileSync(join(view, "only-0"), "utf8")).toBe("0");
      expect(() => writeFileSync(join(view, "no"), "")).toThrow("EROFS");
      const upper = await active(storage, layers);
      await snapshots.mount({ target: root, layers, upper });
      writeFileSync(join(root, "shared"), "changed");
      expect(readFileSync(join(view, "shared"), "utf8")).toBe(`${count - 1}`);
      await snapshots.unmount(root);
      await snapshots.unmount(view);
      expect(readdirSync(root)).toEqual([]);
      expect(await snapshots.changes(upper, layers)).toEqual([{ path: "/shared", kind: "modify" }]);
    }, 60_000);
  }

  test("a layer that an image has twice counts where it is uppermost", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const twice = (await layer(storage, [file("x", "twice"), file("gone")])).snapshot;
    const between = (await layer(storage, [file("x", "between"), file(".wh.gone", "")])).snapshot;
    const view = join(temporary.path, "view");
    mkdirSync(view);
    await snapshots.mount({ target: view, layers: [twice, between, twice] });
    expect([readFileSync(join(view, "x"), "utf8"), readdirSync(view).sort()]).toEqual(["twice", ["gone", "x"]]);
    await snapshots.unmount(view);
    await snapshots.mount({ target: view, layers: [twice, twice] });
    expect(readdirSync(view).sort()).toEqual(["gone", "x"]);
    await snapshots.unmount(view);
  });

  test.skipIf(skipped("userns"))("files have the container's ids on disk and in archives, and its map's where they are mounted", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const ranges = [
      { container: 0, host: 200_000, size: 10 },
      { container: 10, host: 300_000, size: 990 },
    ];
    const idMap = { uids: ranges, gids: ranges };
    await snapshots.checkIdMap(idMap);
    const base = await layer(storage, [dir("d"), file("d/own", "x", { uid: 15, gid: 5, mode: 0o4755 }), file("d/gone"), file("d/far", "x", { uid: 5000 })]);
    const upper = await active(storage, [base.snapshot]);
    const root = join(temporary.path, "root");
    mkdirSync(root);
    const ownerOf = (path: string): string => `${lstatSync(path).uid}:${lstatSync(path).gid} ${(lstatSync(path).mode & 0o7777).toString(8)}`;
    const asRoot = async (script: string): Promise<void> => {
      const child = Bun.spawn(["setpriv", "--reuid=200000", "--regid=200000", "--clear-groups", "sh", "-c", script], {
        cwd: root,
        stdio: ["ignore", "inherit", "inherit"],
      });
      expect(await child.exited).toBe(0);
    };
    await snapshots.mount({ target: root, layers: [base.snapshot], upper, idMap });
    try {
      expect(ownerOf(root)).toBe("200000:200000 755");
      expect(ownerOf(join(root, "d/own"))).toBe("300005:200005 4755");
      // an id that the map doesn't have
      expect(ownerOf(join(root, "d/far"))).toBe("65534:200000 644");
      await asRoot(
        "rm -f d/gone && mkdir d/new && echo x >d/new/f && mv d/new d/moved && chmod 4711 d/moved/f && ! echo x 2>/dev/null >>d/own && ln d/moved/f d/link && mkfifo d/fifo",
      );
      chownSync(join(root, "d/own"), 300_001, 200_001);
    } finally {
      await snapshots.unmount(root);
    }
    expect(readdirSync(join(snapshots.root, ".mapped"))).toEqual([]);
    const stored = (name: string): string => ownerOf(join(snapshots.path(upper), "d", name));
    expect(["own", "moved", "moved/f", "link", "fifo"].map(stored)).toEqual(["11:1 755", "0:0 755", "0:0 4711", "0:0 4711", "0:0 644"]);
    expect((await snapshots.changes(upper, [base.snapshot])).map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      "modify /d",
      "add /d/fifo",
      "delete /d/gone",
      "add /d/link",
      "add /d/moved",
      "add /d/moved/f",
      "modify /d/own",
    ]);
    writeFileSync(join(temporary.path, "diff.tar"), await collect(snapshots.diffTar(upper)));
    const list = Bun.spawnSync(["tar", "--numeric-owner", "-tvf", join(temporary.path, "diff.tar")]).stdout.toString();
    expect(new Set(list.match(/ \d+\/\d+ /g)?.map((owner) => owner.trim()))).toEqual(new Set(["0/0", "11/1"]));
    await snapshots.commit(upper);
    await snapshots.mount({ target: root, layers: [base.snapshot, upper] });
    expect(ownerOf(join(root, "d/moved/f"))).toBe("0:0 4711");
    await snapshots.unmount(root);
  });

  test("what an engine that died in the middle of such a mount left is taken away", async () => {
    using temporary = temporaryDirectory("snapshots");
    const mapped = join(temporary.path, "snapshots/.mapped");
    {
      await using _first = openStorage(temporary.path);
    }
    expect(Bun.spawnSync(["mount", "--bind", temporary.path, mapped]).exitCode).toBe(0);
    await using _second = openStorage(temporary.path);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(mapped);
  });

  test("501 layers are refused with a sentence", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const layers = Array.from({ length: 501 }, (_, i) => `${i}` as SnapshotId);
    await expect(storage.snapshots.mount({ target: temporary.path, layers })).rejects.toThrow("501 layers are more than overlayfs can mount");
  });

  test("no layers at all: FROM scratch", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const root = join(temporary.path, "root");
    mkdirSync(root);
    const upper = await active(storage, []);
    await storage.snapshots.mount({ target: root, layers: [], upper, volatile: true });
    writeFileSync(join(root, "a"), "1");
    await storage.snapshots.unmount(root);
    expect(whatIs(storage.snapshots.path(upper))).toEqual({ a: 'file 644 0:0 "1"' });
  });

  test("a volatile upper that was never unmounted can be mounted again", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const root = join(temporary.path, "root");
    mkdirSync(root);
    const upper = await active(storage, []);
    await storage.snapshots.mount({ target: root, layers: [], upper, volatile: true });
    await storage.snapshots.unmount(root, { lazy: true });
    // What a crash leaves.
    mkdirSync(join(storage.snapshots.root, ".work", upper, "work/incompat/volatile"), { recursive: true });
    await storage.snapshots.mount({ target: root, layers: [], upper });
    await storage.snapshots.unmount(root);
  });

  test("unmount of nothing is no error, of something in use is a conflict", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const root = join(temporary.path, "root");
    mkdirSync(root);
    await storage.snapshots.unmount(root);
    await storage.snapshots.unmount(join(temporary.path, "missing"));
    const upper = await active(storage, []);
    await storage.snapshots.mount({ target: root, layers: [], upper });
    writeFileSync(join(root, "f"), "x");
    const child = Bun.spawn(["sleep", "60"], { cwd: root });
    const error = await storage.snapshots.unmount(root).catch((e: unknown) => e);
    expect((error as { kind?: string }).kind).toBe("conflict");
    child.kill();
    await child.exited;
    await storage.snapshots.unmount(root);
  });

  test("unmount outwaits a process that only passes through", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const root = join(temporary.path, "root");
    mkdirSync(root);
    await storage.snapshots.mount({ target: root, layers: [], upper: await active(storage, []) });
    const held = openSync(root, "r");
    const unmounted = storage.snapshots.unmount(root);
    await Bun.sleep(5);
    closeSync(held);
    await unmounted;
  });
});

describe.skipIf(skipped("root", "overlay"))("a layer's identity", () => {
  test("self-contained: found under any parents; leaning: only under its own", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const base = await layer(storage, [dir("tmp", { mode: 0o1777 })]);
    const other = await layer(storage, [dir("tmp", { mode: 0o700 })]);
    const plain = await layer(storage, [dir("tmp"), file("tmp/a")], [base]);
    expect(storage.snapshots.find([other.diffId], plain.diffId)).toBe(plain.snapshot);
    const leaning = [file("tmp/x")];
    const first = await layer(storage, leaning, [base]);
    const second = await layer(storage, leaning, [other]);
    expect(second.diffId).toBe(first.diffId);
    expect(second.snapshot).not.toBe(first.snapshot);
    expect(storage.snapshots.find([base.diffId], first.diffId)).toBe(first.snapshot);
    expect(storage.snapshots.find([other.diffId], first.diffId)).toBe(second.snapshot);
    expect(storage.snapshots.find([plain.diffId], first.diffId)).toBeUndefined();
    expect(storage.snapshots.find([], first.diffId)).toBeUndefined();
    expect(whatIs(storage.snapshots.path(first.snapshot))["tmp"]).toBe("dir 1777 0:0");
    expect(whatIs(storage.snapshots.path(second.snapshot))["tmp"]).toBe("dir 700 0:0");
  });

  test("parents that are still on their way are awaited only by a layer that leans", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const base = await layer(storage, [dir("tmp", { mode: 0o1777 })]);
    const never = new Promise<SnapshotId[]>(() => {});
    const path = join(temporary.path, "layer.tar");
    writeFileSync(path, tarOf([dir("tmp"), file("tmp/y")]));
    await storage.snapshots.unpack({ source: path, parentIds: [base.diffId], parents: never });
    writeFileSync(path, tarOf([file("tmp/z")]));
    const { promise, resolve } = Promise.withResolvers<SnapshotId[]>();
    const unpacking = storage.snapshots.unpack({ source: path, parentIds: [base.diffId], parents: promise });
    resolve([base.snapshot]);
    const { snapshot } = await unpacking;
    expect(whatIs(storage.snapshots.path(snapshot))["tmp"]).toBe("dir 1777 0:0");
  });

  test("the same layer unpacked at once is one snapshot", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const path = join(temporary.path, "layer.tar");
    writeFileSync(path, tarOf([file("a")]));
    const expect_ = digestOf(readFileSync(path));
    const results = await Promise.all(Array.from({ length: 5 }, () => storage.snapshots.unpack({ source: path, parentIds: [], parents: [], expect: expect_ })));
    expect(new Set(results.map((r) => r.snapshot)).size).toBe(1);
    expect(storage.snapshots.layers().length).toBe(1);
  });

  test("chain ids", () => {
    const [a, b] = [digestOf("a"), digestOf("b")];
    expect(chainId([a])).toBe(a);
    expect(chainId([a, b])).toBe(digestOf(`${a} ${b}`));
  });
});

describe.skipIf(skipped("root", "overlay"))("the init layer", () => {
  test("has Docker's mount points, and repeats the image's directories", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const base = await layer(storage, [
      dir("./", { mode: 0o751, uid: 3 }),
      dir("etc", { mode: 0o700, uid: 1 }),
      file("etc/hosts", "the image's"),
      file("etc/passwd", "kept"),
      dir("dev", { mode: 0o711 }),
    ]);
    const init = await storage.snapshots.initLayer([base.snapshot]);
    expect(await storage.snapshots.initLayer([base.snapshot])).toBe(init);
    expect(whatIs(storage.snapshots.path(init))).toEqual({
      ".dockerenv": 'file 755 0:0 ""',
      dev: "dir 711 0:0",
      "dev/console": 'file 755 0:0 ""',
      "dev/pts": "dir 755 0:0",
      "dev/shm": "dir 755 0:0",
      etc: "dir 700 1:0",
      "etc/hostname": 'file 755 0:0 ""',
      "etc/hosts": 'file 755 0:0 ""',
      "etc/mtab": "link 0:0 -> /proc/mounts",
      "etc/resolv.conf": 'file 755 0:0 ""',
      proc: "dir 755 0:0",
      sys: "dir 755 0:0",
    });
    const root = join(temporary.path, "root");
    mkdirSync(root);
    const upper = await active(storage, [base.snapshot]);
    await storage.snapshots.mount({ target: root, layers: [base.snapshot, init], upper });
    const stat = statSync(root);
    expect([(stat.mode & 0o7777).toString(8), stat.uid]).toEqual(["751", 3]);
    expect(readFileSync(join(root, "etc/passwd"), "utf8")).toBe("kept");
    expect(readFileSync(join(root, "etc/hosts"), "utf8")).toBe("");
    rmSync(join(root, ".dockerenv"));
    writeFileSync(join(root, "etc/new"), "");
    await storage.snapshots.unmount(root);
    expect(await storage.snapshots.changes(upper, [base.snapshot])).toEqual([
      { path: "/etc", kind: "modify" },
      { path: "/etc/new", kind: "add" },
    ]);
  });

  test("images of the same shape share it, others have their own", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const [a, b, c] = [await layer(storage, [file("a")]), await layer(storage, [file("b")]), await layer(storage, [dir("etc", { mode: 0o700 })])];
    const init = await storage.snapshots.initLayer([a.snapshot]);
    expect(await storage.snapshots.initLayer([b.snapshot])).toBe(init);
    expect(await storage.snapshots.initLayer([c.snapshot])).not.toBe(init);
  });
});

describe.skipIf(skipped("root", "overlay"))("changes", () => {
  test("are what differs, not what was copied up or made again", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const base = await layer(storage, [
      dir("a"),
      ...["same", "touched", "mode", "again", "linked", "kind"].map((name) => file(`a/${name}`, "1", { mtime: { seconds: 1000, nanoseconds: 0 } })),
      dir("a/time"),
      dir("a/full"),
      file("a/full/x"),
      dir("opaque"),
      dir("opaque/sub"),
      file("opaque/sub/old"),
      file("opaque/old"),
    ]);
    const root = join(temporary.path, "root");
    mkdirSync(root);
    const upper = await active(storage, [base.snapshot]);
    await snapshots.mount({ target: root, layers: [base.snapshot], upper });
    const at = (name: string): string => join(root, name);
    utimesSync(at("a/same"), 1000, 1000);
    utimesSync(at("a/touched"), 1001, 1001);
    chmodSync(at("a/mode"), 0o600);
    rmSync(at("a/again"));
    writeFileSync(at("a/again"), "2");
    utimesSync(at("a/again"), 1000, 1000);
    chmodSync(at("a/again"), 0o644);
    linkSync(at("a/linked"), at("a/link"));
    rmSync(at("a/kind"));
    mkdirSync(at("a/kind"));
    utimesSync(at("a/time"), 1000, 1000);
    rmSync(at("a/full"), { recursive: true });
    writeFileSync(at("a/full"), "");
    rmSync(at("opaque"), { recursive: true });
    mkdirSync(at("opaque/sub"), { recursive: true });
    writeFileSync(at("opaque/sub/new"), "");
    await snapshots.unmount(root);
    expect((await snapshots.changes(upper, [base.snapshot])).map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      "modify /a",
      "modify /a/full",
      "modify /a/kind",
      "add /a/link",
      "modify /a/mode",
      "modify /a/touched",
      "modify /opaque",
      "delete /opaque/old",
      "modify /opaque/sub",
      "add /opaque/sub/new",
      "delete /opaque/sub/old",
    ]);
  });
});

describe.skipIf(skipped("root", "overlay"))("from a change to a layer and back", () => {
  /** A base, changed in every way through a mount: what the mount shows is what unpacking the diff on the base must show. */
  test("unpack, mount, change, diff, unpack: the same tree", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const base = await layer(storage, [
      dir("keep", { mode: 0o1777, uid: 5 }),
      file("keep/a", "a"),
      dir("gone"),
      file("gone/x"),
      dir("replaced"),
      file("replaced/old"),
      file("file", "old"),
      file("linked", "linked"),
      { name: "linked2", type: "hardlink", linkName: "linked" },
      { name: "soft", type: "symlink", linkName: "file" },
    ]);
    const root = join(temporary.path, "root");
    mkdirSync(root);
    const upper = await active(storage, [base.snapshot]);
    await snapshots.mount({ target: root, layers: [base.snapshot], upper });
    const at = (name: string): string => join(root, name);
    rmSync(at("gone"), { recursive: true });
    rmSync(at("replaced"), { recursive: true });
    mkdirSync(at("replaced"));
    writeFileSync(at("replaced/new"), "new");
    writeFileSync(at("file"), "new");
    chmodSync(at("file"), 0o4711);
    chownSync(at("keep/a"), 7, 8);
    writeFileSync(at("keep/b"), "b".repeat(300_000));
    linkSync(at("keep/b"), at("keep/b2"));
    symlinkSync("../up", at("keep/s"));
    rmSync(at("soft"));
    Bun.spawnSync(["mkfifo", at("fifo")]);
    Bun.spawnSync(["mknod", at("null"), "c", "1", "3"]);
    Bun.spawnSync([process.execPath, "-e", `require("net").createServer().listen(process.argv[1], () => process.exit())`, at("socket")]);
    writeFileSync(Buffer.from(`${root}/\xff\xfe`, "latin1"), "bytes");
    const wanted = listTree(root);
    await snapshots.unmount(root);
    expect(await snapshots.changes(upper, [base.snapshot])).toContainEqual({ path: "/gone", kind: "delete" });
    expect(await snapshots.changes(upper, [base.snapshot])).toContainEqual({ path: "/replaced/old", kind: "delete" });

    const tar = await collect(snapshots.diffTar(upper));
    expect(Buffer.from(await collect(snapshots.diffTar(upper))).equals(tar)).toBe(true);
    const names = Bun.spawnSync(["tar", "tf", "-"], { stdin: tar }).stdout.toString().split("\n");
    expect(names).toContain(".wh.gone");
    expect(names).toContain("replaced/.wh..wh..opq");
    await snapshots.commit(upper);
    const made = await snapshots.identify(upper);
    expect(made.diffId).toBe(digestOf(tar));
    expect(snapshots.tarSize(made.diffId)).toBe(tar.length);
    expect(snapshots.diffIdOf(upper)).toBe(made.diffId);
    expect(made.size).toBe(300_000 + 3 + 3 + 1 + 5);

    // As if the committed snapshot had never been: a layer that was pulled.
    await snapshots.remove(upper);
    await snapshots.settled();
    expect(snapshots.find([base.diffId], made.diffId)).toBeUndefined();
    const pulled = await snapshots.unpack({
      source: streamOf(Bun.gzipSync(tar as never)),
      parentIds: [base.diffId],
      parents: [base.snapshot],
      expect: made.diffId,
    });
    await snapshots.mount({ target: root, layers: [base.snapshot, pulled.snapshot] });
    const got = listTree(root);
    await snapshots.unmount(root);
    const comparable = (tree: typeof got): unknown =>
      Object.entries(tree).map(([name, { what, mtime, nlink }]) => [name, what, mtime.split(".")[0], what.startsWith("dir") ? 0 : nlink]);
    // Sockets aren't part of a layer.
    if (existsSync(join(snapshots.path(pulled.snapshot), "socket"))) throw new Error("a socket came through");
    expect(comparable(got)).toEqual(comparable(Object.fromEntries(Object.entries(wanted).filter(([name]) => name !== "socket"))));
    // Made again from the unpacked layer, it is the same tar.
    expect(digestOf(await collect(snapshots.diffTar(pulled.snapshot)))).toBe(made.diffId);
  });

  test("a committed layer that was here already is stored once", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const make = async () => {
      const id = await active(storage, []);
      writeFileSync(join(snapshots.path(id), "f"), "same");
      Bun.spawnSync(["touch", "-d", "@1000", join(snapshots.path(id), "f")]);
      await snapshots.commit(id);
      return await snapshots.identify(id);
    };
    const [first, second] = [await make(), await make()];
    expect(second.snapshot).toBe(first.snapshot);
    await snapshots.settled();
    expect(snapshots.layers().length).toBe(1);
  });

  test("a changed mode of / travels with the layer", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const id = await active(storage, []);
    chmodSync(snapshots.path(id), 0o700);
    await snapshots.commit(id);
    const tar = await collect(snapshots.diffTar(id));
    const { diffId } = await snapshots.identify(id);
    expect(digestOf(tar)).toBe(diffId);
    const next = await active(storage, [id]);
    expect(statSync(snapshots.path(next)).mode & 0o7777).toBe(0o700);
  });

  test("a diff that nobody reads to its end stops", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const id = await active(storage, []);
    writeFileSync(join(storage.snapshots.path(id), "big"), new Uint8Array(8 << 20));
    const reader = storage.snapshots.diffTar(id).getReader();
    await reader.read();
    await reader.cancel();
    expect((await collect(storage.snapshots.diffTar(id))).length).toBeGreaterThan(8 << 20);
  });
});

describe.skipIf(skipped("root", "overlay"))("removal and restart", () => {
  test("removed at once by name, then for good", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const { snapshots } = storage;
    const { snapshot, diffId } = await layer(storage, [dir("d"), file("d/f")]);
    await snapshots.remove(snapshot);
    expect(snapshots.find([], diffId)).toBeUndefined();
    expect(existsSync(snapshots.path(snapshot))).toBe(false);
    await snapshots.remove(snapshot);
    await snapshots.settled();
    expect(readdirSync(join(snapshots.root, ".trash"))).toEqual([]);
    expect(storage.store.db.query("SELECT * FROM snapshots").all()).toEqual([]);
  });

  test("a tree 3000 directories deep goes too", async () => {
    using temporary = temporaryDirectory("snapshots");
    await using storage = openStorage(temporary.path);
    const id = await active(storage, []);
    let fd = openAt(AT_FDCWD, storage.snapshots.path(id), O.PATH);
    for (let depth = 0; depth < 3000; depth++) {
      mkdirAt(fd, "d", 0o700);
      const next = openAt(fd, "d", O.PATH);
      closeFd(fd);
      fd = next;
    }
    closeFd(fd);
    await storage.snapshots.remove(id);
    await storage.snapshots.settled();
    expect(readdirSync(join(storage.snapshots.root, ".trash"))).toEqual([]);
  });

  test("what a crash leaves is gone after restore; what is ready stays", async () => {
    using temporary = temporaryDirectory("snapshots");
    let kept: SnapshotId;
    let writable: SnapshotId;
    {
      await using storage = openStorage(temporary.path);
      const { store, snapshots } = storage;
      kept = (await layer(storage, [file("a")])).snapshot;
      writable = await active(storage, [kept]);
      await snapshots.initLayer([kept]);
      // Died after the row; after the files; while removing; while moving aside.
      store.tx(() => snapshots.createActive());
      const half = store.tx(() => snapshots.createActive());
      mkdirSync(join(snapshots.root, half));
      mkdirSync(join(snapshots.root, ".work", half));
      const dying = await layer(storage, [file("b")]);
      store.db.query("UPDATE snapshots SET state = 'deleting' WHERE id = ?").run(dying.snapshot);
      const moved = await layer(storage, [file("c")]);
      store.db.query("UPDATE snapshots SET state = 'deleting' WHERE id = ?").run(moved.snapshot);
      renameSync(snapshots.path(moved.snapshot), join(snapshots.root, ".trash", "moved"));
      mkdirSync(join(snapshots.root, "stray"));
      writeFileSync(join(snapshots.root, "stray/file"), "");
    }
    await using storage = openStorage(temporary.path);
    const { snapshots, store } = storage;
    await snapshots.restore();
    await snapshots.settled();
    const init = await snapshots.initLayer([kept]);
    expect(
      readdirSync(snapshots.root)
        .filter((name) => !name.startsWith("."))
        .sort(),
    ).toEqual([kept, writable, init].sort());
    expect(readdirSync(join(snapshots.root, ".work"))).toEqual([writable]);
    expect(readdirSync(join(snapshots.root, ".trash"))).toEqual([]);
    expect(
      store.db
        .query("SELECT id FROM snapshots ORDER BY id")
        .all()
        .map((row) => (row as { id: string }).id),
    ).toEqual([kept, writable, init].sort());
    const next = await active(storage, [kept]);
    expect([kept, writable, init]).not.toContain(next);
    expect([...snapshots.layersInUse()]).toEqual([kept]);
  });

  test("ids are short and never come twice, over restarts and removals too", async () => {
    using temporary = temporaryDirectory("snapshots");
    const seen = new Set<SnapshotId>();
    for (let restart = 0; restart < 3; restart++) {
      await using storage = openStorage(temporary.path);
      await storage.restore();
      for (let i = 0; i < 150; i++) seen.add(storage.snapshots.createActive());
    }
    expect(seen.size).toBe(450);
    for (const id of seen) expect(id).toMatch(/^[0-9a-z]{1,2}$/);
  });
});
