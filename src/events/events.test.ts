import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silent } from "../lib/log.ts";
import { migrations } from "../store/schema.ts";
import { openStore, type Store } from "../store/store.ts";
import { createEvents } from "./events.ts";
import type { EngineEvent } from "./types.ts";

let root: string;
let store: Store;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "berth-events-"));
  store = openStore(join(root, "engine.db"), migrations);
});
afterEach(() => {
  store[Symbol.dispose]();
  rmSync(root, { recursive: true });
});

describe("events", () => {
  test("are dispatched after the commit and dropped with a rollback", () => {
    const events = createEvents({ store, log: silent });
    const seen: string[] = [];
    using _subscription = events.subscribe((event) => seen.push(event.action));
    store.tx(() => {
      events.emit("container", "create", "a", { name: "x" });
      expect(seen).toEqual([]);
    });
    expect(seen).toEqual(["create"]);
    expect(() =>
      store.tx(() => {
        events.emit("container", "start", "a", {});
        throw new Error("no");
      }),
    ).toThrow("no");
    expect(seen).toEqual(["create"]);
    expect(events.history({}).map((event) => event.action)).toEqual(["create"]);
  });

  test("history is bounded by time and survives a restart with rising numbers", () => {
    const first = createEvents({ store, log: silent });
    first.emit("network", "create", "n", { name: "x" });
    first.emit("network", "destroy", "n", {});
    const second = createEvents({ store, log: silent });
    second.emit("volume", "create", "v", {});
    const all = second.history({});
    expect(all.map((event) => event.seq)).toEqual([1, 2, 3]);
    expect(all[0]?.attributes).toEqual({ name: "x" });
    expect(second.history({ since: (all[1] as EngineEvent).timeNano }).length).toBe(2);
    expect(second.history({ until: (all[0] as EngineEvent).timeNano }).length).toBe(1);
    expect(second.history({ after: 1, limit: 1 }).map((event) => event.seq)).toEqual([2]);
  });

  test("a listener that throws harms neither the others nor the emitter", () => {
    const events = createEvents({ store, log: silent });
    const seen: number[] = [];
    using _bad = events.subscribe(() => {
      throw new Error("mine");
    });
    const good = events.subscribe((event) => seen.push(event.seq));
    events.emit("daemon", "reload", "d", {});
    good[Symbol.dispose]();
    events.emit("daemon", "reload", "d", {});
    expect(seen).toEqual([1]);
  });

  test("old ones are trimmed", () => {
    const events = createEvents({ store, log: silent });
    store.tx(() => {
      for (let i = 0; i < 4700; i++) events.emit("container", "start", String(i), {});
    });
    const rest = events.history({});
    expect(rest.length).toBeLessThan(4700);
    expect(rest.length).toBeGreaterThanOrEqual(4096);
  });
});
