import { afterEach, beforeEach, expect, test } from "bun:test";
import { lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeBindSource } from "./bind-source.ts";

let root: string;
const self = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), "berth-source-"))));
afterEach(() => rmSync(root, { recursive: true }));

test("all that is missing is made, links above are followed, names may have any letters", () => {
  mkdirSync(join(root, "real"));
  symlinkSync("real", join(root, "link"));
  makeBindSource(join(root, "link/ä b/c"), self);
  expect(lstatSync(join(root, "real/ä b/c")).mode & 0o7777).toBe(0o755);
  makeBindSource(join(root, "real/ä b/c/"), self); // is there
});

test("a link that leads nowhere and a file in the way are left as they are", () => {
  symlinkSync("nowhere", join(root, "dangling"));
  writeFileSync(join(root, "file"), "");
  expect(() => makeBindSource(join(root, "dangling"), self)).toThrow();
  expect(() => makeBindSource(join(root, "file/x"), self)).toThrow("not a directory");
  expect(lstatSync(join(root, "dangling")).isSymbolicLink()).toBe(true);
});
