import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "../../client/client.ts";
import { readTar } from "../../lib/tar-reader.ts";
import { tarOf, type TarHeaderInit } from "../../lib/tar-writer.ts";
import { captured } from "../../../test/terminal.ts";
import { copyFromContainer, copyToContainer } from "./copy.ts";

/** A container's files, as far as the archive endpoints show them. */
const state: { tar: Buffer; stats: Record<string, { name: string; mode: number; linkTarget?: string }>; put: { path: string; names: string[] }[] } = {
  tar: Buffer.alloc(0),
  stats: {},
  put: [],
};
const dir = 2 ** 31 + 0o755;

let root: string;
let folder: string;
let server: ReturnType<typeof Bun.serve>;
let client: ReturnType<typeof createClient>;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "berth-cp-"));
  server = Bun.serve({
    unix: join(root, "engine.sock"),
    fetch: async (request) => {
      const url = new URL(request.url);
      const path = url.searchParams.get("path") ?? "";
      if (request.method === "PUT") {
        const names: string[] = [];
        for await (const { header } of readTar(request.body as unknown as AsyncIterable<Uint8Array>)) names.push(header.name);
        state.put.push({ path, names });
        return new Response();
      }
      const found = state.stats[path.replace(/(.)\/\.?$/, "$1")];
      if (found === undefined) return Response.json({ message: `Could not find the file ${path} in container c` }, { status: 404 });
      const headers = { "X-Docker-Container-Path-Stat": Buffer.from(JSON.stringify({ size: 0, linkTarget: "", ...found })).toString("base64") };
      return new Response(request.method === "HEAD" ? null : state.tar, { headers });
    },
  });
  client = createClient({ host: `unix://${root}/engine.sock`, version: "1.55" });
});
afterAll(() => {
  server.stop(true);
  rmSync(root, { recursive: true, force: true });
});
beforeEach(() => {
  folder = mkdtempSync(join(root, "t-"));
  Object.assign(state, { tar: Buffer.alloc(0), stats: {}, put: [] });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const entry = (name: string, body = "", more: Partial<TarHeaderInit> = {}) => ({ name, type: "file" as const, body, ...more });
const options = { keepOwner: false, followLink: false };
const from = (path: string, to: string) => copyFromContainer(client, captured(), { container: "c", path }, join(folder, to), options);

test("a file goes into a folder that is there, or takes the name given", async () => {
  state.stats["/etc/conf"] = { name: "conf", mode: 0o644 };
  state.tar = tarOf([entry("conf", "text", { mode: 0o640 })]);
  await from("/etc/conf", ".");
  await from("/etc/conf", "renamed");
  expect(readFileSync(join(folder, "conf"), "utf8")).toBe("text");
  expect(readFileSync(join(folder, "renamed"), "utf8")).toBe("text");
  expect(statSync(join(folder, "conf")).mode & 0o777).toBe(0o640);
  await expect(from("/etc/conf", "nowhere/x")).rejects.toThrow("does not exist");
  await expect(copyFromContainer(client, captured(), { container: "c", path: "/nope" }, folder, options)).rejects.toThrow("Could not find the file /nope");
});

test("a folder goes below one that is there, its contents with /., or takes the name given", async () => {
  state.stats["/d"] = { name: "d", mode: dir };
  state.tar = tarOf([
    entry("d/", "", { type: "directory" }),
    entry("d/f", "1"),
    entry("d/l", "", { type: "symlink", linkName: "f" }),
    entry("d/h", "", { type: "hardlink", linkName: "d/f" }),
  ]);
  await from("/d", ".");
  expect(readdirSync(join(folder, "d")).sort()).toEqual(["f", "h", "l"]);
  await from("/d", "new");
  expect(readFileSync(join(folder, "new/h"), "utf8")).toBe("1");
  mkdirSync(join(folder, "flat"));
  state.tar = tarOf([entry("./", "", { type: "directory" }), entry("./f", "1")]);
  await from("/d/.", "flat");
  writeFileSync(join(folder, "file"), "");
  await expect(from("/d", "file")).rejects.toThrow("cannot copy directory onto a file");
});

test("a folder's contents make the folder that isn't there", async () => {
  state.stats["/d"] = { name: "d", mode: dir };
  state.tar = tarOf([entry("./", "", { type: "directory" }), entry("./f", "1"), entry("./h", "", { type: "hardlink", linkName: "./f" })]);
  await from("/d/.", "made");
  expect(readFileSync(join(folder, "made/h"), "utf8")).toBe("1");
  state.stats["/"] = { name: "/", mode: dir };
  state.tar = tarOf([entry("/", "", { type: "directory" }), entry("/f", "root's")]);
  await from("/", "whole");
  expect(readFileSync(join(folder, "whole/f"), "utf8")).toBe("root's");
});

test("an archive can't write outside of where it is unpacked", async () => {
  state.stats["/d"] = { name: "d", mode: dir };
  const outside = join(folder, "outside");
  const inside = join(folder, "in");
  mkdirSync(outside);
  mkdirSync(inside);
  const attempt = async (...entries: Parameters<typeof tarOf>[0]): Promise<unknown> => {
    state.tar = tarOf(entries);
    return from("/d", "in").then(
      () => undefined,
      (error: unknown) => error,
    );
  };
  expect(await attempt(entry("../outside/x", "evil"))).toBeInstanceOf(Error);
  expect(await attempt(entry("d/l", "", { type: "symlink", linkName: outside }), entry("d/l/x", "evil"))).toBeInstanceOf(Error);
  expect(await attempt(entry("d/h", "", { type: "hardlink", linkName: "../outside/secret" }))).toBeInstanceOf(Error);
  expect(await attempt(entry("d/dev", "", { type: "char", major: 1, minor: 3 }))).toBeInstanceOf(Error);
  // A link that is there already is replaced, never followed.
  symlinkSync(join(outside, "x"), join(inside, "f"));
  expect(await attempt(entry("f", "fine"))).toBeUndefined();
  expect(lstatSync(join(inside, "f")).isFile()).toBe(true);
  expect(await attempt(entry("s", "x", { mode: 0o4755 }))).toBeUndefined();
  expect(statSync(join(inside, "s")).mode & 0o7777).toBe(0o755);
  expect(readdirSync(outside)).toEqual([]);
  expect(existsSync(join(folder, "x"))).toBe(false);
});

test("what goes into a container is named by where it goes", async () => {
  mkdirSync(join(folder, "d"));
  writeFileSync(join(folder, "d/f"), "1");
  const to = (source: string, path: string) => copyToContainer(client, captured({ stdin: "tar" }), source, { container: "c", path }, options);
  Object.assign(state.stats, {
    "/": { name: "/", mode: dir },
    "/tmp": { name: "tmp", mode: dir },
    "/file": { name: "file", mode: 0o644 },
    "/link": { name: "link", mode: 2 ** 27 + 0o777, linkTarget: "tmp" },
  });
  await to(join(folder, "d/f"), "/tmp");
  await to(join(folder, "d/f"), "/tmp/g");
  await to(join(folder, "d"), "/tmp");
  await to(join(folder, "d"), "/tmp/new");
  await to(`${folder}/d/.`, "/tmp");
  await to(join(folder, "d/f"), "/link");
  expect(state.put).toEqual([
    { path: "/tmp", names: ["f"] },
    { path: "/tmp", names: ["g"] },
    { path: "/tmp", names: ["d/", "d/f"] },
    { path: "/tmp", names: ["new/", "new/f"] },
    { path: "/tmp", names: ["f"] },
    { path: "/tmp", names: ["f"] },
  ]);
  await expect(to(join(folder, "d"), "/file")).rejects.toThrow("cannot copy directory onto a file");
  await expect(to(join(folder, "d/f"), "/nope/")).rejects.toThrow("no such directory");
  await expect(to(join(folder, "nope"), "/tmp")).rejects.toThrow("no such file or directory");
  await expect(to("-", "/file")).rejects.toThrow("must be a directory");
});

test("- writes the archive as it is", async () => {
  state.stats["/f"] = { name: "f", mode: 0o644 };
  state.tar = tarOf([entry("f", "x")]);
  const io = captured();
  await copyFromContainer(client, io, { container: "c", path: "f" }, "-", options);
  expect(io.stdout().length).toBe(state.tar.length);
});
