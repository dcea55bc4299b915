import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startPlugin, type TestPlugin } from "../../test/plugin/start.ts";
import { createEvents } from "../events/events.ts";
import { silent } from "../lib/log.ts";
import { createPlugins } from "../plugins/plugins.ts";
import { createCopies } from "../snapshots/copies.ts";
import { createSnapshotWorkers } from "../snapshots/workers.ts";
import { migrations } from "../store/schema.ts";
import { openStore, type Store } from "../store/store.ts";
import type { Volumes } from "./types.ts";
import { createVolumes } from "./volumes.ts";

let root: string;
let store: Store;
let plugin: TestPlugin;
let volumes: Volumes;
const actions: string[] = [];

function open(): void {
  store = openStore(join(root, "engine.db"), migrations);
  const events = createEvents({ store, log: silent });
  events.subscribe(({ type, action, actor }) => void actions.push(`${type} ${action} ${actor}`));
  const plugins = createPlugins({ folders: { sockets: plugin.folder, specs: [] }, log: silent, times: { callMs: 3000, retryMs: 500 } });
  const trees = createCopies({ workers: createSnapshotWorkers() });
  volumes = createVolumes({ root: join(root, "volumes"), store, events, log: silent, trees, plugins });
}
async function restart(): Promise<void> {
  store[Symbol.dispose]();
  open();
  await volumes.restore();
}
beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "berth-plugin-volumes-"));
  plugin = await startPlugin();
  actions.length = 0;
  open();
});
afterEach(async () => {
  store[Symbol.dispose]();
  rmSync(root, { recursive: true });
  await plugin[Symbol.asyncDispose]();
});
const pathOf = (name: string): string => join(plugin.root, "volumes", name);
const methods = (): string[] => plugin.calls("VolumeDriver.").map(({ method }) => method.slice("VolumeDriver.".length));

test("made, used by containers under ids of their own, removed", async () => {
  const volume = await volumes.create({ name: "shared", driver: "tested", options: { a: "b" }, labels: { l: "1" } });
  expect(volume).toMatchObject({ driver: "tested", scope: "global", mountpoint: "", options: { a: "b" } });
  expect(await volumes.create({ name: "shared" })).toBe(volume);
  expect(await volumes.mount("shared", "c1")).toBe(pathOf("shared"));
  expect(await volumes.mount("shared", "c1")).toBe(pathOf("shared"));
  expect(await volumes.mount("shared", "c2")).toBe(pathOf("shared"));
  expect(await volumes.inspect("shared")).toMatchObject({
    mountpoint: pathOf("shared"),
    status: { mounts: 2 },
    created: "2020-01-02T03:04:05Z",
    labels: { l: "1" },
  });
  await expect(volumes.remove("shared")).rejects.toThrow("remove shared: volume is mounted");
  await volumes.unmount("shared", "c1");
  await volumes.unmount("shared", "c1");
  await volumes.unmount("shared", "c2");
  await volumes.remove("shared");
  expect(existsSync(pathOf("shared"))).toBe(false);
  expect(methods().filter((method) => /ount/.test(method))).toEqual(["Mount", "Mount", "Unmount", "Unmount"]);
  expect(plugin.calls("VolumeDriver.Mount")[0]?.request["ID"]).toMatch(/^[0-9a-f]{64}$/);
  expect(actions.filter((action) => !action.includes("mount"))).toEqual(["volume create shared", "volume destroy shared"]);
});

test("what only the plugin knows is listed, inspected, used by its name, removed", async () => {
  for (const name of ["one", "two"]) mkdirSync(pathOf(name));
  await volumes.create({ name: "mine" });
  expect((await volumes.listAll()).volumes.map(({ name, driver }) => [name, driver])).toEqual([
    ["mine", "local"],
    ["one", "tested"],
    ["two", "tested"],
  ]);
  expect(await volumes.inspect("one")).toMatchObject({ driver: "tested", scope: "global", status: { mounts: 0 } });
  expect(await volumes.create({ name: "one" })).toMatchObject({ driver: "tested" });
  expect(methods()).not.toContain("Create");
  await volumes.remove("two");
  expect(existsSync(pathOf("two"))).toBe(false);
  await expect(volumes.inspect("two")).rejects.toThrow("get two: no such volume");
});

test("an empty one is filled from the image, and left alone where it isn't", async () => {
  const source = join(root, "image");
  mkdirSync(source);
  writeFileSync(join(source, "file"), "of the image");
  await volumes.create({ name: "fresh", driver: "tested" });
  await volumes.copyUp("fresh", source);
  expect(readFileSync(join(pathOf("fresh"), "file"), "utf8")).toBe("of the image");
  writeFileSync(join(source, "late"), "");
  await volumes.copyUp("fresh", source);
  expect(existsSync(join(pathOf("fresh"), "late"))).toBe(false);
  expect(await volumes.inspect("fresh")).toMatchObject({ status: { mounts: 0 } });
});

test("a restart keeps what is used, and takes back what is not", async () => {
  await volumes.create({ name: "kept", driver: "tested" });
  for (const container of ["alive", "dead"]) await volumes.mount("kept", container);
  await restart();
  volumes.adopt("kept", "alive");
  await volumes.settle();
  for (let i = 0; i < 100 && !methods().includes("Unmount"); i++) await Bun.sleep(20);
  expect(await volumes.inspect("kept")).toMatchObject({ status: { mounts: 1 } });
  await volumes.unmount("kept", "alive");
  await volumes.remove("kept");
  expect(existsSync(pathOf("kept"))).toBe(false);
});

test("a plugin that is gone or hangs fails what needs it, and nothing else", async () => {
  await volumes.create({ name: "far", driver: "tested" });
  plugin.fault("VolumeDriver.Mount", "hang");
  plugin.fault("VolumeDriver.List", { status: 500, body: "no list today" });
  const stuck = volumes.mount("far", "c1");
  stuck.catch(() => {});
  await volumes.create({ name: "near" });
  expect(await volumes.listAll()).toMatchObject({ volumes: [{ name: "far" }, { name: "near" }], warnings: ["list tested: VolumeDriver.List: no list today"] });
  await expect(stuck).rejects.toThrow("error while mounting volume 'far': VolumeDriver.Mount: plugin tested did not answer within 3 s");
  await plugin.stop();
  await expect(volumes.remove("far")).rejects.toThrow(/^remove far: VolumeDriver.Get: plugin tested can't be reached/);
  await restart();
  await expect(volumes.inspect("far")).rejects.toThrow('error looking up volume plugin tested: plugin "tested" not found');
  expect((await volumes.listAll()).volumes.length).toBe(2);
  await volumes.remove("far", { force: true });
  expect(volumes.list().map(({ name }) => name)).toEqual(["near"]);
});
