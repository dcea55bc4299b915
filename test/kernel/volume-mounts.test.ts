import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unmount } from "../../src/kernel/mount.ts";
import { mountPointsIn } from "../../src/kernel/mountinfo.ts";
import { messageOf } from "../../src/lib/errors.ts";
import { createMounter } from "../../src/volumes/mounter.ts";
import { localMount } from "../../src/volumes/options.ts";
import { skipped } from "../skips.ts";

describe.skipIf(skipped("root"))("mounts of volumes", () => {
  let root: string;
  const tmpfs = localMount({ type: "tmpfs", device: "tmpfs", o: "size=64k" })!;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "berth-volume-mounts-"));
  });
  afterEach(async () => {
    for (const target of (await mountPointsIn(root)).toReversed()) unmount(target, { lazy: true });
    rmSync(root, { recursive: true });
  });
  const places = (count: number): string[] =>
    Array.from({ length: count }, (_, index) => {
      const path = join(root, String(index));
      mkdirSync(path);
      return path;
    });

  test("many at once, by few Workers", async () => {
    const mounter = createMounter();
    const targets = places(20);
    await Promise.all(targets.map((target) => mounter.mount(target, tmpfs)));
    expect((await mountPointsIn(root)).sort()).toEqual(targets.toSorted());
    writeFileSync(join(targets[0]!, "f"), "");
    expect(await mounter.look(targets[0]!)).toEqual(["f"]);
    await Promise.all(targets.map((target) => mounter.unmount(target, tmpfs)));
    expect(await mountPointsIn(root)).toEqual([]);
    // what isn't mounted is none
    await mounter.unmount(targets[0]!, tmpfs);
    writeFileSync(join(root, "file"), "");
    const failure = await mounter.unmount(join(root, "file/below"), tmpfs).catch(messageOf);
    expect(failure).toContain("ENOTDIR");
  });

  test("mounts below a directory with blanks in its path are found", async () => {
    const mounter = createMounter();
    const directory = join(root, "a b\\c");
    const target = join(directory, "data");
    mkdirSync(target, { recursive: true });
    await mounter.mount(target, tmpfs);
    expect(await mountPointsIn(directory)).toEqual([target]);
    await mounter.unmount(target, tmpfs);
    expect(await mountPointsIn(directory)).toEqual([]);
  });

  test("what is mounted too late is unmounted", async () => {
    const mounter = createMounter({ patienceMs: 0 });
    const [target = ""] = places(1);
    await expect(mounter.mount(target, tmpfs)).rejects.toThrow(
      `error while mounting volume '${target}': failed to mount local volume: mount tmpfs:${target}, data: size=64k: no answer for 0 seconds`,
    );
    // this thread is what has it undone: it is held up until there is something to undo
    for (let i = 0; i < 4000 && !readFileSync("/proc/self/mountinfo", "utf8").includes(` ${target} `); i++) Bun.sleepSync(1);
    for (let i = 0; i < 400 && (await mountPointsIn(root)).length > 0; i++) await Bun.sleep(10);
    expect(await mountPointsIn(root)).toEqual([]);
  });

  test("a bind with what is below, shared as it is told", async () => {
    const mounter = createMounter();
    const [target = "", source = ""] = places(2);
    mkdirSync(join(source, "below"));
    await mounter.mount(join(source, "below"), tmpfs);
    writeFileSync(join(source, "below/f"), "");
    const recursive = localMount({ type: "none", device: source, o: "rbind,rslave,ro" })!;
    await mounter.mount(target, recursive);
    expect(readdirSync(join(target, "below"))).toEqual(["f"]);
    expect(() => writeFileSync(join(target, "f"), "")).toThrow("EROFS");
    await mounter.unmount(target, recursive);
    const plain = localMount({ type: "none", device: source, o: "bind" })!;
    await mounter.mount(target, plain);
    expect(readdirSync(join(target, "below"))).toEqual([]);
    await mounter.unmount(target, plain);
    await expect(mounter.mount(target, localMount({ type: "none", device: "/nowhere", o: "bind" })!)).rejects.toThrow("there is no /nowhere on the host");
    expect(await mountPointsIn(target)).toEqual([]);
  });
});
