import { describe, expect, test } from "bun:test";
import { bindMount, buildMounts, tmpfsMount, type MountInput } from "./mounts.ts";

const input = (more: Partial<MountInput> = {}): MountInput => ({
  privileged: false,
  writableCgroups: false,
  readonlyRootfs: false,
  shm: {},
  own: [],
  user: [],
  ...more,
});
const optionsOf = (more: Partial<MountInput>, destination: string): string[] | undefined =>
  buildMounts(input(more)).mounts.find((each) => each.destination === destination)?.options;

describe("mounts of a container", () => {
  test("Docker's defaults", () => {
    expect(buildMounts(input()).mounts.map((each) => each.destination)).toEqual([
      "/proc",
      "/dev",
      "/dev/pts",
      "/sys",
      "/sys/fs/cgroup",
      "/dev/mqueue",
      "/dev/shm",
    ]);
    expect(optionsOf({}, "/sys")).toContain("ro");
    expect(optionsOf({ privileged: true }, "/sys")).toContain("rw");
    expect(optionsOf({}, "/dev/shm")).toContain(`size=${64 << 20}`);
    expect(optionsOf({ shm: { size: 5 } }, "/dev/shm")).toContain("size=5");
    expect(optionsOf({ shm: undefined }, "/dev/shm")).toBeUndefined();
  });

  test("a user's mount takes the place of ours, /dev takes all below it, parents come first", () => {
    const user = [
      bindMount("/a", "/x/y/z", [], false),
      bindMount("/b", "/x", [], false),
      bindMount("/c", "/etc/hosts", [], false),
      bindMount("/d", "/dev", [], false),
    ];
    const own = [bindMount("/own", "/etc/hosts", [], false), bindMount("/own", "/etc/hostname", [], false)];
    const list = buildMounts(input({ user, own })).mounts;
    expect(list.map((each) => each.destination)).toEqual(["/proc", "/sys", "/sys/fs/cgroup", "/x", "/dev", "/etc/hosts", "/x/y/z", "/etc/hostname"]);
  });

  test("bind options: rbind and rprivate unless others are given; ro", () => {
    expect(bindMount("/a", "/b", [], true)).toEqual({ destination: "/b", type: "bind", source: "/a", options: ["rbind", "ro", "rprivate"] });
    expect(bindMount("/a", "/b", ["bind", "rslave", "ro"], false).options).toEqual(["bind", "slave", "rw"]);
  });

  test("tmpfs options: the last of contradicting ones counts, unknown ones are refused", () => {
    expect(tmpfsMount("/t", ["exec", "size=64m", "size=1m", "rw"]).options).toEqual(["nosuid", "nodev", "rprivate", "exec", "size=1m", "rw"]);
    expect(tmpfsMount("/t", ["rshared"]).options).toEqual(["noexec", "nosuid", "nodev", "rshared"]);
    expect(() => tmpfsMount("/t", ["upperdir=/etc"])).toThrow('invalid tmpfs option ["upperdir=/etc"]');
    expect(() => tmpfsMount("/t", ["bind"])).toThrow("invalid tmpfs option");
  });

  test("a tmpfs keeps the propagation that it was given, and nothing else has it", () => {
    expect(buildMounts(input({ user: [tmpfsMount("/t", [])] })).rootfsPropagation).toBeUndefined();
    const { mounts, rootfsPropagation } = buildMounts(input({ user: [tmpfsMount("/t", ["rshared"])] }));
    expect(rootfsPropagation).toBe("private");
    expect(mounts.find((each) => each.type === "cgroup")?.options).toContain("rprivate");
  });

  test("a shared bind of a place that isn't shared is refused as Docker does", () => {
    expect(() => buildMounts(input({ user: [bindMount("/proc/self", "/b", ["rshared"], false)] }))).toThrow("is not a shared mount");
  });
});
