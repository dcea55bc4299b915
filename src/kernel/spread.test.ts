import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spreadSubdirectories } from "./spread.ts";

const EXT4_MAGIC = 0xef53;

test("ext4 is told, twice too; other file systems are left alone", () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-spread-"));
  try {
    for (let i = 0; i < 2; i++) spreadSubdirectories(directory);
    const listed = Bun.which("lsattr") === null || statfsSync(directory).type !== EXT4_MAGIC ? undefined : Bun.spawnSync(["lsattr", "-d", directory]);
    if (listed?.exitCode === 0) expect(listed.stdout.toString().split(" ")[0]).toContain("T");
    spreadSubdirectories("/proc/self");
    expect(() => spreadSubdirectories(join(directory, "none"))).toThrow("ENOENT");
  } finally {
    rmSync(directory, { recursive: true });
  }
});
