import { expect, test } from "bun:test";
import { goFileMode, pathStatOf } from "./archive.ts";

// Seen from dockerd 26.1, or made with Go's os.FileInfo.Mode.
test.each([
  ["a directory", 0o040755, 2147484141],
  ["a sticky directory", 0o041777, 2148532735],
  ["a file", 0o100644, 420],
  ["a setuid file", 0o104644, 8389028],
  ["a setgid file", 0o102755, 4194797],
  ["a symlink", 0o120777, 134218239],
  ["a fifo", 0o010644, 33554852],
  ["a character device", 0o020666, 69206454],
  ["a block device", 0o060660, 67109296],
  ["a socket", 0o140755, 16777709],
])("Go's mode of %s", (_, mode, expected) => expect(goFileMode(mode)).toBe(expected));

test("the header's fields", () => {
  const stat = { name: "fl", size: 7, mode: 0o120777, mtimeSeconds: 1795296462, mtimeNanoseconds: 910_981_200, linkTarget: "/dd/f" };
  expect(pathStatOf(stat)).toEqual({ name: "fl", size: 7, mode: 134218239, mtime: "2026-11-21T21:27:42.9109812Z", linkTarget: "/dd/f" });
  expect(pathStatOf({ ...stat, mtimeNanoseconds: 0 })["mtime"]).toBe("2026-11-21T21:27:42Z");
  expect(pathStatOf({ ...stat, mtimeSeconds: 2 ** 60 })["mtime"]).toMatch(/^9999-/);
});
