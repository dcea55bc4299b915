import { describe, expect, test } from "bun:test";
import type { MountConfig } from "../oci/container.ts";
import { mountRequests, parseBind, parseMount, parseTmpfs, parseVolumesFrom } from "./binds.ts";

describe("Binds", () => {
  test("host paths, names and anonymous volumes", () => {
    expect(parseBind("/a/../b:/c/")).toMatchObject({
      type: "bind",
      source: "/b",
      destination: "/c",
      readOnly: false,
      propagation: "rprivate",
      createSource: true,
    });
    expect(parseBind("/a:/c:ro,z,rslave")).toMatchObject({ readOnly: true, mode: "ro,z,rslave", propagation: "rslave" });
    expect(parseBind("data:/c:nocopy")).toMatchObject({ type: "volume", source: "data", copy: false });
    expect(parseBind("/c")).toMatchObject({ type: "volume", source: "", destination: "/c" });
    expect(parseBind("data:/c", "local")).toMatchObject({ driver: "local" });
  });

  const bad: [string, string][] = [
    ["", "invalid volume specification: ''"],
    [":/c", "invalid volume specification: ':/c'"],
    ["/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"],
    ["/a:ro", "invalid volume specification: '/a:ro'"],
    ["/a:/b:wat", "invalid mode: wat"],
    ["/a:/b:ro,rw", "invalid mode: ro,rw"],
    ["/a:/", "destination can't be '/'"],
    ["/a:/..", "destination can't be '/'"],
    ["/a:b", "mount path must be absolute"],
    ["a/b:/c", "includes invalid characters for a local volume name"],
    ["..:/c", "includes invalid characters for a local volume name"],
    ["/a:/b:nocopy", `invalid mount config for type "bind": field VolumeOptions must not be specified`],
    ["data:/c:shared", `invalid mount config for type "volume": field BindOptions must not be specified`],
  ];
  for (const [text, error] of bad) test(`refused: ${text}`, () => expect(() => parseBind(text)).toThrow(error));
});

describe("Mounts", () => {
  test("each type", () => {
    expect(parseMount({ Type: "bind", Source: "/a", Target: "/b", ReadOnly: true, BindOptions: { NonRecursive: true } })).toMatchObject({
      type: "bind",
      readOnly: true,
      recursive: false,
      createSource: false,
      propagation: "rprivate",
    });
    expect(parseMount({ Type: "volume", Target: "/b", VolumeOptions: { NoCopy: true, Labels: { a: "b" } } })).toMatchObject({
      source: "",
      copy: false,
      labels: { a: "b" },
    });
    expect(parseMount({ Type: "volume", Source: "data", Target: "/b", VolumeOptions: { Subpath: "x/y" } })).toMatchObject({ subpath: "x/y" });
    expect(parseMount({ Type: "tmpfs", Target: "/t", TmpfsOptions: { SizeBytes: 64 << 20, Mode: 0o1770 } }).tmpfsOptions).toEqual([
      "nosuid",
      "nodev",
      "noexec",
      "mode=1770",
      "size=64m",
    ]);
    expect(parseMount({ Type: "tmpfs", Target: "/t", TmpfsOptions: { Options: [["exec"]] } }).tmpfsOptions).toEqual(["nosuid", "nodev", "exec"]);
  });

  const bad: [MountConfig, string][] = [
    [{ Type: "bind", Target: "/b" }, 'invalid mount config for type "bind": field Source must not be empty'],
    [{ Type: "bind", Source: "a", Target: "/b" }, "mount path must be absolute"],
    [{ Type: "bind", Source: "/a", Target: "" }, "field Target must not be empty"],
    [{ Type: "bind", Source: "/a", Target: "/b", VolumeOptions: {} }, "field VolumeOptions must not be specified"],
    [{ Type: "bind", Source: "/a", Target: "/b", BindOptions: { Propagation: "wat" } }, "invalid propagation mode: wat"],
    [{ Type: "volume", Target: "/b", ReadOnly: true }, "must not set ReadOnly mode when using anonymous volumes"],
    [{ Type: "volume", Source: "d1", Target: "/b", VolumeOptions: { Subpath: "../x" } }, "subpath must be a relative path within the volume"],
    [{ Type: "tmpfs", Source: "/a", Target: "/b" }, "field Source must not be specified"],
    [{ Type: "tmpfs", Target: "/b", TmpfsOptions: { Options: [["suid"]] } }, "invalid option: suid"],
    [{ Type: "nope" as never, Target: "/b" }, "mount type unknown"],
  ];
  for (const [mount, error] of bad) test(`refused: ${error}`, () => expect(() => parseMount(mount)).toThrow(error));
});

describe("tmpfs", () => {
  test("options replace their opposites", () => {
    expect(parseTmpfs("/run", "rw,exec,size=65536k").tmpfsOptions).toEqual(["nosuid", "nodev", "exec", "size=65536k"]);
    expect(parseTmpfs("/run", "").tmpfsOptions).toEqual(["nosuid", "nodev", "noexec"]);
    expect(parseTmpfs("/run", "defaults,mpol=bind:0-1").tmpfsOptions).toEqual(["nosuid", "nodev", "noexec", "mpol=bind:0-1"]);
    expect(parseTmpfs("/run", "ro").readOnly).toBe(true);
    expect(() => parseTmpfs("/run", "lowerdir=/")).toThrow("invalid tmpfs option");
    expect(() => parseTmpfs("/", "")).toThrow("destination can't be '/'");
  });
});

test("volumes from", () => {
  expect(parseVolumesFrom("db")).toEqual({ container: "db", readOnly: false, mode: "" });
  expect(parseVolumesFrom("db:ro")).toEqual({ container: "db", readOnly: true, mode: "ro" });
  expect(() => parseVolumesFrom("db:shared")).toThrow("invalid mode: shared");
});

test("one destination once", () => {
  expect(() => mountRequests({ Binds: ["/a:/c"], Mounts: [{ Type: "volume", Target: "/c/" }] })).toThrow("Duplicate mount point: /c");
});
