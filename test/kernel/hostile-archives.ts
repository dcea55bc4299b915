import { bytesOf } from "../../src/lib/tar.ts";
import { encodeHeader, endOfArchive, padding, tarOf, type TarHeaderInit } from "../../src/lib/tar-writer.ts";

/**
 * Layers that are odd, or meant to do harm, built by code. `want` is what there must be after unpacking (as storage-fixture's `whatIs` tells it), or a
 * part of the sentence that refuses it. `docker` tells where dockerd 26.1 (overlay2) was seen to make something else of it; without it, it does the same
 * (a refusal may have another text there).
 */
export interface OddArchive {
  tar: Buffer;
  want: Record<string, string> | string;
  /** The layer under it. */
  lower?: Buffer;
  docker?: string;
}

type Entry = TarHeaderInit & { body?: string };
const file = (name: string, body = "x", more: Partial<Entry> = {}): Entry => ({ name, type: "file", body, ...more });
const dir = (name: string, more: Partial<Entry> = {}): Entry => ({ name, type: "directory", mode: 0o755, ...more });
const link = (name: string, linkName: string): Entry => ({ name, type: "symlink", linkName });
const hard = (name: string, linkName: string): Entry => ({ name, type: "hardlink", linkName });
const fifo = (name: string): Entry => ({ name, type: "fifo", mode: 0o600 });
const device = (name: string, major: number, minor: number): Entry => ({ name, type: "char", mode: 0o600, major, minor });

/** A header with fields overwritten at their offsets, and its checksum made right again. */
export function header(init: TarHeaderInit & { flag?: string }, ...fields: [at: number, bytes: string | Uint8Array][]): Buffer {
  const block = encodeHeader(init);
  if (init.flag !== undefined) block.write(init.flag, 156, "latin1");
  for (const [at, bytes] of fields) block.set(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes, at);
  return withChecksum(block);
}

