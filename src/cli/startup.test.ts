import { expect, test } from "bun:test";
import { dirname, join } from "node:path";

/** Each of these costs 1 to 15 ms of a start that takes 6. Loaded on demand (`import()`) they are fine. */
const slow = [
  "node:http",
  "node:https",
  "node:net",
  "node:tls",
  "node:stream",
  "node:tty",
  "node:fs",
  "node:fs/promises",
  "node:readline",
  "node:child_process",
  "zod",
];

/** Every module that importing `file` loads at once, with the path that led to it. */
async function loadedBy(file: string, via: string[] = [], seen = new Map<string, string[]>()): Promise<Map<string, string[]>> {
  const path = [...via, file];
  if (seen.has(file)) return seen;
  seen.set(file, path);
  if (!file.endsWith(".ts")) return seen;
  const imports = new Bun.Transpiler({ loader: "ts" }).scanImports(await Bun.file(join(import.meta.dir, file)).text());
  for (const { kind, path: target } of imports) {
    if (kind !== "import-statement") continue;
    await loadedBy(target.startsWith(".") ? join(dirname(file), target) : target, path, seen);
  }
  return seen;
}

for (const file of [
  "main.ts",
  "connect.ts",
  ...["run", "exec", "ls", "logs", "rm", "start", "stop", "create", "inspect"].map((verb) => `container/${verb}.ts`),
]) {
  test(`${file} loads nothing slow`, async () => {
    const loaded = await loadedBy(file);
    expect(loaded.size).toBeGreaterThan(3);
    expect(slow.flatMap((name) => loaded.get(name)?.join(" → ") ?? [])).toEqual([]);
  });
}
