import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mount, unmount } from "../../src/kernel/mount.ts";
import { isDiskFull } from "../../src/lib/disk-full.ts";
import { openStore } from "../../src/store/store.ts";
import { skipped } from "../skips.ts";

const migrations = [{ id: 1, sql: "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)" }];

describe.skipIf(skipped("root"))("records on a full disk", () => {
  test("are written all the same, for a while; then the error says what is full", () => {
    const root = mkdtempSync(join(tmpdir(), "berth-store-"));
    mount("tmpfs", root, "tmpfs", 0, "size=16m");
    try {
      using store = openStore(join(root, "engine.db"), migrations);
      const filler = Buffer.alloc(64 << 10);
      expect(() => {
        for (let i = 0; ; i++) writeFileSync(join(root, `filler${i}`), filler);
      }).toThrow("ENOSPC");
      expect(statfsSync(root).bavail).toBeLessThan(16);
      const insert = store.db.query("INSERT INTO notes (text) VALUES (?)");
      for (let i = 0; i < 100; i++) store.tx(() => void insert.run("x".repeat(3000)));
      expect(store.db.query("SELECT count(*) AS n FROM notes").get()).toEqual({ n: 100 });

      let failure: unknown;
      for (let i = 0; failure === undefined && i < 10_000; i++) {
        try {
          store.tx(() => void insert.run("x".repeat(10_000)));
        } catch (error) {
          failure = error;
        }
      }
      expect(String(failure)).toContain("no space left on device");
      expect(isDiskFull(failure)).toBe(true);
      rmSync(join(root, "filler0"));
      store.tx(() => void insert.run("room again"));
    } finally {
      unmount(root, { lazy: true });
      rmSync(root, { recursive: true });
    }
  });
});
