import { expect, test } from "bun:test";
import { closeSync, constants, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "../lib/log.ts";
import { createKeeper } from "./keep.ts";

test("logs are bounded again after the thread that does it has died", async () => {
  const root = mkdtempSync(join(tmpdir(), "berth-keep-"));
  const errors: string[] = [];
  const keeper = createKeeper({ log: createLogger({ level: () => "error", write: (line) => void errors.push(line) }) });
  const options = { maxSize: 100, maxFiles: 2, compress: false };
  const path = join(root, "container.log");
  const ctl = join(root, "ctl");
  Bun.spawnSync(["mkfifo", ctl]);
  const monitor = openSync(ctl, constants.O_RDWR | constants.O_NONBLOCK);
  try {
    using _kept = keeper.keep(path, ctl, options);
    // an error in the thread: no number is made of both kinds
    keeper.keep(join(root, "other.log"), ctl, { ...options, maxFiles: 2n as unknown as number })[Symbol.dispose]();
    while (errors.length === 0) await Bun.sleep(10);
    expect(errors[0]).toContain("the thread that rotates logs has died");
    writeFileSync(path, "x".repeat(200));
    while (!existsSync(`${path}.1`)) await Bun.sleep(10);
    // who waits for a thread that dies is let go
    keeper.keep(join(root, "third.log"), ctl, { ...options, maxFiles: 2n as unknown as number })[Symbol.dispose]();
    await keeper.forget(path);
    // it may have answered before its death was told
    while (errors.length < 2) await Bun.sleep(10);
    expect(errors).toHaveLength(2);
  } finally {
    closeSync(monitor);
    rmSync(root, { recursive: true });
  }
}, 30_000);
