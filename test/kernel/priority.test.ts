import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { getPriority } from "node:os";
import { fileURLToPath } from "node:url";
import { skipped } from "../skips.ts";

const source = `
import { raisePriority } from ${JSON.stringify(fileURLToPath(new URL("../../src/kernel/priority.ts", import.meta.url)))};
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
const nice = (path) => Number(readFileSync(path, "utf8").replace(/^.*\\) /, "").split(" ")[16]);
raisePriority(-10);
const threads = readdirSync("/proc/self/task").filter((id) => id !== String(process.pid));
const child = Number(spawnSync("/bin/sh", ["-c", "cat /proc/self/stat"]).stdout.toString().replace(/^.*\\) /, "").split(" ")[16]);
raisePriority(5);
console.log(JSON.stringify({ own: nice("/proc/self/stat"), threads: [...new Set(threads.map((id) => nice("/proc/self/task/" + id + "/stat")))], child }));
`;

test.skipIf(skipped("root"))("one thread goes first, its children and the other threads don't", () => {
  const { stdout, stderr } = spawnSync(process.execPath, ["-e", source]);
  expect(stderr.toString()).toBe("");
  expect(JSON.parse(stdout.toString())).toEqual({ own: -10, threads: [getPriority()], child: 0 });
});
