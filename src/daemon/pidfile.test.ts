import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writePidfile } from "./pidfile.ts";

test("a pid file is refused only where a living engine is named in it, and taken away only by its owner", async () => {
  const folder = mkdtempSync(join(tmpdir(), "berth-pidfile-"));
  const path = join(folder, "sub/berth.pid");
  // another program that has got the former engine's pid
  const child = Bun.spawn(["sleep", "1000"]);
  try {
    const first = writePidfile(path, process.pid);
    expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
    for (const stale of [`${child.pid}\n`, "999999999\n", "rubbish", ""]) {
      writeFileSync(path, stale);
      using _second = writePidfile(path, process.pid);
      expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
    }
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, `${child.pid}\n`);
    first[Symbol.dispose]();
    expect(existsSync(path)).toBe(true);
  } finally {
    child.kill();
    await child.exited;
    rmSync(folder, { recursive: true });
  }
});
