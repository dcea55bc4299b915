import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEvents } from "../events/events.ts";
import { AT_FDCWD, closeFd, mkdirAt, O, openAt } from "../kernel/fs.ts";
import { silent } from "../lib/log.ts";
import { createCopies } from "../snapshots/copies.ts";
import { createSnapshotWorkers } from "../snapshots/workers.ts";
import { migrations } from "../store/schema.ts";
import { openStore, type Store } from "../store/store.ts";
import { checkLocalOptions, localMount, shownOptions, type LocalMount } from "./options.ts";
import type { Volumes } from "./types.ts";
import { withServer } from "./server-address.ts";
import { createVolumes } from "./volumes.ts";
import { setImmutable } from "../../test/immutable.ts";
import { outcome } from "../../test/outcome.ts";
import { skipped } from "../../test/skips.ts";

let root: string;
let store: Store;
let volumes: Volumes;
const actions: string[] = [];

function open(): void {
  store = openStore(join(root, "engine.db"), migrations);
  const events = createEvents({ store, log: silent });
  events.subscribe(({ type, action, actor }) => void actions.push(`${type} ${action} ${actor}`));
  volumes = createVolumes({ root: join(root, "volumes"), store, events, log: silent, trees: createCopies({ workers: createSnapshotWorkers() }) });
}
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "berth-volumes-"));
  actions.length = 0;
  open();
});
afterEach(() => {
  store[Symbol.dispose]();
  rmSync(root, { recursive: true });
});
const use = (container: string, volume: string): unknown =>
  store.db.query("INSERT INTO container_volumes (container, volume) VALUES (?, ?)").run(container, volume);

describe("volumes", () => {
  test("created once, found, removed", async () => {
    const volume = await volumes.create({ name: "data", labels: { a: "b" } });
    expect(volume).toMatchObject({
      name: "data",
      driver: "local",
      labels: { a: "b" },
      options: {},
      anonymous: false,
      mountpoint: join(root, "volumes/data/_data"),
    });
    expect(await volumes.create({ name: "data" })).toEqual(volume);
    expect(volumes.list()).toEqual([volume]);
    await volumes.remove("data");
    expect(existsSync(join(root, "volumes/data"))).toBe(false);
    expect(actions).toEqual(["volume create data", "volume destroy data"]);
    expect(volumes.remove("data")).rejects.toThrow("get data: no such volume");
    await volumes.remove("data", { force: true });
  });

  test("names that could lead elsewhere are refused", async () => {
    for (const name of ["..", "../x", "a/b", "-x", "x y", "x\0y"]) {
      expect(volumes.create({ name })).rejects.toThrow("includes invalid characters for a local volume name");
    }
    expect(volumes.create({ name: "a" })).rejects.toThrow("create a: volume name is too short, names should be at least two alphanumeric characters");
    expect(volumes.create({ name: "y".repeat(256) })).rejects.toThrow("volume name is too long");
    expect(volumes.create({ name: "ok", driver: "flocker" })).rejects.toThrow('create ok: error looking up volume plugin flocker: plugin "flocker" not found');
  });

  test("anonymous ones have 64 hex digits", async () => {
    expect(await volumes.create({})).toMatchObject({ name: expect.stringMatching(/^[0-9a-f]{64}$/), anonymous: true });
  });

  test("of the same name is the one that is there, whatever is asked for: as Docker has it, checked against 26.1", async () => {
    const ram = await volumes.create({ name: "ram", options: { type: "tmpfs", device: "tmpfs" }, labels: { a: "b" } });
    expect(await volumes.create({ name: "ram", options: { type: "tmpfs", device: "tmpfs", o: "size=1m" }, labels: {} })).toEqual(ram);
  });

  test("one in use stays", async () => {
    await volumes.create({ name: "busy" });
    use("c1", "busy");
    expect(volumes.remove("busy")).rejects.toThrow("remove busy: volume is in use - [c1]");
    expect(volumes.usersOf("busy")).toEqual(["c1"]);
  });

  test("discard takes only anonymous ones that nobody else uses", async () => {
    const mine = await volumes.create({});
    const shared = await volumes.create({});
    await volumes.create({ name: "named" });
    use("other", shared.name);
    const finish = store.tx(() => volumes.discard([mine.name, mine.name, shared.name, "named", "unknown"]));
    expect(() => volumes.get(mine.name)).toThrow("no such volume");
    await finish();
    expect(
      volumes
        .list()
        .map((volume) => volume.name)
        .sort(),
    ).toEqual([shared.name, "named"].sort());
    expect(existsSync(mine.mountpoint)).toBe(false);
  });

  test("prune: anonymous ones, or all; labels", async () => {
    const anonymous = await volumes.create({});
    writeFileSync(join(anonymous.mountpoint, "f"), "x".repeat(1000));
    await volumes.create({ name: "keep", labels: { keep: "yes" } });
    await volumes.create({ name: "named" });
    expect(await volumes.prune({})).toEqual({ deleted: [anonymous.name], spaceReclaimed: 1000 });
    expect((await volumes.prune({ all: true, filters: { "label!": ["keep"] } })).deleted).toEqual(["named"]);
    expect((await volumes.prune({ filters: { all: ["true"], label: ["keep=yes"] } })).deleted).toEqual(["keep"]);
    expect(volumes.prune({ filters: { wat: ["1"] } })).rejects.toThrow("invalid filter 'wat'");
  });

  test("prune leaves what was made with options: it may be data elsewhere", async () => {
    await volumes.create({ name: "ram", options: { type: "tmpfs", device: "tmpfs" } });
    expect((await volumes.prune({ all: true })).deleted).toEqual([]);
    expect(volumes.get("ram").options).toEqual({ type: "tmpfs", device: "tmpfs" });
  });

  test("copyUp fills an empty one only, and follows no link on its way", async () => {
    const source = join(root, "source");
    mkdirSync(join(source, "dir"), { recursive: true });
    writeFileSync(join(source, "dir/f"), "1");
    symlinkSync("/etc", join(source, "etc"));
    const { mountpoint } = await volumes.create({ name: "fill" });
    await volumes.copyUp("fill", source);
    expect(readdirSync(mountpoint).sort()).toEqual(["dir", "etc"]);
    expect(readFileSync(join(mountpoint, "dir/f"), "utf8")).toBe("1");
    writeFileSync(join(source, "late"), "");
    await volumes.copyUp("fill", source);
    expect(existsSync(join(mountpoint, "late"))).toBe(false);
    expect(existsSync(join(root, "volumes/fill/_copy"))).toBe(false);
  });

  test("what a crash left half-made or half-removed goes at the next start", async () => {
    const whole = await volumes.create({ name: "whole" });
    const half = await volumes.create({ name: "half" });
    const dying = await volumes.create({ name: "dying" });
    store.db.run("UPDATE volumes SET phase = 'intent' WHERE name = 'half'");
    store.db.run("UPDATE volumes SET phase = 'deleting' WHERE name = 'dying'");
    store.db.run("UPDATE volumes SET phase = 'copying' WHERE name = 'whole'");
    mkdirSync(join(root, "volumes/whole/_copy/rest"), { recursive: true });
    store[Symbol.dispose]();
    open();
    await volumes.restore();
    expect(volumes.list()).toEqual([whole]);
    for (const { mountpoint } of [half, dying]) expect(existsSync(mountpoint)).toBe(false);
    expect(existsSync(join(root, "volumes/whole/_copy"))).toBe(false);
    await volumes.create({ name: "half" });
  });
});

