import { expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { nextTurn } from "../lib/turns.ts";
import { createDiskSync } from "./disk-sync.ts";

test("syncs for all who ask, and goes on after a failure", async () => {
  using disk = createDiskSync();
  await Promise.all([disk.sync(tmpdir()), disk.sync(tmpdir()), disk.sync("/")]);
  expect(disk.sync("/no such directory")).rejects.toThrow("ENOENT");
  const order: string[] = [];
  const first = disk.sync(tmpdir()).then(() => order.push("first"));
  await nextTurn();
  await nextTurn();
  // What is written now need not be in the sync that runs.
  const second = disk.sync(tmpdir()).then(() => order.push("second"));
  await Promise.all([first, second]);
  expect(order).toEqual(["first", "second"]);
});
