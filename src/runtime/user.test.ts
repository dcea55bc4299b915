import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { findAccount, resolveUser } from "./user.ts";

const passwd = ["root:x:0:0:root:/root:/bin/sh", "anna:x:1000:1001::/:/bin/sh", "42:x:1042:1043::/:/bin/sh", "broken", "no:x:nan:0:::"];
const group = ["root:x:0:", "wheel:x:10:anna,root", "video:x:44:anna", "anna:x:1001:", "77:x:1077:"];

const findUser = (...args: Parameters<typeof findAccount>): ReturnType<typeof findAccount>["user"] => findAccount(...args).user;

describe("user of a container", () => {
  test.each([
    ["", "/root"],
    ["anna", "/"],
    ["1000:5", "/"],
    ["homeless", "/"],
    ["5000", "/"],
  ])("home of %p", (user, home) => {
    expect(findAccount(user, [], [...passwd, "homeless:x:9:9:::"], group).home).toBe(home);
  });

  test.each([
    ["", 0, 0, [0, 10]],
    ["root", 0, 0, [0, 10]],
    ["anna", 1000, 1001, [1001, 10, 44]],
    ["1000", 1000, 1001, [1001, 10, 44]],
    ["anna:wheel", 1000, 10, [10]],
    ["anna:5", 1000, 5, [5]],
    ["5000", 5000, 0, [0]],
    ["5000:6000", 5000, 6000, [6000]],
    // a name made of digits goes before the number
    ["42", 1042, 1043, [1043]],
    ["0:77", 0, 1077, [1077]],
  ])("%s", (user, uid, gid, additionalGids) => {
    expect(findUser(user, [], passwd, group)).toEqual({ uid, gid, additionalGids });
  });

  test("groups of --group-add, by name and number", () => {
    expect(findUser("5000", ["video", "9"], passwd, group).additionalGids).toEqual([0, 44, 9]);
  });

  test("no files at all: root and numbers work", () => {
    expect(findUser("", [], [], [])).toEqual({ uid: 0, gid: 0, additionalGids: [0] });
    expect(findUser("7:8", [], [], [])).toEqual({ uid: 7, gid: 8, additionalGids: [8] });
  });

  test("unknown names and ids out of range are refused in Docker's words", () => {
    expect(() => findUser("bob", [], passwd, group)).toThrow("unable to find user bob: no matching entries in passwd file");
    expect(() => findUser("anna:nope", [], passwd, group)).toThrow("unable to find group nope: no matching entries in group file");
    expect(() => findUser("anna", ["nope"], passwd, group)).toThrow("Unable to find group nope: no matching entries in group file");
    expect(() => findUser("4294967295", [], passwd, group)).toThrow("uids and gids must be in range 0-2147483647");
  });

  const root = mkdtempSync(`${tmpdir()}/berth-user-`);
  afterAll(() => rmSync(root, { recursive: true }));

  test("the files are the container's own: a symlink stays inside, a directory or a fifo counts as none", () => {
    mkdirSync(`${root}/etc`);
    mkdirSync(`${root}/real`);
    writeFileSync(`${root}/real/passwd`, "inside:x:77:78:::\n");
    symlinkSync("/real/passwd", `${root}/etc/passwd`);
    mkdirSync(`${root}/etc/group`);
    expect(resolveUser(root, "inside")).toEqual({ uid: 77, gid: 78, additionalGids: [78] });
    rmSync(`${root}/etc/passwd`);
    symlinkSync("../../../../../../../../etc/passwd", `${root}/etc/passwd`);
    expect(() => resolveUser(root, "daemon")).toThrow("unable to find user daemon");
    rmSync(`${root}/etc/passwd`);
    expect(Bun.spawnSync(["mkfifo", `${root}/etc/passwd`]).exitCode).toBe(0);
    expect(resolveUser(root, "9").uid).toBe(9);
  });
});