describe.skipIf(skipped("root", "immutable"))("files that can't be removed", () => {
  const place = async (name: string, anonymous = false): Promise<string> => {
    const { mountpoint } = await volumes.create({ name, anonymous });
    for (const file of ["gone", "kept"]) writeFileSync(join(mountpoint, file), "");
    const kept = join(mountpoint, "kept");
    setImmutable(kept, true);
    made.push(kept);
    return kept;
  };
  // a test that fails must not leave files that nobody can remove
  const made: string[] = [];
  afterEach(() => {
    for (const file of made.splice(0)) if (existsSync(file)) setImmutable(file, false);
  });

  test("a volume stays, is known, and goes once they can be", async () => {
    const kept = await place("stuck");
    const thrown = await outcome(volumes.remove("stuck"));
    expect(thrown).toThrow(expect.objectContaining({ kind: "unavailable" }) as unknown as Error);
    expect(thrown).toThrow("remove stuck: its files can't be removed");
    await volumes.create({ name: "other" });
    expect((await volumes.prune({ all: true })).deleted).toEqual(["other"]);
    expect(volumes.list().map(({ name }) => name)).toEqual(["stuck"]);
    setImmutable(kept, false);
    await volumes.remove("stuck");
    expect(existsSync(join(root, "volumes/stuck"))).toBe(false);
    await volumes.create({ name: "stuck" });
  });

  test("those of a container that goes, or of an engine that died, keep neither from going on", async () => {
    const kept = [await place("anonymous", true), await place("dying")];
    await store.tx(() => volumes.discard(["anonymous"]))();
    expect(volumes.list().map(({ name }) => name)).toEqual(["anonymous", "dying"]);
    store.db.run("UPDATE volumes SET phase = 'deleting'");
    store[Symbol.dispose]();
    open();
    await volumes.restore();
    expect(volumes.list().map(({ name }) => name)).toEqual(["anonymous", "dying"]);
    for (const file of kept) setImmutable(file, false);
    expect((await volumes.prune({ all: true })).deleted).toEqual(["anonymous", "dying"]);
    expect(readdirSync(join(root, "volumes"))).toEqual([]);
  });
});

test("directories without end, each in the last, go too", async () => {
  const { mountpoint } = await volumes.create({ name: "deep" });
  let fd = openAt(AT_FDCWD, mountpoint, O.RDONLY | O.DIRECTORY);
  for (let i = 0; i < 20_000; i++) {
    mkdirAt(fd, "deeper", 0o755);
    const below = openAt(fd, "deeper", O.RDONLY | O.DIRECTORY);
    closeFd(fd);
    fd = below;
  }
  closeFd(fd);
  await volumes.remove("deep");
  expect(existsSync(join(root, "volumes/deep"))).toBe(false);
});

