import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { createMigrationGate } from "../../src/kernel/cgroup-migration.ts";
import { detectCgroups } from "../../src/kernel/cgroup.ts";

const own = (): string => readFileSync("/proc/self/cgroup", "utf8");

test("taking the wait ahead moves nobody, however often it is asked for", async () => {
  const before = own();
  const errors: unknown[] = [];
  const expectProcess = createMigrationGate(detectCgroups(), (error) => errors.push(error));
  for (let i = 0; i < 50; i++) {
    expectProcess();
    await Bun.sleep(1);
  }
  await Bun.sleep(400);
  expect(own()).toBe(before);
  expect(errors).toEqual([]);
});

test("where it can't be done it is told once, and never tried again", async () => {
  // none on a host with v2 alone, where there is nothing to do
  const controller = /^\d+:([^,:]+)[^:]*:/m.exec(own())?.[1];
  const nowhere = { mode: "v1", version: 1, controllers: new Map([[controller ?? "pids", "/nowhere"]]), unified: undefined, roots: [], stray: [] } as const;
  const errors: unknown[] = [];
  const expectProcess = createMigrationGate(nowhere, (error) => errors.push(error));
  for (let i = 0; i < 5; i++) {
    expectProcess();
    await Bun.sleep(10);
  }
  expect(errors).toHaveLength(controller === undefined ? 0 : 1);
});
