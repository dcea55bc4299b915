import { Database } from "bun:sqlite";
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "../lib/log.ts";
import { startCheckpoints } from "./checkpoint.ts";
import { imageFacts, migrations as schema } from "./schema.ts";
import { openStore } from "./store.ts";

const migrations = [{ id: 1, sql: "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)" }];
let root: string;
beforeEach(() => (root = mkdtempSync(join(tmpdir(), "berth-store-"))));
afterEach(() => rmSync(root, { recursive: true }));

/** The log's first salt (sqlite.org/fileformat2.html#wal_file_format): another one whenever the log has begun anew. */
const saltOf = (path: string): number => readFileSync(`${path}-wal`).readUInt32BE(16);
/** By its size: reading the database's file here, and closing it, would drop the locks on it. */
const databasePages = (path: string): number => statSync(path).size / 4096;

test("the engine's connection never begins the log anew: that would sync", async () => {
  const errors: string[] = [];
  const log = createLogger({ level: () => "error", write: (line) => void errors.push(line) });
  using store = openStore(join(root, "engine.db"), migrations);
  using _checkpoints = startCheckpoints(store, log);
  const insert = store.db.query("INSERT INTO notes (text) VALUES (?)");
  const write = (pages: number): void => store.tx(() => void Array.from({ length: pages }, () => insert.run("x".repeat(4000))));
  const salt = saltOf(store.path);
  for (let round = 1; round <= 3; round++) {
    write(20);
    // checkpointed as far as it goes
    while (databasePages(store.path) < round * 20) await Bun.sleep(50);
    write(1);
    expect(saltOf(store.path)).toBe(salt);
  }
  // the Worker does, once the log is worth it
  write(1100);
  while (saltOf(store.path) === salt) await Bun.sleep(50);
  write(3);
  expect(store.db.query("SELECT count(*) AS n FROM notes").get()).toEqual({ n: 1166 });
  expect(errors).toEqual([]);
}, 30_000);

/** The locks on a file, as proc(5) lists them. */
const locksOn = (path: string): string[] =>
  readFileSync("/proc/locks", "utf8")
    .split("\n")
    .filter((line) => line.includes(`:${statSync(path).ino} `));

test("the database stays locked: a sqlite3 beside the engine that thought itself alone would remove the log", async () => {
  using store = openStore(join(root, "engine.db"), migrations);
  using _checkpoints = startCheckpoints(store, createLogger({ level: () => "error", write: () => {} }));
  store.tx(() => void store.db.run("INSERT INTO notes (text) VALUES ('a')"));
  expect(locksOn(store.path).length).toBe(1);
  while (databasePages(store.path) < 2) await Bun.sleep(50);
  expect(locksOn(store.path).length).toBe(1);
}, 30_000);

test("closed, all is in the database and the log is gone", async () => {
  const path = join(root, "engine.db");
  {
    using store = openStore(path, migrations);
    using _checkpoints = startCheckpoints(store, createLogger({ level: () => "error", write: () => {} }));
    store.tx(() => void store.db.run("INSERT INTO notes (text) VALUES ('a')"));
    while (databasePages(path) < 2) await Bun.sleep(50);
    store.tx(() => void store.db.run("INSERT INTO notes (text) VALUES ('b')"));
  }
  expect(existsSync(`${path}-wal`) ? readFileSync(`${path}-wal`).length : 0).toBe(0);
  using db = new Database(path, { readonly: true });
  expect(db.query("SELECT text FROM notes").values()).toEqual([["a"], ["b"]]);
}, 30_000);

test("what is asked of all images is answered without their configs, which are most of their table", () => {
  using store = openStore(join(root, "engine.db"), schema);
  const plan = (sql: string): string => (store.db.query(`EXPLAIN QUERY PLAN ${sql}`).get() as { detail: string }).detail;
  expect(plan("SELECT id, layers FROM images")).toContain("COVERING INDEX images_layers");
  expect(plan("SELECT id FROM images WHERE parent = 'x'")).toContain("INDEX images_parent");
  expect(plan(`SELECT manifest, layers, parent, ${imageFacts} FROM images INDEXED BY images_facts WHERE id = 'x'`)).toContain("COVERING INDEX images_facts");
});

test("of images from before, too, lists find what they show of a config without reading it", () => {
  const path = join(root, "engine.db");
  const config = { os: "linux", architecture: "amd64", created: "2024-01-01T00:00:00Z", config: { Labels: { a: "b" } }, history: [{}, { created_by: "x" }] };
  {
    using before = openStore(
      path,
      schema.filter(({ id }) => id < 9),
    );
    const insert = before.db.query("INSERT INTO images (id, config, layers, created) VALUES (?, ?, '[]', 0)");
    insert.run("whole", JSON.stringify(config));
    insert.run("bare", "{}");
    insert.run("damaged", '{"os":');
  }
  using store = openStore(path, schema);
  const facts = (id: string): unknown => {
    const row = store.db.query<{ facts: string }, [string]>(`SELECT ${imageFacts} AS facts FROM images INDEXED BY images_facts WHERE id = ?`).get(id)!;
    return JSON.parse(row.facts);
  };
  const { os, architecture, created } = config;
  expect(facts("whole")).toEqual({ os, architecture, created, variant: null, labels: { a: "b" }, step: { created_by: "x" } });
  expect(facts("bare")).toEqual({ os: null, architecture: null, created: null, variant: null, labels: null, step: null });
  expect(facts("damaged")).toBeNull();
});