describe("options of the local driver", () => {
  test("as mount(8) takes them", () => {
    expect(localMount({})).toBeUndefined();
    expect(localMount({ type: "", device: "", o: "" })).toBeUndefined();
    expect(localMount({ type: "tmpfs", device: "tmpfs", o: "size=1m,nosuid,ro" })).toEqual({ type: "tmpfs", device: "tmpfs", data: "size=1m", flags: 3 });
    expect(localMount({ type: "none", device: "/srv", o: "bind" })).toMatchObject({ type: "none", device: "/srv", flags: 4096, data: "" });
    expect(localMount({ type: "nfs", device: ":/x", o: "addr=nas,rw,_netdev,nofail,x-systemd.automount,hard" })).toMatchObject({
      data: "addr=nas,hard",
      flags: 0,
    });
    expect(localMount({ type: "cifs", device: "//nas/x", o: "password=a,,b,ro" })).toMatchObject({ data: "password=a,,b", flags: 1 });
  });

  test("passwords are for nobody to see", () => {
    const o = "username=u,password=geheim,,er,vers=3.0,pass=x,password2=y";
    expect(shownOptions({ type: "cifs", o })).toEqual({ type: "cifs", o: "username=u,password=********,vers=3.0,pass=********,password2=********" });
  });

  const good: Record<string, string>[] = [
    { size: "0" },
    { type: "nfs", device: ":/x", o: "addr=192.0.2.1" },
    { type: "cifs", device: "//nas/share", o: "port=445" },
    { type: "none", device: "/nowhere", o: "bind" },
    { type: "overlay", device: "overlay", o: "lowerdir=/a:/b,upperdir=/c,workdir=/d" },
  ];
  for (const options of good) test(`taken: ${JSON.stringify(options)}`, () => checkLocalOptions("v1", options));

  const bad: [Record<string, string>, string][] = [
    [{ wat: "1" }, 'create v1: invalid option: "wat"'],
    [{ size: "wat" }, "create v1: invalid size: 'wat'"],
    [{ size: "-1" }, "create v1: invalid size: '-1'"],
    [{ device: "/x" }, 'create v1: missing required option: "type"'],
    [{ type: "ext4" }, 'create v1: missing required option: "device"'],
    [{ o: "ro" }, 'create v1: missing required option: "device"'],
    [{ type: "tmpfs", device: "tmpfs", size: "1g" }, "size limits the volume's own directory"],
    [{ type: "none", device: "x", o: "bind" }, "must be an absolute path"],
    [{ type: "overlay", device: "overlay", o: "lowerdir=/a:b" }, 'lowerdir must be absolute, not "b"'],
    [{ type: "none", device: "/x", o: "remount" }, "o=remount would change a mount"],
    [{ type: "cifs", device: "//nas:445/x" }, "port not allowed in CIFS device URL, include 'port' in 'o='"],
    [{ type: "tmpfs", device: "tm\0pfs" }, "holds a NUL byte"],
  ];
  for (const [options, error] of bad) test(`refused: ${error}`, () => expect(() => checkLocalOptions("v1", options)).toThrow(error));
});

describe("what the kernel's network file systems are told", () => {
  const nfs = (device: string, data = ""): LocalMount => ({ type: "nfs", device, flags: 0, data });
  test("addresses for names", async () => {
    expect((await withServer(nfs(":/x", "addr=localhost,hard"))).data).toMatch(/^addr=(127\.0\.0\.1|::1),hard$/);
    expect((await withServer(nfs("localhost:/x", "vers=4.1"))).data).toMatch(/^vers=4\.1,addr=(127\.0\.0\.1|::1)$/);
    expect((await withServer(nfs("[fd00::1]:/x"))).data).toBe("addr=fd00::1");
    expect((await withServer(nfs(":/x", "addr=fd00::1"))).data).toBe("addr=fd00::1");
    expect((await withServer({ ...nfs("//192.0.2.1/share", "ro"), type: "cifs" })).data).toBe("ro,ip=192.0.2.1");
    expect(await withServer({ ...nfs("localhost:/x"), type: "tmpfs" })).toEqual({ ...nfs("localhost:/x"), type: "tmpfs" });
    expect(withServer(nfs(":/x", "addr=no-such-host.invalid"))).rejects.toThrow(
      "error resolving passed in network volume address: lookup no-such-host.invalid",
    );
  });

  test("a file with credentials", async () => {
    const path = join(root, "credentials");
    writeFileSync(path, "# of the NAS\nusername=u\n password = a,b\r\ndomain=\nother=1\n");
    const cifs = { ...nfs("//192.0.2.1/x", `credentials=${path},vers=3.0`), type: "cifs" };
    expect((await withServer(cifs)).data).toBe("username=u,password= a,,b,vers=3.0,ip=192.0.2.1");
    expect(withServer({ ...cifs, data: "credentials=/nowhere" })).rejects.toThrow("reading the credentials of a volume");
  });
});
