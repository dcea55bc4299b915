import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEvents } from "../events/events.ts";
import { silent } from "../lib/log.ts";
import { migrations } from "../store/schema.ts";
import { openStore } from "../store/store.ts";
import { createVolumes } from "./volumes.ts";

/** A root with volumes in it, opened as often as an engine starts. */
function fixture() {
  const root = mkdtempSync(join(tmpdir(), "berth-volumes-"));
  const open = () => {
    const store = openStore(join(root, "engine.db"), migrations);
    const actions: string[] = [];
    const events = createEvents({ store, log: silent });
    events.subscribe(({ type, action, actor, attributes }) => void actions.push(`${type} ${action} ${actor} ${attributes["oldName"] ?? ""}`.trim()));
    return { store, actions, volumes: createVolumes({ root: join(root, "volumes"), store, events, log: silent, trees: {} as never }) };
  };
  return { root, open, [Symbol.dispose]: () => rmSync(root, { recursive: true }) };
}

test("a volume's new name: files, references, events", async () => {
  using place = fixture();
  const { store, volumes, actions } = place.open();
  const made = await volumes.create({ labels: { a: "b" } });
  writeFileSync(join(made.mountpoint, "f"), "1");
  store.db.run("INSERT INTO container_volumes (container, volume) VALUES ('c', ?)", [made.name]);
  const seen: unknown[] = [];
  const record = await volumes.rename(made.name, "kept", (before, after) => void seen.push([before.name, after.name, volumes.usersOf("kept")]));
  expect(record).toEqual({ ...made, name: "kept", mountpoint: join(place.root, "volumes/kept/_data"), anonymous: false });
  expect(volumes.list()).toEqual([record]);
  expect(readFileSync(join(record.mountpoint, "f"), "utf8")).toBe("1");
  expect(seen).toEqual([[made.name, "kept", ["c"]]]);
  expect(actions.at(-1)).toBe(`volume rename kept ${made.name}`);
  expect(() => volumes.get(made.name)).toThrow("no such volume");
  store[Symbol.dispose]();
});

test("what is refused changes nothing", async () => {
  using place = fixture();
  const { store, volumes } = place.open();
  await volumes.create({ name: "one" });
  await volumes.create({ name: "two" });
  const before = volumes.list();
  const rename = (from: string, to: string, follow = () => {}): Promise<unknown> => volumes.rename(from, to, follow);
  await expect(rename("one", "two")).rejects.toThrow("a volume named two already exists");
  await expect(rename("one", "one")).rejects.toThrow("that is its name already");
  await expect(rename("one", "../x")).rejects.toThrow("includes invalid characters");
  await expect(rename("none", "other")).rejects.toThrow("get none: no such volume");
  const refuse = (): never => {
    throw new Error("not now");
  };
  await expect(rename("one", "other", refuse)).rejects.toThrow("not now");
  rmSync(join(place.root, "volumes/two"), { recursive: true });
  await expect(rename("two", "other")).rejects.toThrow("rename two: ENOENT");
  expect(volumes.list()).toEqual(before);

  store.db.run("INSERT INTO container_volumes (container, volume) VALUES ('c', 'soon')");
  await expect(rename("one", "soon")).rejects.toThrow("a container is being made with a volume named soon");
  expect(store.db.query("SELECT name, phase FROM volumes").all()).toEqual([
    { name: "one", phase: "ready" },
    { name: "two", phase: "ready" },
  ]);
  store[Symbol.dispose]();
});

for (const moved of [false, true]) {
  test(`an engine that died ${moved ? "after" : "before"} the directory got its name`, async () => {
    using place = fixture();
    const first = place.open();
    const { mountpoint } = await first.volumes.create({ name: "old" });
    writeFileSync(join(mountpoint, "f"), "1");
    const record = await first.volumes.rename("old", "new", () => {});
    const document = JSON.stringify({ ...record, renamedFrom: "old" });
    first.store.db.run("UPDATE volumes SET phase = 'renaming', record = ?", [document]);
    if (!moved) renameSync(join(place.root, "volumes/new"), join(place.root, "volumes/old"));
    first.store[Symbol.dispose]();
    const { store, volumes } = place.open();
    await volumes.restore();
    expect(volumes.list()).toEqual([record]);
    expect(readFileSync(join(record.mountpoint, "f"), "utf8")).toBe("1");
    expect(existsSync(join(place.root, "volumes/old"))).toBe(false);
    expect(store.db.query("SELECT phase, record FROM volumes").all()).toEqual([{ phase: "ready", record: JSON.stringify(record) }]);
    store[Symbol.dispose]();
  });
}
