import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { bindMount, tmpfsMount } from "../runtime/mounts.ts";
import { makeMountPoints, unstickPlaces } from "./mount-points.ts";

const owner = { uid: process.getuid!(), gid: process.getgid!() };
const modeOf = (path: string): string => (statSync(path).mode & 0o7777).toString(8);
let root: string;
beforeAll(() => void (root = mkdtempSync(`${tmpdir()}/berth-mount-points-`)));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("places for mounts", () => {
  test("are made in the nearest bind above, and not in a tmpfs", async () => {
    const [rootfs, outer, inner] = ["rootfs", "outer", "inner"].map((name) => `${root}/${name}`) as [string, string, string];
    for (const path of [rootfs, outer, inner]) mkdirSync(path);
    await makeMountPoints(
      rootfs,
      [
        bindMount(outer, "/a", [], false),
        bindMount(inner, "/a/b", [], false),
        tmpfsMount("/a/b/t", []),
        bindMount(inner, "/a/b/t/c", [], false),
        bindMount(inner, "/a/bc", [], false),
      ],
      { owner, made: `${root}/made` },
    );
    expect([`${rootfs}/a`, `${outer}/b`, `${inner}/t`, `${outer}/bc`].filter((path) => !existsSync(path))).toEqual([]);
    expect(existsSync(`${inner}/t/c`)).toBe(false);
    expect(existsSync(`${inner}/c`)).toBe(false);
  });

  test("in a tmpfs get Docker's mode, however the path to them is spelt", async () => {
    const inside = `${root}/inside`;
    for (const path of ["t/x/y", "t/z", "u/x"]) mkdirSync(`${inside}/${path}`, { recursive: true });
    for (const path of ["t", "t/x", "t/x/y", "t/z", "u", "u/x"]) chmodSync(`${inside}/${path}`, 0o1777);
    await unstickPlaces(inside, [tmpfsMount("/t", []), tmpfsMount("/t//x//y/1", []), tmpfsMount("/t/z/2", []), tmpfsMount("/u/x/3", [])]);
    expect(["t", "t/x", "t/x/y", "t/z", "u", "u/x"].map((path) => modeOf(`${inside}/${path}`))).toEqual(["1777", "755", "755", "755", "1777", "1777"]);
  });
});
