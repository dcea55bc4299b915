import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EngineError } from "../../src/lib/errors.ts";
import { textOf } from "../../src/lib/tar.ts";
import { TarParser } from "../../src/lib/tar-reader.ts";
import { AT_FDCWD, closeFd, O, openAt } from "../../src/kernel/fs.ts";
import { MergedView } from "../../src/snapshots/merged.ts";
import { Unpacker } from "../../src/snapshots/unpacker.ts";
import { skipped } from "../skips.ts";
import { oddArchives, sparseArchives, sparseBody } from "./hostile-archives.ts";
import { whatIs } from "./storage-fixture.ts";

const base = mkdtempSync(join(tmpdir(), "berth-hostile-"));
let count = 0;
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** Unpacks in pieces of `step` bytes, over `lower`, and returns the directory. */
function unpack(tar: Buffer, lower?: Buffer, step = tar.length || 1): string {
  const parents = lower === undefined ? [] : [unpack(lower)];
  const root = join(base, `${count++}`, "root");
  mkdirSync(root, { recursive: true });
  const fd = openAt(AT_FDCWD, root, O.RDONLY | O.DIRECTORY);
  try {
    using view = new MergedView(parents);
    using unpacker = new Unpacker(fd, view);
    const parser = new TarParser(unpacker);
    for (let at = 0; at < tar.length; at += step) parser.push(tar.subarray(at, at + step));
    parser.finish();
    unpacker.finish();
    return root;
  } finally {
    closeFd(fd);
  }
}

describe.skipIf(skipped("root"))("odd archives", () => {
  for (const [name, { tar, lower, want }] of Object.entries(oddArchives)) {
    test(name, () => {
      if (typeof want === "string") {
        expect(() => unpack(tar, lower)).toThrow(want);
        expect(() => unpack(tar, lower, 511)).toThrow(EngineError);
      } else {
        const tree = Object.fromEntries(Object.entries(want).map(([path, what]) => [textOf(path), what]));
        expect(whatIs(unpack(tar, lower))).toEqual(tree);
        expect(whatIs(unpack(tar, lower, 511))).toEqual(tree);
      }
    });
  }
});

describe.skipIf(skipped("root"))("sparse files", () => {
  for (const [name, tar] of Object.entries(sparseArchives)) {
    test(`${name}: holes stay holes`, () => {
      const file = join(unpack(tar), "f");
      expect(readFileSync(file, "latin1")).toBe(sparseBody);
      expect(statSync(file).blocks * 512).toBeLessThanOrEqual(8192);
    });
  }
  for (const format of ["gnu", "pax --sparse-version=0.0", "pax --sparse-version=0.1", "pax --sparse-version=1.0"]) {
    test(`as GNU tar writes them: ${format}`, () => {
      const folder = join(base, `${count++}`);
      mkdirSync(folder);
      const file = join(folder, "f");
      writeFileSync(file, "begin");
      for (let i = 1; i < 40; i++)
        Bun.spawnSync(["dd", `of=${file}`, "bs=4096", `seek=${i * 16}`, "count=1", "conv=notrunc", "if=/dev/urandom", "status=none"]);
      Bun.spawnSync(["truncate", "-s", "1000001", file]);
      writeFileSync(join(folder, "after"), "x");
      const tar = Bun.spawnSync([
        "tar",
        "--sparse",
        "--hole-detection=seek",
        `--format=${format.split(" ")[0]}`,
        ...format.split(" ").slice(1),
        "-cC",
        folder,
        "f",
        "after",
      ]);
      expect(tar.stderr.toString()).toBe("");
      expect(tar.stdout.length).toBeLessThan(300_000);
      const root = unpack(tar.stdout as Buffer, undefined, 10_000);
      expect(readFileSync(join(root, "f")).equals(readFileSync(file))).toBe(true);
      expect(readFileSync(join(root, "after"), "utf8")).toBe("x");
      expect(statSync(join(root, "f")).blocks).toBe(statSync(file).blocks);
    });
  }
});
