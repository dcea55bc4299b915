import { describe, expect, test } from "bun:test";
import { defaultCapabilities, ownCapabilities, resolveCapabilities } from "./capabilities.ts";

const all = ownCapabilities("CapBnd:\t000001ffffffffff\n");

describe("capabilities", () => {
  test("41 are known, and a missing bit is a missing capability", () => {
    expect(all.length).toBe(41);
    // bit 24
    expect(all.filter((name) => !ownCapabilities("CapBnd:\t000001fffeffffff\n").includes(name))).toEqual(["CAP_SYS_RESOURCE"]);
  });

  test("the default is Docker's fourteen", () => {
    expect(resolveCapabilities({}, all).toSorted()).toEqual([...defaultCapabilities].toSorted());
    expect(defaultCapabilities.length).toBe(14);
  });

  test("add and drop, in any spelling", () => {
    const list = resolveCapabilities({ CapAdd: ["net_admin"], CapDrop: ["CAP_MKNOD", "chown"] }, all);
    expect(list).toContain("CAP_NET_ADMIN");
    expect(list).not.toContain("CAP_MKNOD");
    expect(list).not.toContain("CAP_CHOWN");
  });

  test("ALL", () => {
    expect(resolveCapabilities({ CapDrop: ["ALL"] }, all)).toEqual([]);
    expect(resolveCapabilities({ CapDrop: ["all"], CapAdd: ["KILL"] }, all)).toEqual(["CAP_KILL"]);
    const most = resolveCapabilities({ CapAdd: ["ALL"], CapDrop: ["SYS_ADMIN"] }, all);
    expect(most.length).toBe(40);
    expect(most).not.toContain("CAP_SYS_ADMIN");
  });

  test("privileged: what the engine has, no more", () => {
    const few = ["CAP_KILL", "CAP_CHOWN"];
    expect(resolveCapabilities({ Privileged: true, CapDrop: ["KILL"] }, few)).toEqual(few);
  });

  test("unknown and unavailable names are refused by name", () => {
    expect(() => resolveCapabilities({ CapAdd: ["FLY"] }, all)).toThrow('invalid CapAdd: unknown capability: "FLY"');
    expect(() => resolveCapabilities({ CapDrop: ["FLY"] }, all)).toThrow('invalid CapDrop: unknown capability: "FLY"');
    expect(() => resolveCapabilities({ CapAdd: ["SYS_RESOURCE"] }, ["CAP_KILL"])).toThrow("not available in the current environment");
  });
});