/** The same header, with the checksum that its bytes have now. */
export function withChecksum(block: Buffer): Buffer {
  block.fill(0x20, 148, 156);
  block.write(
    `${block
      .reduce((a, b) => a + b)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
    "latin1",
  );
  return block;
}

/** An entry of any type with a body. */
export function raw(flag: string, name: string, body: string | Uint8Array = "", ...fields: [number, string | Uint8Array][]): Buffer {
  const bytes = typeof body === "string" ? Buffer.from(body, "latin1") : Buffer.from(body);
  return Buffer.concat([header({ name, type: "file", size: bytes.length, flag }, ...fields), bytes, padding(bytes.length)]);
}

function record(key: string, value: string): string {
  const rest = Buffer.byteLength(key) + value.length + 3;
  let length = rest;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

export function pax(...records: [key: string, value: string][]): Buffer {
  return raw("x", "PaxHeaders.0/x", records.map(([key, value]) => record(key, value)).join(""));
}

export function archive(...parts: (Uint8Array | Entry)[]): Buffer {
  return Buffer.concat([...parts.map((part) => (part instanceof Uint8Array ? part : tarOf([part]).subarray(0, -1024))), endOfArchive]);
}

/** GNU's base-256. */
function base256(value: bigint, width: number): Buffer {
  const out = Buffer.alloc(width);
  let rest = value;
  for (let i = width - 1; i >= 0; i--) {
    out[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  out[0]! |= 0x80;
  return out;
}

const octal = (value: number): string => `${value.toString(8).padStart(11, "0")}\0`;

type Run = [offset: number, length: number];
const A = "a".repeat(4096);

/** GNU tar's old sparse type: four runs in the header, 21 in each block after it. */
function oldSparse(name: string, size: number, runs: readonly Run[], stored: string): Buffer {
  const put = (block: Buffer, at: number, some: readonly Run[]): void =>
    void block.write(some.map(([offset, length]) => octal(offset) + octal(length)).join(""), at, "latin1");
  const first = Buffer.alloc(109);
  put(first, 0, runs.slice(0, 4));
  first[96] = runs.length > 4 ? 1 : 0;
  first.write(octal(size), 97, "latin1");
  const blocks: Buffer[] = [];
  for (let at = 4; at < runs.length; at += 21) {
    const block = Buffer.alloc(512);
    put(block, 0, runs.slice(at, at + 21));
    block[504] = runs.length > at + 21 ? 1 : 0;
    blocks.push(block);
  }
  const head = header({ name, type: "file", size: stored.length, flag: "S" }, [257, "ustar  \0"], [386, first]);
  return Buffer.concat([head, ...blocks, Buffer.from(stored), padding(stored.length)]);
}

const runRecords = (runs: readonly Run[]): [string, string][] =>
  runs.flatMap(([offset, length]): [string, string][] => [
    ["GNU.sparse.offset", String(offset)],
    ["GNU.sparse.numbytes", String(length)],
  ]);

/** Versions 0.0 and 0.1 over PAX. */
function sparse0(minor: 0 | 1, name: string, size: number, runs: readonly Run[], stored: string): Buffer {
  const map: [string, string][] =
    minor === 0
      ? runRecords(runs)
      : [
          ["GNU.sparse.map", runs.flat().join(",")],
          ["GNU.sparse.name", name],
        ];
  const records: [string, string][] = [["GNU.sparse.size", String(size)], ["GNU.sparse.numblocks", String(runs.length)], ...map];
  return Buffer.concat([pax(...records), raw("0", minor === 0 ? name : "GNUSparseFile.1/f", stored)]);
}

/** Version 1.0: the map stands before the bytes. */
function sparse1(name: string, size: number, map: string, stored: string): Buffer {
  const records: [string, string][] = [
    ["GNU.sparse.major", "1"],
    ["GNU.sparse.minor", "0"],
    ["GNU.sparse.name", name],
    ["GNU.sparse.realsize", String(size)],
  ];
  return Buffer.concat([pax(...records), raw("0", "GNUSparseFile.1/f", map + "\0".repeat((512 - (map.length % 512)) % 512) + stored)]);
}

const mapText = (runs: readonly Run[]): string => [runs.length, ...runs.flat()].map((n) => `${n}\n`).join("");
const zeros = (length: number): string => "\0".repeat(length);
const shown = (body: string): string => `file 644 0:0 ${JSON.stringify(body)}`;

const thirty: Run[] = Array.from({ length: 30 }, (_, i) => [i * 4096, 2]);
const holey: Run[] = [
  [4096, 4096],
  [12288, 3],
  [20000, 0],
];
const holeyBody = zeros(4096) + A + zeros(4096) + "end" + zeros(20000 - 12291);

/** Files with holes: each form of the same file. */
export const sparseArchives: Record<string, Buffer> = {
  "GNU's old type": archive(oldSparse("f", 20000, holey, A + "end")),
  "version 0.0": archive(sparse0(0, "f", 20000, holey, A + "end")),
  "version 0.1": archive(sparse0(1, "f", 20000, holey, A + "end")),
  "version 1.0": archive(sparse1("f", 20000, mapText(holey), A + "end")),
};
export const sparseBody = holeyBody;

/** A file of nothing but a hole. */
export function sparseOf(size: number): Buffer {
  return archive(sparse1("f", size, "0\n", ""));
}

const maps: Record<string, [size: number, runs: Run[], stored: string]> = {
  "runs that overlap": [
    100,
    [
      [0, 10],
      [5, 10],
    ],
    "x".repeat(20),
  ],
  "runs that descend": [
    100,
    [
      [50, 10],
      [0, 10],
    ],
    "x".repeat(20),
  ],
  "a run past the file's end": [100, [[95, 10]], "x".repeat(10)],
  "a run beyond it": [100, [[200, 0]], ""],
  "more bytes than the archive has": [100, [[0, 50]], "x".repeat(10)],
  "fewer bytes than the archive has": [100, [[0, 10]], "x".repeat(50)],
};
const hostileMaps = Object.entries(maps).flatMap(([what, [size, runs, stored]]): [string, OddArchive][] => [
  [`old sparse: ${what}`, { tar: archive(oldSparse("f", size, runs, stored)), want: "sparse file" }],
  [`sparse 0.0: ${what}`, { tar: archive(sparse0(0, "f", size, runs, stored)), want: "sparse file" }],
  [`sparse 0.1: ${what}`, { tar: archive(sparse0(1, "f", size, runs, stored)), want: "sparse file" }],
  [`sparse 1.0: ${what}`, { tar: archive(sparse1("f", size, mapText(runs), stored)), want: "sparse file" }],
]);

const longName = "n".repeat(120);
const lowerTree = tarOf([dir("d"), dir("d/sub", { mode: 0o700 }), file("d/old"), file("d/sub/deep"), file("top"), link("l", "d")]);

/** By what they are. */
export const oddArchives: Record<string, OddArchive> = {
  // sparse files
  ...Object.fromEntries(
    Object.entries(sparseArchives).map(([form, tar]): [string, OddArchive] => [
      `sparse: ${form}`,
      { tar, want: { f: shown(holeyBody) }, ...(form === "GNU's old type" && { docker: "refuses the type" }) },
    ]),
  ),
  "sparse: 30 runs in the old type": {
    tar: archive(oldSparse("f", 30 * 4096, thirty, "xy".repeat(30)), file("after")),
    want: { f: shown(thirty.map(() => `xy${zeros(4094)}`).join("")), after: 'file 644 0:0 "x"' },
    docker: "refuses the type",
  },
  "sparse: all hole": { tar: archive(sparse1("f", 5000, "0\n", ""), file("after")), want: { f: shown(zeros(5000)), after: 'file 644 0:0 "x"' } },
  "sparse: empty": { tar: archive(oldSparse("f", 0, [], "")), want: { f: shown("") }, docker: "refuses the type" },
  "sparse: the old type without GNU's magic": { tar: archive(raw("S", "f", "", [483, octal(0)])), want: "format other than GNU's" },
  "sparse: a directory": { tar: archive(pax(["GNU.sparse.map", "0,0"], ["GNU.sparse.size", "0"]), dir("d")), want: "sparse directory" },
  "sparse: an unknown version": {
    tar: archive(pax(["GNU.sparse.major", "2"], ["GNU.sparse.minor", "0"]), file("f")),
    want: "version",
    docker: "unpacks the bytes as they are",
  },
  "sparse: numbytes before offset": { tar: archive(pax(["GNU.sparse.numbytes", "1"], ["GNU.sparse.offset", "0"]), file("f")), want: "out of order" },
  "sparse: an odd map": { tar: archive(pax(["GNU.sparse.map", "0,1,2"], ["GNU.sparse.size", "9"]), file("f")), want: "sparse map" },
  "sparse: a negative run": { tar: archive(pax(["GNU.sparse.map", "-1,1"], ["GNU.sparse.size", "9"]), file("f")), want: "sparse map" },
  "sparse: a negative size": { tar: archive(pax(["GNU.sparse.map", "0,1"], ["GNU.sparse.size", "-9"]), file("f")), want: "size" },
  "sparse: a huge run": {
    tar: archive(pax(["GNU.sparse.map", "9007199254740990,9007199254740990"], ["GNU.sparse.size", "9007199254740991"]), file("f")),
    want: "sparse file",
  },
  "sparse: a map of a million runs that aren't there": { tar: archive(sparse1("f", 10, "999999\n", "")), want: "sparse map" },
  "sparse: a map of 10^30 runs": { tar: archive(sparse1("f", 10, `1${"0".repeat(30)}\n`, "")), want: "sparse map" },
  "sparse: a map of no number": { tar: archive(sparse1("f", 10, "many\n", "")), want: "sparse map" },
  "sparse: a map without a count": { tar: archive(sparse1("f", 10, "1".repeat(2000), "")), want: "sparse map" },
  "sparse: old runs without end": {
    tar: Buffer.concat([
      header({ name: "f", type: "file", flag: "S" }, [257, "ustar  \0"], [386, octal(0) + octal(0)], [482, "\x01"], [483, octal(9)]),
      ...Array.from({ length: 2500 }, () => Buffer.concat([Buffer.from((octal(0) + octal(0)).repeat(21)), Buffer.from("\x01\0\0\0\0\0\0\0")])),
    ]),
    want: "sparse map",
  },
  ...Object.fromEntries(hostileMaps),

  // PAX and GNU
  "a global header": {
    tar: archive(raw("g", "pax_global_header", record("comment", "abc") + record("path", "evil") + record("uid", "7")), file("f")),
    want: { f: shown("x") },
  },
  "x overrides the name, the owner and the size": {
    tar: archive(pax(["path", "real"], ["uid", "70000000"], ["gid", "5"], ["size", "3"], ["mtime", "1.5"]), raw("0", "f", "abc", [124, octal(0)])),
    want: { real: 'file 644 70000000:5 "abc"' },
  },
  "an empty value takes nothing's place": { tar: archive(pax(["path", ""], ["size", ""], ["uid", ""]), file("f")), want: { f: shown("x") } },
  "the last x of two counts": { tar: archive(pax(["path", "one"], ["uid", "5"]), pax(["gid", "6"]), file("f")), want: { f: 'file 644 0:6 "x"' } },
  "the last path of two counts": { tar: archive(pax(["path", "one"], ["path", "two"]), file("f")), want: { two: shown("x") } },
  "a GNU long name": { tar: archive(raw("L", "././@LongLink", `${longName}\0`), file("f")), want: { [longName]: shown("x") } },
  "a GNU long name goes before a PAX path": { tar: archive(pax(["path", "pax"]), raw("L", "././@LongLink", "gnu\0"), file("f")), want: { gnu: shown("x") } },
  "a GNU long name with NUL in it": { tar: archive(raw("L", "././@LongLink", "a\0b\0"), file("f")), want: { a: shown("x") } },
  "a GNU long link": { tar: archive(raw("K", "././@LongLink", `${longName}\0`), link("l", "short")), want: { l: `link 0:0 -> ${longName}` } },
  "NUL in a PAX path": { tar: archive(pax(["path", "a\0b"]), file("f")), want: "NUL" },
  "NUL in a PAX link": { tar: archive(pax(["linkpath", "a\0b"]), link("l", "t")), want: "NUL" },
  "NUL in an xattr's name": { tar: archive(pax(["SCHILY.xattr.user.a\0b", "v"]), file("f")), want: "PAX" },
  "a PAX length too long": { tar: archive(raw("x", "p", "30 path=a\n"), file("f")), want: "PAX record" },
  "a PAX length too short": { tar: archive(raw("x", "p", "5 path=a\n"), file("f")), want: "PAX record" },
  "a PAX length that is no number": { tar: archive(raw("x", "p", "1x path=a\n"), file("f")), want: "PAX record" },
  "PAX records of hdrcharset, times, comments and vendors": {
    tar: archive(
      pax(
        ["hdrcharset", "BINARY"],
        ["path", "\xff\xfe"],
        ["atime", "12.25"],
        ["ctime", "13"],
        ["comment", "é"],
        ["VENDOR.key", "v"],
        ["LIBARCHIVE.creationtime", "1"],
      ),
      file("f"),
    ),
    want: { "\xff\xfe": shown("x") },
  },
  "bytes after a directory's, a link's and a device's size": {
    tar: archive(
      header({ name: "d/", type: "directory", mode: 0o755 }, [124, octal(512)]),
      header({ name: "l", type: "symlink", linkName: "t" }, [124, octal(512)]),
      header({ name: "p", type: "fifo", mode: 0o600 }, [124, octal(512)]),
      file("f"),
    ),
    want: { d: "dir 755 0:0", l: "link 0:0 -> t", p: "fifo 600 0:0", f: shown("x") },
  },
  "a file's name with a slash at its end has bytes": {
    tar: archive(raw("0", "f/", encodeHeader({ name: "smuggled", type: "file", size: 0 })), file("g")),
    want: { f: shown(encodeHeader({ name: "smuggled", type: "file", size: 0 }).toString("latin1")), g: shown("x") },
  },
  "version 7 has directories by their slash": {
    tar: archive(raw("\0", "d/", "", [257, Buffer.alloc(8)], [100, "0000755\0"]), file("d/f")),
    want: { d: "dir 755 0:0", "d/f": shown("x") },
  },
  "contiguous files": { tar: archive(raw("7", "f", "x")), want: { f: shown("x") }, docker: "refuses them" },
  "a volume's label": { tar: archive(raw("V", "label"), file("f")), want: "unknown entry type" },
  "a file of many volumes": { tar: archive(raw("M", "f", "x")), want: "unknown entry type" },
  "owners in base 256": {
    tar: archive(header({ name: "f", type: "file" }, [108, base256(3_000_000_000n, 8)], [116, base256(2_097_152n, 8)])),
    want: { f: 'file 644 3000000000:2097152 ""' },
  },
  "a negative owner": { tar: archive(header({ name: "f", type: "file" }, [108, Buffer.alloc(8, 0xff)])), want: "uid", docker: "leaves it to root" },
  "an owner of 2^32": { tar: archive(pax(["uid", "4294967296"]), file("f")), want: "uid", docker: "leaves it to root" },
  "the owner that means none": { tar: archive(pax(["uid", "4294967295"]), file("f")), want: "uid", docker: "leaves it to root" },
  "a negative size": { tar: archive(header({ name: "f", type: "file" }, [124, Buffer.alloc(12, 0xff)])), want: "size" },
  "a size in base 256": { tar: archive(raw("0", "f", "abc", [124, base256(3n, 12)])), want: { f: shown("abc") } },
  "9 GB that aren't there": { tar: header({ name: "f", type: "file" }, [124, base256(9n << 30n, 12)]), want: "truncated" },
  "a time before 1970": { tar: archive(header({ name: "f", type: "file" }, [136, base256((1n << 96n) - 5n, 12)])), want: { f: shown("") } },
  "a time in 300,000 years": { tar: archive(pax(["mtime", "9999999999999"]), file("f")), want: { f: shown("x") } },
  "numbers after spaces and NULs": {
    tar: archive(header({ name: "f", type: "file" }, [100, " \0 0755"], [108, "   17 \0 "])),
    want: { f: 'file 755 15:0 ""' },
  },
  "a number of no digits": { tar: archive(header({ name: "f", type: "file" }, [108, "12 x34\0\0"])), want: "octal" },
  "a mode of all bits": { tar: archive(header({ name: "f", type: "file" }, [100, "7777777\0"])), want: { f: 'file 7777 0:0 ""' } },
  "a device number beyond the kernel's": {
    tar: archive(header({ name: "n", type: "char" }, [329, base256(1n << 40n, 8)])),
    want: "device number",
    docker: "makes a whiteout of it",
  },
  "a wrong checksum": {
    tar: archive(
      Buffer.concat([
        tarOf([file("f")])
          .subarray(0, 512)
          .fill(0x31, 148, 154),
      ]),
    ),
    want: "checksum",
  },

  // names
  "an empty name": { tar: archive(header({ name: "", type: "file" })), want: "root is a file", docker: "passes over it" },
  "dots and slashes": {
    tar: archive(file("././/a/.//b"), file("/abs"), file("x/../y")),
    want: { a: "dir 755 0:0", "a/b": shown("x"), abs: shown("x"), y: shown("x") },
  },
  "names in any bytes": {
    tar: archive(file("\x01\n\t\"'\\\x7f"), file("\xc3\x28"), file(bytesOf("ünï")), file(" "), file("-rf"), file("*")),
    want: Object.fromEntries(["\x01\n\t\"'\\\x7f", "\xc3\x28", bytesOf("ünï"), " ", "-rf", "*"].map((name) => [name, shown("x")])),
  },
  "a path deeper than any path may be": { tar: archive(pax(["path", "d/".repeat(3000) + "f"]), file("f")), want: "bad layer" },
  "140 directories that nobody lists": { tar: archive(pax(["path", "d/".repeat(140) + "f"]), file("f")), want: "directories deep", docker: "makes them" },

  // types that change
  "directory, symlink, file under it": {
    tar: tarOf([dir("t"), dir("a"), file("a/x"), link("a", "t"), file("a/y")]),
    want: { t: "dir 755 0:0", a: "link 0:0 -> t", "t/y": shown("x") },
    docker: "refuses duplicates",
  },
  "file, directory, file, directory": {
    tar: tarOf([file("a"), dir("a"), file("a/b"), file("a"), dir("a"), file("a/c")]),
    want: { a: "dir 755 0:0", "a/c": shown("x") },
    docker: "refuses duplicates",
  },
  "a fifo, then a file of its name": { tar: tarOf([fifo("a"), file("a")]), want: { a: shown("x") }, docker: "refuses duplicates" },
  "a device, then a file of its name": {
    tar: tarOf([device("a", 1, 1), file("a", "to memory")]),
    want: { a: shown("to memory") },
    docker: "refuses duplicates",
  },
  "a device, then a file through a symlink to it": {
    tar: tarOf([device("m", 1, 1), link("a", "m"), file("a")]),
    want: { m: "char 600 0:0 1,1", a: shown("x") },
    docker: "refuses duplicates",
  },
  "a fifo as a parent": { tar: tarOf([fifo("a"), file("a/b")]), want: "bad layer" },
  "a hard link to a device and a fifo": {
    tar: tarOf([device("n", 1, 3), fifo("p"), hard("n2", "n"), hard("p2", "p")]),
    want: { n: "char 600 0:0 1,3", n2: "char 600 0:0 1,3", p: "fifo 600 0:0", p2: "fifo 600 0:0" },
    docker: "gives them the links' modes",
  },
  "a hard link to a symlink": { tar: tarOf([link("s", "/etc/passwd"), hard("h", "s")]), want: { s: "link 0:0 -> /etc/passwd", h: "link 0:0 -> /etc/passwd" } },

  // hard links
  "a hard link to a later entry": { tar: tarOf([hard("h", "f"), file("f")]), want: "no such file" },
  "hard links in a circle": { tar: tarOf([hard("a", "b"), hard("b", "a")]), want: "no such file" },
  "a hard link to a whiteout": { tar: tarOf([file(".wh.f", ""), hard("h", "f")]), want: "no file", docker: "links the whiteout" },
  "a hard link to a whiteout's name": { tar: tarOf([file(".wh.f", ""), hard("h", ".wh.f")]), want: "no such file" },
  "a hard link to a file that a whiteout hides": {
    lower: lowerTree,
    tar: tarOf([dir("d"), file("d/.wh.old", ""), hard("h", "d/old")]),
    want: "no file",
    docker: "links the whiteout",
  },
  "a hard link below a whiteout": { lower: lowerTree, tar: tarOf([file(".wh.d", ""), hard("h", "d/old")]), want: "no such file" },
  "a hard link into an opaque directory": { lower: lowerTree, tar: tarOf([dir("d"), file("d/.wh..wh..opq", ""), hard("h", "d/old")]), want: "no such file" },
  "a hard link to a file below": { lower: lowerTree, tar: tarOf([hard("h", "top")]), want: { h: shown("x") }, docker: "refuses it" },
  "a hard link through a symlink": {
    tar: tarOf([dir("t"), file("t/f", "1"), link("l", "/t"), hard("h", "l/f")]),
    want: { t: "dir 755 0:0", "t/f": shown("1"), l: "link 0:0 -> /t", h: shown("1") },
  },
  "a hard link with a body": {
    tar: archive(file("f", "1"), header({ name: "h", type: "hardlink", linkName: "f" }, [124, octal(512)]), file("g")),
    want: { f: shown("1"), h: shown("1"), g: shown("x") },
  },

  // whiteouts
  "everything is whited out, then a file": {
    lower: lowerTree,
    tar: tarOf([file(".wh..wh..opq", ""), file("new")]),
    want: { d: "whiteout", l: "whiteout", top: "whiteout", new: shown("x") },
    docker: "hides nothing",
  },
  "a directory, then everything is whited out": {
    lower: lowerTree,
    tar: tarOf([dir("d"), file("d/new"), file(".wh..wh..opq", "")]),
    want: { d: "dir 755 0:0", "d/new": shown("x"), l: "whiteout", top: "whiteout" },
    docker: "hides nothing",
  },
  "a whiteout, then the file": { lower: lowerTree, tar: tarOf([file(".wh.top", ""), file("top", "new")]), want: { top: shown("new") } },
  "the file, then its whiteout": { lower: lowerTree, tar: tarOf([file("top", "new"), file(".wh.top", "")]), want: { top: "whiteout" }, docker: "refuses it" },
  "a whiteout of what isn't there": { tar: tarOf([file(".wh.nothing", "")]), want: { nothing: "whiteout" } },
  "a whiteout with a body": { tar: tarOf([file(".wh.a", "body"), file("b")]), want: { a: "whiteout", b: shown("x") } },
  "whiteouts of other types": { tar: tarOf([dir(".wh.a"), link(".wh.b", "x"), hard(".wh.c", "x")]), want: { a: "whiteout", b: "whiteout", c: "whiteout" } },
  "a file below a whiteout": { tar: tarOf([dir(".wh.d"), file(".wh.d/f")]), want: "below a whiteout", docker: "makes a directory .wh.d" },
  "a device that is a whiteout": { tar: tarOf([device("w", 0, 0)]), want: { w: "whiteout" } },
  "AUFS's own files": { tar: tarOf([dir(".wh..wh.plnk"), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs", "")]), want: {}, docker: "makes whiteouts of them" },
  "an unlisted directory in an opaque one": {
    lower: lowerTree,
    tar: tarOf([dir("d"), file("d/.wh..wh..opq", ""), file("d/sub/new")]),
    want: { d: "dir 755 0:0", "d/sub": "dir 755 0:0", "d/sub/new": shown("x") },
  },

  // the end
  "no end": { tar: archive(file("f")).subarray(0, 1024), want: { f: shown("x") } },
  "half an end": { tar: archive(file("f")).subarray(0, 1536), want: { f: shown("x") } },
  "garbage after the end": { tar: Buffer.concat([archive(file("f")), Buffer.alloc(3000, "garbage")]), want: { f: shown("x") } },
  "an archive after the end": { tar: Buffer.concat([archive(file("f")), archive(file("g"))]), want: { f: shown("x") } },
  "cut in a header": { tar: archive(file("f")).subarray(0, 300), want: "truncated" },
  "cut in a body": { tar: archive(file("f", "x".repeat(1000))).subarray(0, 1000), want: "truncated" },
  nothing: { tar: Buffer.alloc(0), want: {} },
  "one zero": { tar: Buffer.alloc(1), want: "truncated" },
};
