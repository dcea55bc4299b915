import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { skipped } from "../skips.ts";

const program = fileURLToPath(new URL("./helper-threads-program.ts", import.meta.url));

test.skipIf(skipped("root"))("threads that the event loop waits for go as early as it does, Workers don't", () => {
  const { stdout, stderr } = spawnSync(process.execPath, [program]);
  expect(stderr.toString()).toBe("");
  expect(JSON.parse(stdout.toString())).toEqual({ JITWorker: ["-10"], HeapHelper: ["-10"], worker: ["0"] });
});
