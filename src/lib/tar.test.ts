import { describe, expect, test } from "bun:test";
import { EngineError } from "./errors.ts";
import { bytesOf, cleanParts, textOf, type TarHeader } from "./tar.ts";
import { readTar, TarParser } from "./tar-reader.ts";
import { encodeHeader, endOfArchive, padding, tarOf, type TarHeaderInit } from "./tar-writer.ts";

interface Read {
  header: TarHeader;
  body: Buffer;
}

function parse(archive: Uint8Array, step = archive.length): Read[] {
  const found: Read[] = [];
  let ends = 0;
  const parser = new TarParser({
    entry: (header) => found.push({ header, body: Buffer.alloc(0) }),
    data: (chunk) => (found.at(-1)!.body = Buffer.concat([found.at(-1)!.body, chunk])),
    hole: (length) => (found.at(-1)!.body = Buffer.concat([found.at(-1)!.body, Buffer.alloc(length)])),
    end: () => ends++,
  });
  for (let at = 0; at < archive.length; at += step) parser.push(archive.subarray(at, at + step));
  parser.finish();
  expect(ends).toBe(found.length);
  return found;
}

/** A header block with one field overwritten and the checksum made right again. */
function patched(init: TarHeaderInit, at: number, bytes: Uint8Array | string): Buffer {
  const block = encodeHeader(init);
  block.set(Buffer.from(bytes as string), at);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((a, b) => a + b, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

const rich: (TarHeaderInit & { body?: string })[] = [
  { name: "dir", type: "directory", mode: 0o1777, uid: 5, gid: 6, mtime: { seconds: 1700000000, nanoseconds: 0 } },
  { name: "dir/file", type: "file", mode: 0o4755, uid: 70000000, gid: 3000000000, mtime: { seconds: 1700000000, nanoseconds: 123456789 }, body: "hello" },
  { name: "dir/exact", type: "file", body: "x".repeat(512) },
  { name: "dir/hard", type: "hardlink", linkName: "dir/file" },
  { name: "soft", type: "symlink", linkName: "../".repeat(60) + "etc/passwd" },
  { name: "null", type: "char", major: 1, minor: 3 },
  { name: "loop", type: "block", major: 7, minor: 0 },
  { name: "pipe", type: "fifo" },
  { name: "long/".repeat(60) + "name", type: "file", body: "deep" },
  { name: bytesOf("ünï/") + "\xff\xfe", type: "file", body: "bytes" },
  {
    name: "attrs",
    type: "file",
    xattrs: new Map([
      ["user.b", Buffer.from([0, 255, 10])],
      ["security.capability", Buffer.from("a=b\nc")],
    ]),
  },
  { name: "old", type: "file", mtime: { seconds: -2, nanoseconds: 500000000 } },
];

describe("writing and reading back", () => {
  for (const step of [1, 7, 512, 100000]) {
    test(`in pieces of ${step}`, () => {
      const found = parse(tarOf(rich), step);
      expect(found.length).toBe(rich.length);
      for (const [i, { body = "", ...want }] of rich.entries()) {
        const { header, body: bytes } = found[i]!;
        expect(bytes.toString()).toBe(body);
        expect(header.name).toBe(want.type === "directory" ? `${want.name}/` : want.name);
        for (const key of ["type", "mode", "uid", "gid", "linkName", "major", "minor"] as const)
          if (want[key] !== undefined) expect(header[key]).toBe(want[key] as never);
        if (want.mtime !== undefined) expect(header.mtime).toEqual(want.mtime);
        expect([...header.xattrs].sort()).toEqual([...(want.xattrs ?? [])].map(([k, v]) => [k, Buffer.from(v)] as [string, Buffer]).sort());
      }
    });
  }

  test("the same input gives the same bytes", () => expect(tarOf(rich).equals(tarOf(rich))).toBe(true));

  test("GNU tar reads it", async () => {
    const child = Bun.spawn(["tar", "tf", "-", "--quoting-style=escape"], { stdin: tarOf(rich), stdout: "pipe", stderr: "pipe" });
    const names = (await child.stdout.text()).trim().split("\n");
    expect(await child.exited).toBe(0);
    expect(names.length).toBe(rich.length);
    expect(names[8]).toBe("long/".repeat(60) + "name");
  });

  test("sizes over 8 GiB", () => {
    const header = encodeHeader({ name: "big", type: "file", size: 2 ** 40 });
    let size = 0;
    new TarParser({ entry: (h) => (size = h.size), data: () => {}, hole: () => {}, end: () => {} }).push(header);
    expect(size).toBe(2 ** 40);
  });
});

describe("archives of others", () => {
  for (const format of ["gnu", "pax", "ustar", "v7"]) {
    test(`GNU tar --format=${format}`, async () => {
      const script = `cd "$(mktemp -d)" && mkdir -p a/${"d".repeat(40)} && echo body > a/${"d".repeat(40)}/f && ln -s f a/${"d".repeat(40)}/l && tar --format=${format} -cf - a; rm -rf "$PWD"`;
      const child = Bun.spawn(["sh", "-c", script], { stdout: "pipe" });
      const found = parse(await child.stdout.bytes(), 1000);
      expect(found.map((f) => f.header.name).sort()).toEqual(["a/", `a/${"d".repeat(40)}/`, `a/${"d".repeat(40)}/f`, `a/${"d".repeat(40)}/l`]);
      expect(found.find((f) => f.header.type === "file")!.body.toString()).toBe("body\n");
    });
  }

  test("GNU long names and long link targets", async () => {
    const name = "n".repeat(200);
    const script = `cd "$(mktemp -d)" && echo x > ${name} && ln -s ${"t".repeat(150)} s && tar --format=gnu -cf - ${name} s; rm -rf "$PWD"`;
    const child = Bun.spawn(["sh", "-c", script], { stdout: "pipe" });
    const found = parse(await child.stdout.bytes(), 333);
    expect(found.map((f) => f.header.name)).toEqual([name, "s"]);
    expect(found[1]!.header.linkName).toBe("t".repeat(150));
  });

  test("base-256 numbers", () => {
    const size = Buffer.alloc(12);
    size[0] = 0x80;
    size.writeUInt32BE(5, 8);
    const archive = Buffer.concat([patched({ name: "f", type: "file" }, 124, size), Buffer.from("hello"), padding(5), endOfArchive]);
    expect(parse(archive)[0]!.body.toString()).toBe("hello");
  });

  test("no end marker", () => expect(parse(tarOf([{ name: "f", type: "file", body: "a" }]).subarray(0, 1024)).length).toBe(1));
  test("no padding after the last file", () => expect(parse(tarOf([{ name: "f", type: "file", body: "a" }]).subarray(0, 513)).length).toBe(1));
  test("what follows the end marker is passed over", () =>
    expect(parse(Buffer.concat([tarOf([{ name: "f", type: "file" }]), Buffer.from("rubbish")])).length).toBe(1));
  test("an empty archive", () => expect(parse(endOfArchive)).toEqual([]));
});

describe("hostile archives", () => {
  const file = tarOf([{ name: "file", type: "file", body: "hello" }]);
  const cases: Record<string, Uint8Array> = {
    "no tar at all": Buffer.alloc(2048, "text"),
    "cut in a header": file.subarray(0, 100),
    "cut in a body": file.subarray(0, 514),
    "cut in the padding": file.subarray(0, 700),
    "a wrong checksum": Buffer.concat([Buffer.from("X"), file.subarray(1)]),
    "a negative size": patched({ name: "f", type: "file" }, 124, Buffer.alloc(12, 0xff)),
    "a size beyond 2^53": patched({ name: "f", type: "file" }, 124, Buffer.from([0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
    "a size that is no number": patched({ name: "f", type: "file" }, 124, "zzzzzzzzzzz\0"),
    "an unknown type": patched({ name: "f", type: "file" }, 156, "Z"),
    "a GNU sparse file": patched({ name: "f", type: "file" }, 156, "S"),
    "a PAX record of a gigabyte": patched({ name: "f", type: "file", size: 2 ** 30 }, 156, "x"),
    "a long name of a gigabyte": patched({ name: "f", type: "file", size: 2 ** 30 }, 156, "L"),
    "data after a zero block": Buffer.concat([Buffer.alloc(512), file]),
  };
  for (const [key, body] of Object.entries({
    "a PAX record without length": "path=x\n",
    "a PAX length beyond the record": "999 path=x\n",
    "a PAX length of 0": "0 path=x\n",
    "a PAX record without key": "7 abc\n\n",
    "NUL in a PAX path": "12 path=a\0b\n",
    "a negative PAX size": "11 size=-1\n",
    "a PAX time that is no number": "12 mtime=1e9\n",
    "PAX sparse": "22 GNU.sparse.major=1\n",
  })) {
    cases[key] = Buffer.concat([patched({ name: "p", type: "file", size: body.length }, 156, "x"), Buffer.from(body), padding(body.length), file]);
  }
  const heavy = (key: string): Uint8Array[] => {
    const value = `=${"v".repeat(700_000)}\n`;
    const body = `${(7 + key.length + value.length).toString()} ${key}${value}`;
    return [patched({ name: "p", type: "file", size: body.length }, 156, "x"), Buffer.from(body), padding(body.length)];
  };
  cases["PAX records that pile up"] = Buffer.concat([...heavy("a"), ...heavy("b"), file]);
  for (const [name, archive] of Object.entries(cases)) {
    test(name, () => {
      let error: unknown;
      try {
        parse(archive);
      } catch (e) {
        error = e;
      }
      expect(error).toBeInstanceOf(EngineError);
      expect((error as EngineError).kind).toBe("invalidArgument");
    });
  }
});

describe("readTar", () => {
  async function* inPieces(bytes: Uint8Array, step: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
  }

  test("bodies may be read, broken off or left", async () => {
    const bodies: Record<string, number> = {};
    const archive = tarOf(["a", "b", "c", "d"].map((name) => ({ name, type: "file", body: "x".repeat(3000) })));
    for await (const { header, body } of readTar(inPieces(archive, 700))) {
      bodies[header.name] = 0;
      if (header.name === "b") continue;
      for await (const chunk of body) {
        bodies[header.name]! += chunk.length;
        if (header.name === "c") break;
      }
    }
    expect(bodies["a"]).toBe(3000);
    expect(bodies["b"]).toBe(0);
    expect(bodies["c"]).toBeGreaterThan(0);
    expect(bodies["d"]).toBe(3000);
  });

  test("a truncated stream is an error", async () => {
    const reading = (async () => {
      for await (const _ of readTar(inPieces(tarOf([{ name: "a", type: "file", body: "x".repeat(3000) }]).subarray(0, 2000), 700)));
    })();
    expect(reading).rejects.toThrow("truncated");
  });
});

test("cleanParts", () => {
  expect(cleanParts("./a//b/../c/.")).toEqual(["a", "c"]);
  expect(cleanParts("/")).toEqual([]);
  expect(cleanParts("a/../../b")).toBeUndefined();
  expect(cleanParts("..")).toBeUndefined();
});

test("names as bytes", () => {
  expect(textOf(bytesOf("ünï"))).toBe("ünï");
  expect(bytesOf("ü")).toBe("\xc3\xbc");
});
