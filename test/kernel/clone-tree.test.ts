import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { AT_FDCWD, closeFd, mkdirAt, mknodAt, O, openAt, S } from "../../src/kernel/fs.ts";
import { mount } from "../../src/kernel/mount.ts";
import { setXattrAt } from "../../src/kernel/xattr.ts";
import { debianProgram } from "../e2e/debian.ts";
import { skipped } from "../skips.ts";
import { listTree, openStorage, temporaryDirectory } from "./storage-fixture.ts";

/** `system.posix_acl_access` as the kernel has it: owner rw, user 33 r, group r, mask r, others none. */
const acl = Buffer.from("0200000001000600ffffffff020004002100000004000400ffffffff10000400ffffffff20000000ffffffff", "hex");

/** A tree with all that a volume may hold. */
async function fillTree(path: string): Promise<void> {
  mkdirSync(join(path, "dir/deep"), { recursive: true });
  const root = openAt(AT_FDCWD, path, O.RDONLY | O.DIRECTORY);
  chmodSync(path, 0o2751);
  chownSync(path, 12, 34);
  writeFileSync(join(path, "file"), "content");
  chownSync(join(path, "file"), 1000, 1001);
  chmodSync(join(path, "file"), 0o4755);
  linkSync(join(path, "file"), join(path, "dir/same"));
  linkSync(join(path, "file"), join(path, "dir/deep/same"));
  writeFileSync(join(path, "dir/deep/acl"), "a");
  chmodSync(join(path, "dir/deep/acl"), 0o640);
  setXattrAt(root, "dir/deep/acl", "system.posix_acl_access", acl);
  setXattrAt(root, "dir", "user.note", Buffer.from("x".repeat(300)));
  setXattrAt(root, "file", "security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex"));
  symlinkSync("/nowhere", join(path, "link"));
  mknodAt(AT_FDCWD, join(path, "fifo"), S.IFIFO | 0o620);
  mknodAt(AT_FDCWD, join(path, "null"), S.IFCHR | 0o666, 1, 3);
  mknodAt(AT_FDCWD, join(path, "gone"), S.IFCHR | 0o666, 0, 0);
  mknodAt(AT_FDCWD, join(path, "socket"), S.IFSOCK | 0o600);
  writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0x20, 0x0a])]), "odd");
  writeFileSync(join(path, "empty"), "");
  const sparse = openSync(join(path, "sparse"), "w");
  writeSync(sparse, "middle", 40 << 20);
  ftruncateSync(sparse, 64 << 20);
  closeSync(sparse);
  writeFileSync(join(path, "large"), Buffer.alloc(20 << 20, "0123456789abcdef"));
  for (const [name, time] of [["file", 1.5], ["link", 5], ["dir/deep", 1e9 + 0.25], ["null", 7]] as const) lutimesSync(join(path, name), time + 100, time); // prettier-ignore
  closeFd(root);
}

/** What `listTree` says of all, with atimes and the root; large contents by their hash. */
function all(path: string): unknown[] {
  const own = Object.entries({ ...listTree(path) }).map(([name, entry]) => [name, { ...entry, what: Bun.hash(entry.what).toString() }]);
  const names = ["", "file", "link", "dir/deep"];
  // what is read gets another atime by that
  const roots = names.map((name) => lstatSync(join(path, name))).map(({ mode, uid, gid, mtimeMs, nlink }) => [mode, uid, gid, mtimeMs, nlink]);
  return [own, roots, lstatSync(join(path, "null")).atimeMs];
}

