import { expect, test } from "bun:test";
import { dirname, join, normalize } from "node:path";
import { Glob } from "bun";

/**
 * Imports go one way (ARCHITECTURE.md, Layers): a folder may import folders with a lower number only. Folders of one number don't import each
 * other. Type-only imports don't count: they leave no trace in the program.
 */
const engine: Record<string, number> = {
  daemon: 12,
  api: 11,
  cluster: 10,
  system: 10,
  containers: 9,
  build: 9,
  sandbox: 8,
  images: 7,
  content: 6,
  snapshots: 6,
  distribution: 6,
  registry: 6,
  runtime: 6,
  networks: 6,
  volumes: 6,
  logs: 6,
  plugins: 5,
  events: 5,
  store: 4,
  oci: 3,
  kernel: 3,
  lib: 0,
};
const commandLine: Record<string, number> = { cli: 12, compose: 11, client: 10, oci: 3, lib: 0 };

interface Import {
  file: string;
  target: string;
}

function importsOf(file: string, source: string): Import[] {
  return new Bun.Transpiler({ loader: "ts" })
    .scanImports(source)
    .map(({ path }) => ({ file, target: path.startsWith(".") ? normalize(join(dirname(file), path)) : path }));
}

const files = [...new Glob("src/**/*.ts").scanSync(".")].filter((file) => !file.endsWith(".test.ts")).sort();
const imports = (await Promise.all(files.map(async (file) => importsOf(file, await Bun.file(file).text())))).flat();
const folderOf = (path: string): string => path.split("/")[1] ?? "";

function allowed(from: string, to: string): boolean {
  const layers = from in commandLine && !(from in engine) ? commandLine : engine;
  const [upper, lower] = [layers[from], layers[to]];
  return upper !== undefined && lower !== undefined && lower < upper;
}

test("imports between folders go down the layers only", () => {
  const offending = imports
    .filter(({ target }) => target.startsWith("src/"))
    .filter(({ file, target }) => folderOf(file) !== "main.ts" && folderOf(file) !== folderOf(target) && !allowed(folderOf(file), folderOf(target)))
    .map(({ file, target }) => `${file} → ${target}`);
  expect(offending).toEqual([]);
});

test("only kernel/ speaks to native code", () => {
  expect(imports.filter(({ file, target }) => target === "bun:ffi" && folderOf(file) !== "kernel").map(({ file }) => file)).toEqual([]);
});

test("a new folder has a place among the layers", () => {
  const known = new Set([...Object.keys(engine), ...Object.keys(commandLine), "main.ts"]);
  expect([...new Set(files.map(folderOf))].filter((folder) => !known.has(folder))).toEqual([]);
});

test("the rule itself finds an import that goes up", () => {
  expect(importsOf("src/lib/x.ts", 'import { a } from "../api/y.ts"; a();')).toEqual([{ file: "src/lib/x.ts", target: "src/api/y.ts" }]);
  expect(allowed("lib", "api")).toBe(false);
  expect(allowed("networks", "volumes")).toBe(false);
  expect(allowed("cli", "containers")).toBe(false);
  expect(allowed("daemon", "lib")).toBe(true);
});
