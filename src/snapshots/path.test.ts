import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeFd } from "../kernel/fs.ts";
import type { EngineError } from "../lib/errors.ts";
import { askedPath, followLinks, openStart, realDirectory, statPath } from "./path.ts";
import { Root } from "./root.ts";

let folder: string;
let root: Root;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "berth-path-"));
  mkdirSync(join(folder, "root/dir/sub"), { recursive: true });
  writeFileSync(join(folder, "root/dir/file"), "in");
  writeFileSync(join(folder, "secret"), "out");
  for (const [name, target] of Object.entries({ up: "../../../..", far: folder, in: "/dir", rel: "dir/sub", gone: "/dir/none/x", a: "b", b: "a" }))
    symlinkSync(target, join(folder, "root", name));
  root = new Root(join(folder, "root"));
});
afterAll(() => {
  root[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const kindOf = (work: () => unknown): string | undefined => {
  try {
    work();
  } catch (error) {
    return (error as EngineError).kind;
  }
  return undefined;
};

test.each([
  ["/a/b", ["a", "b"], false, "b"],
  ["a//./b/", ["a", "b"], true, "b"],
  ["/a/b/.", ["a", "b"], true, "."],
  ["/a/b/.//", ["a", "b"], true, "."],
  ["/a/../../b", ["b"], false, "b"],
  ["/", [], true, "/"],
  [".", [], true, "."],
  ["..", [], false, "/"],
])("%s is read as Docker reads it", (path, parts, into, name) => expect(askedPath(path)).toEqual({ parts, into, name }));

test("links are followed within the root, also into nothing", () => {
  const follow = (path: string): string => followLinks(root, askedPath(path).parts).join("/");
  expect(follow("/up/dir")).toBe("dir");
  expect(follow("/in/file")).toBe("dir/file");
  expect(follow("/rel/../file")).toBe("file"); // by name alone, as Go cleans a path
  expect(follow("/gone")).toBe("dir/none/x");
  expect(follow("/far/secret")).toBe(`${folder.slice(1)}/secret`);
  expect(() => follow("/a")).toThrow("ELOOP");
});

describe("what stands at a path", () => {
  test("a link itself, or what it leads to", () => {
    expect(statPath(root, "/in")).toMatchObject({ name: "in", linkTarget: "/dir" });
    expect(statPath(root, "/in/")).toMatchObject({ name: "in", linkTarget: "" });
    expect(statPath(root, "/in/file")).toMatchObject({ name: "file", size: 2 });
    expect(realDirectory(root, "/up/in/sub")).toBe("/dir/sub");
  });

  test("mistakes are told apart", () => {
    expect(kindOf(() => statPath(root, "/far/secret"))).toBe("notFound");
    expect(kindOf(() => statPath(root, "/none"))).toBe("notFound");
    expect(kindOf(() => statPath(root, "/dir/file/"))).toBe("invalidArgument");
    expect(kindOf(() => statPath(root, "/dir/file/x"))).toBe("invalidArgument");
    expect(kindOf(() => statPath(root, "/a/"))).toBe("invalidArgument");
    expect(kindOf(() => statPath(root, "/dir\0"))).toBe("invalidArgument");
    expect(kindOf(() => realDirectory(root, "/dir/file"))).toBe("invalidArgument");
    expect(kindOf(() => openStart(root, "/gone/x"))).toBe("notFound");
  });

  test("an archive begins in the root", () => {
    const { dir, base, name } = openStart(root, "/up/in/file");
    expect([base, name, readFileSync(`/proc/self/fd/${dir}/${base}`, "utf8")]).toEqual(["file", "file", "in"]);
    closeFd(dir);
    const whole = openStart(root, "/");
    expect([whole.base, whole.name, readdirSync(`/proc/self/fd/${whole.dir}`).includes("dir")]).toEqual([".", "/", true]);
    closeFd(whole.dir);
  });
});
