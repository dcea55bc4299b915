import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEvents } from "../events/events.ts";
import { silent } from "../lib/log.ts";
import { migrations } from "../store/schema.ts";
import { openStore, type Store } from "../store/store.ts";
import { parseLocalOptions } from "./options.ts";
import type { Volumes } from "./types.ts";
import { createVolumes } from "./volumes.ts";

let root: string;
let store: Store;
let volumes: Volumes;
const actions: string[] = [];

function open(): void {
  store = openStore(join(root, "engine.db"), migrations);
  const events = createEvents({ store, log: silent });
  events.subscribe(({ type, action, actor }) => void actions.push(`${type} ${action} ${actor}`));
  volumes = createVolumes({ root: join(root, "volumes"), store, events, log: silent, trees: {} as never });
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
    for (const name of ["..", "a", "../x", "a/b", "-x", "x y", "x\0y", "y".repeat(256)]) {
      expect(volumes.create({ name })).rejects.toThrow("includes invalid characters for a local volume name");
    }
    expect(volumes.create({ name: "ok", driver: "flocker" })).rejects.toThrow('create ok: error looking up volume plugin flocker: plugin "flocker" not found');
  });

  test("anonymous ones have 64 hex digits", async () => {
    expect(await volumes.create({})).toMatchObject({ name: expect.stringMatching(/^[0-9a-f]{64}$/), anonymous: true });
  });

  test("other options under the same name are a conflict", async () => {
    await volumes.create({ name: "ram", options: { type: "tmpfs", device: "tmpfs" } });
    await volumes.create({ name: "ram", options: { type: "tmpfs", device: "tmpfs" } });
    expect(volumes.create({ name: "ram", options: { type: "tmpfs", device: "tmpfs", o: "size=1m" } })).rejects.toThrow("already exists with other options");
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

describe("options of the local driver", () => {
  test("as mount(8) takes them", () => {
    expect(parseLocalOptions("v1", {})).toBeUndefined();
    expect(parseLocalOptions("v1", { type: "tmpfs", device: "tmpfs", o: "size=1m,nosuid,ro" })).toMatchObject({
      type: "tmpfs",
      device: "tmpfs",
      data: "size=1m",
      flags: 3,
    });
    expect(parseLocalOptions("v1", { type: "none", device: "/srv", o: "bind" })).toMatchObject({ type: "none", device: "/srv", flags: 4096, data: "" });
  });
  const bad: [Record<string, string>, string][] = [
    [{ wat: "1" }, 'invalid option: "wat"'],
    [{ size: "1g" }, "quota size requested but no quota support"],
    [{ device: "/x" }, 'missing required option: "type"'],
    [{ type: "ext4" }, "missing device in volume options"],
    [{ type: "none", device: "x", o: "bind" }, "must be an absolute path"],
    [{ type: "nfs", device: ":/x", o: "addr=192.0.2.1" }, "volumes of type nfs are not supported yet"],
  ];
  for (const [options, error] of bad) test(`refused: ${error}`, () => expect(() => parseLocalOptions("v1", options)).toThrow(error));
});
