import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { closeSync, mkdirSync, mkdtempSync, openSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { changesOf, sizeOf } from "./diff.ts";
import { MergedView } from "./merged.ts";

describe("a container that changes its tree while it is walked", () => {
  let folder: string;
  let root: number;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "berth-diff-"));
    mkdirSync(join(folder, "tree/a/b"), { recursive: true });
    mkdirSync(join(folder, "host/b"), { recursive: true });
    writeFileSync(join(folder, "host/b/secret"), "0123456789");
    root = openSync(join(folder, "tree"), "r");
  });
  afterEach(() => {
    closeSync(root);
    rmSync(folder, { recursive: true });
  });

  /** Steps until `a` has been read and `a/b` comes next, then has `a` lead out of the tree. */
  function walk<T>(steps: Generator<void, T, undefined>): T {
    for (let i = 0; i < 2; i++) expect(steps.next().done).toBe(false);
    renameSync(join(folder, "tree/a"), join(folder, "aside"));
    symlinkSync(join(folder, "host"), join(folder, "tree/a"));
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  }

  test("leads neither the list of changes nor the size out of it", () => {
    using below = new MergedView([]);
    expect(walk(changesOf(root, below)).map(({ path }) => path)).toEqual(["/a", "/a/b"]);
    rmSync(join(folder, "tree/a"));
    renameSync(join(folder, "aside"), join(folder, "tree/a"));
    expect(walk(sizeOf(root))).toBe(0);
  });

  test("may take directories away", () => {
    using below = new MergedView([]);
    const steps = changesOf(root, below);
    for (let i = 0; i < 2; i++) steps.next();
    rmSync(join(folder, "tree/a"), { recursive: true });
    expect(steps.next()).toMatchObject({ done: true });
  });
});
