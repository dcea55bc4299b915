import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silent } from "../lib/log.ts";
import { checkRemap, resolveRemap, type AccountFiles } from "./userns-remap.ts";

describe("--userns-remap", () => {
  let root: string;
  let files: AccountFiles;
  const write = (name: keyof AccountFiles, text: string): void => writeFileSync(files[name], text);
  const resolve = (text: string): ReturnType<typeof resolveRemap> => resolveRemap(text, silent, files);

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), "berth-remap-"));
    const path = (name: string): string => join(root, name);
    files = { passwd: path("passwd"), group: path("group"), subuid: path("subuid"), subgid: path("subgid") };
    write("passwd", "root:x:0:0:root:/root:/bin/sh\ndockremap:x:990:990::/:/bin/false\nann:x:1000:1000::/:/bin/sh\nlone:x:1001:1001::/:/bin/sh\n");
    write("group", "root:x:0:\ndockremap:x:990:\nann:x:1000:\nstaff:x:50:\n");
    write("subuid", "# comment\n\ndockremap:100000:65536\nann:200000:1000\n1000:300000:500\n");
    write("subgid", "dockremap:150000:65536\nann:200000:2000\n");
  });
  afterAll(() => rmSync(root, { recursive: true }));

  test("the user's ranges make one map, by name or number", async () => {
    expect(await resolve("")).toBeUndefined();
    expect(await resolve("default")).toEqual({ uids: [{ container: 0, host: 100_000, size: 65_536 }], gids: [{ container: 0, host: 150_000, size: 65_536 }] });
    const ann = {
      uids: [
        { container: 0, host: 200_000, size: 1000 },
        { container: 1000, host: 300_000, size: 500 },
      ],
      gids: [{ container: 0, host: 200_000, size: 2000 }],
    };
    for (const text of ["ann", "ann:ann", "ann:staff", "1000", "1000:50", "ann:50"]) expect(await resolve(text)).toEqual(ann);
    expect(await resolve("root")).toBeUndefined();
    expect(await resolve("0")).toBeUndefined();
  });

  test("what isn't there is said in Docker's words", async () => {
    const cases: Record<string, string> = {
      "a:b:c": 'invalid user/group specification in --userns-remap: "a:b:c"',
      nobody: 'error during uid lookup for "nobody": no matching entries in passwd file',
      "4242": "uid 4242 has no entry in /etc/passwd",
      lone: 'error during gid lookup for "lone": no matching entries in group file',
      "1001": "gid 1001 has no entry in /etc/group",
      "ann:nogroup": 'error during groupname lookup for "nogroup": no matching entries in group file',
      "ann:4242": "gid 4242 has no entry in /etc/group",
      "lone:staff": `can't create ID mappings: no subuid ranges found for user "lone" in ${join(root, "subuid")}`,
    };
    for (const [text, message] of Object.entries(cases)) {
      await expect(resolve(text)).rejects.toThrow(message);
      expect(() => checkRemap(text, files)).toThrow(message);
    }
  });

  test("looking at it beforehand makes no account", () => {
    for (const text of ["", "ann:staff", "root", "default"]) checkRemap(text, files);
    checkRemap("default", { ...files, passwd: files.subgid });
  });

  test("files that make no sense are refused by name", async () => {
    const before = "dockremap:100000:65536\n";
    const cases: Record<string, string> = {
      "dockremap:100000": "Format not correct for",
      "dockremap:x:65536": "String to int conversion failed during subuid/gid parsing of",
      "dockremap:-5:65536": "String to int conversion failed during subuid/gid parsing of",
      "dockremap:0:65536": "the host's root",
      "dockremap:100000:0": "no subuid ranges found",
      [`dockremap:1:1\n`.repeat(340)]: "more ranges than a user namespace can have",
    };
    for (const [text, message] of Object.entries(cases)) {
      write("subuid", text);
      await expect(resolve("default")).rejects.toThrow(message);
    }
    write("subuid", "dockremap:100000:4294967295\n");
    expect((await resolve("default"))?.uids).toEqual([{ container: 0, host: 100_000, size: 0x7ffffffe }]);
    write("subuid", before);
  });
});
