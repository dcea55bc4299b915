import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { volumeDriverContract } from "../../test/contract/volume-driver.ts";
import { startPlugin } from "../../test/plugin/start.ts";
import { silent } from "../lib/log.ts";
import { createPlugins } from "../plugins/plugins.ts";
import { createLocalDriver, type LocalDriver } from "./local-driver.ts";
import { createCopies } from "../snapshots/copies.ts";
import { createSnapshotWorkers } from "../snapshots/workers.ts";
import { createMounter } from "./mounter.ts";
import { createVolumeDrivers } from "./remote-driver.ts";
import type { VolumeDrivers } from "./driver.ts";
import type { VolumeRecord } from "./types.ts";

const recordOf = (name: string, driver: string, mountpoint: string): VolumeRecord => ({
  ...{ name, driver, mountpoint, created: new Date(0).toISOString(), labels: {}, options: {}, anonymous: false },
});

const trees = createCopies({ workers: createSnapshotWorkers() });
const local = (root: string): LocalDriver => createLocalDriver({ root, mounter: createMounter(), trees, log: silent });

volumeDriverContract("local", async () => {
  const root = mkdtempSync(join(tmpdir(), "berth-local-"));
  return {
    driver: local(root),
    record: (name) => recordOf(name, "local", join(root, name, "_data")),
    restart: async () => local(root),
    close: async () => rmSync(root, { recursive: true, force: true }),
  };
});

const open = (folder: string): VolumeDrivers =>
  createVolumeDrivers({ local: local(folder), plugins: createPlugins({ folders: { sockets: folder, specs: [] }, log: silent }), log: silent });

volumeDriverContract("of a plugin", async () => {
  const plugin = await startPlugin();
  return {
    driver: await open(plugin.folder).get("tested"),
    record: (name) => recordOf(name, "tested", ""),
    restart: () => open(plugin.folder).get("tested"),
    close: async () => await plugin[Symbol.asyncDispose](),
  };
});

test("a plugin's scope, its volumes, and what it says that makes no sense", async () => {
  await using plugin = await startPlugin();
  const driver = await open(plugin.folder).get("tested");
  expect(driver.scope).toBe("global");
  await driver.create(recordOf("one", "tested", ""));
  expect(await open(plugin.folder).listRemote()).toMatchObject({ volumes: [{ name: "one", state: { status: { mounts: 0 } } }], warnings: [] });
  plugin.fault("VolumeDriver.Capabilities", { status: 404, body: "" });
  expect((await open(plugin.folder).get("tested")).scope).toBe("local");
  plugin.fault("VolumeDriver.List", {
    status: 200,
    body: JSON.stringify({ Volumes: [null, 5, { Name: "../x" }, { Name: "y", Mountpoint: "etc", Status: 7 }] }),
  });
  expect((await open(plugin.folder).listRemote()).volumes).toMatchObject([{ name: "y", state: {} }]);
  plugin.fault("VolumeDriver.List", { status: 500, body: "broken" });
  expect(await open(plugin.folder).listRemote()).toEqual({ volumes: [], warnings: ["list tested: VolumeDriver.List: broken"] });
  plugin.fault("VolumeDriver.Mount", { status: 200, body: '{"Mountpoint":"relative"}' });
  await expect(driver.mount(recordOf("one", "tested", ""), "c1")).rejects.toThrow("gave no path");
});