describe.skipIf(skipped("root"))("copies of trees", () => {
  /** A store's copies, in a directory of their own. */
  function lab(place: string) {
    mkdirSync(join(place, "store"));
    const storage = openStorage(join(place, "store"));
    const make = (name: string): string => {
      mkdirSync(join(place, name));
      return join(place, name);
    };
    return { storage, make };
  }

  test("all is as it was: owners, modes, times, attributes, ACLs, links, holes, devices", async () => {
    using place = temporaryDirectory("clone");
    const { storage, make } = lab(place.path);
    await using _storage = storage;
    const [from, to] = [make("from"), make("to")];
    await fillTree(from);
    const before = all(from);
    let told = 0;
    await storage.snapshots.cloneTree(from, to, { onProgress: (bytes) => (told = bytes) });
    expect(all(to)).toEqual(before);
    expect(statSync(join(to, "sparse")).blocks * 512).toBeLessThan(1 << 20);
    expect(statSync(join(to, "file")).ino).toBe(statSync(join(to, "dir/deep/same")).ino);
    expect(statSync(join(to, "file")).ino).not.toBe(statSync(join(from, "file")).ino);
    expect(told).toBeGreaterThanOrEqual(0);
  });

  test("cancelled, on a full disk, and too deep", async () => {
    using place = temporaryDirectory("clone");
    const { storage, make } = lab(place.path);
    await using _storage = storage;
    const from = make("from");
    writeFileSync(join(from, "large"), Buffer.alloc(20 << 20, "x"));
    mount("tmpfs", make("full"), "tmpfs", 0, "size=4m");
    await expect(storage.snapshots.cloneTree(from, join(place.path, "full"))).rejects.toMatchObject({ kind: "unavailable" });
    for (let i = 0; i < 3000; i++) writeFileSync(join(from, `small${i}`), "");
    const stop = new AbortController();
    const going = storage.snapshots.cloneTree(from, make("cancelled"), { signal: stop.signal });
    stop.abort();
    await expect(going).rejects.toMatchObject({ kind: "cancelled" });
    let inside = openAt(AT_FDCWD, make("deep"), O.PATH | O.DIRECTORY);
    for (let i = 0; i < 25; i++) {
      mkdirAt(inside, "d".repeat(200), 0o755);
      const next = openAt(inside, "d".repeat(200), O.PATH | O.DIRECTORY);
      closeFd(inside);
      inside = next;
    }
    closeFd(inside);
    await expect(storage.snapshots.cloneTree(join(place.path, "deep"), make("target"))).rejects.toMatchObject({ kind: "invalidArgument" });
  });

  test("a tree that changes under the copy", async () => {
    using place = temporaryDirectory("clone");
    const { storage, make } = lab(place.path);
    await using _storage = storage;
    const from = make("from");
    writeFileSync(join(place.path, "secret"), "secret");
    const script = `cd ${from}; while :; do mkdir d; echo x >d/f; echo y >f; ln -s ${place.path} l; rm -rf d f l; ln -s ${place.path} d; ln -s ../secret f; mkfifo l; rm -f d f l; done`;
    const busy = Bun.spawn(["sh", "-c", script], { stdio: ["ignore", "ignore", "ignore"] });
    try {
      for (let i = 0; i < 60; i++) {
        const to = make(`to${i}`);
        await storage.snapshots.cloneTree(from, to);
        for (const [name, { what }] of Object.entries(listTree(to))) expect([name, what]).not.toEqual([name, expect.stringContaining('secret"')]);
      }
    } finally {
      busy.kill(9);
      await busy.exited;
    }
  });

  const mkfs = debianProgram("mkfs.btrfs", "sbin/mkfs.btrfs", "btrfs-progs");
  test.skipIf(skipped("btrfs"))("files share their blocks where the file system can", async () => {
    using place = temporaryDirectory("clone");
    const image = join(place.path, "image");
    writeFileSync(image, "");
    truncateSync(image, 256 << 20);
    expect(Bun.spawnSync([mkfs!, "-q", image]).exitCode).toBe(0);
    mkdirSync(join(place.path, "btrfs"));
    expect(Bun.spawnSync(["mount", "-o", "loop", image, join(place.path, "btrfs")]).exitCode).toBe(0);
    const { storage, make } = lab(join(place.path, "btrfs"));
    {
      await using _storage = storage;
      const [from, to] = [make("from"), make("to")];
      await fillTree(from);
      writeFileSync(join(from, "random"), crypto.getRandomValues(new Uint8Array(65536)));
      for (let i = 0; i < 10; i++) writeFileSync(join(from, `large${i}`), Buffer.alloc(10 << 20, crypto.randomUUID()));
      const before = all(from);
      // twelve times 10 MB and more: three copies wouldn't fit otherwise
      await storage.snapshots.cloneTree(from, to);
      await storage.snapshots.cloneTree(from, make("other"));
      expect(all(to)).toEqual(before);
      writeFileSync(join(to, "large1"), "changed");
      expect(statSync(join(from, "large1")).size).toBe(10 << 20);
    }
  });
});
