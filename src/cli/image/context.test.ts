import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { textOf } from "../../lib/tar.ts";
import { readTar } from "../../lib/tar-reader.ts";
import { tarOf } from "../../lib/tar-writer.ts";
import { captured } from "../../../test/terminal.ts";
import { openContext } from "./build-context.ts";
import { packFolder } from "./context.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "berth-context-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const write = (files: Record<string, string>): void => {
  for (const [name, body] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), body);
  }
};

async function unpack(source: AsyncIterable<Uint8Array>) {
  const entries: Record<string, { type: string; body: string; mode: number; uid: number; mtime: number; link: string }> = {};
  for await (const { header, body } of readTar(source)) {
    const bytes = Buffer.concat(await Array.fromAsync(body));
    entries[textOf(header.name)] = {
      type: header.type,
      body: bytes.toString(),
      mode: header.mode,
      uid: header.uid,
      mtime: header.mtime.seconds,
      link: textOf(header.linkName),
    };
  }
  return entries;
}

describe("a packed folder", () => {
  test("has files, folders, links, modes and times, all owned by root", async () => {
    write({ "a.txt": "one", "d/b": "two", "ü/x": "three" });
    chmodSync(join(folder, "a.txt"), 0o4751);
    utimesSync(join(folder, "a.txt"), 1000, 1000);
    symlinkSync("d/b", join(folder, "sym"));
    linkSync(join(folder, "a.txt"), join(folder, "z-hard"));
    const entries = await unpack(packFolder({ root: folder }));
    expect(Object.keys(entries)).toEqual(["a.txt", "d/", "d/b", "sym", "z-hard", "ü/", "ü/x"]);
    expect(entries["a.txt"]).toEqual({ type: "file", body: "one", mode: 0o4751, uid: 0, mtime: 1000, link: "" });
    expect(entries["sym"]).toMatchObject({ type: "symlink", link: "d/b" });
    expect(entries["z-hard"]).toMatchObject({ type: "hardlink", link: "a.txt" });
    expect(entries["d/b"]?.body).toBe("two");
  });

  test("keeps names that aren't UTF-8 and bodies of any size", async () => {
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0x41])]), "latin");
    writeFileSync(join(folder, "big"), Buffer.alloc(1_000_001, "x"));
    writeFileSync(join(folder, "empty"), "");
    const names: string[] = [];
    let size = 0;
    for await (const { header, body } of readTar(packFolder({ root: folder }))) {
      names.push(header.name);
      if (header.name === "big") for await (const chunk of body) size += chunk.length;
    }
    expect(names.sort()).toEqual(["big", "empty", "\xffA"]);
    expect(size).toBe(1_000_001);
  });

  test("can stand under another name, root included", async () => {
    write({ x: "1" });
    expect(Object.keys(await unpack(packFolder({ root: folder, prefix: "new/" })))).toEqual(["new/", "new/x"]);
  });

  test("names the file that can't be read", async () => {
    await expect(Array.fromAsync(packFolder({ root: join(folder, "nope") }))).rejects.toThrow(`can't read ${folder}/nope: no such file or directory`);
  });
});

describe("a build context", () => {
  const open = async (source: string, file = "", stdin?: string | Uint8Array) => {
    const io = captured();
    if (stdin !== undefined) io.stdin.stream = () => new Blob([stdin as string]).stream() as ReadableStream<Uint8Array>;
    const context = await openContext(io, source, file);
    return { ...context, entries: context.tar === undefined ? {} : await unpack(context.tar as unknown as AsyncIterable<Uint8Array>) };
  };

  test("leaves out what .dockerignore says, but not the files the builder reads", async () => {
    write({ Dockerfile: "FROM x", ".dockerignore": "*\n!src\nsrc/*.o\n", "src/a.c": "1", "src/a.o": "2", other: "3", "deep/er/f": "4" });
    expect(Object.keys((await open(folder)).entries)).toEqual([".dockerignore", "Dockerfile", "src/", "src/a.c"]);
    writeFileSync(join(folder, ".dockerignore"), "deep\n!deep/er/f\nother\n");
    expect(Object.keys((await open(folder)).entries)).toEqual([".dockerignore", "Dockerfile", "deep/er/f", "src/", "src/a.c", "src/a.o"]);
    writeFileSync(join(folder, ".dockerignore"), "[");
    await expect(open(folder)).rejects.toThrow("error checking context");
  });

  test("takes a Dockerfile by another name, from elsewhere, or from standard input", async () => {
    write({ "ctx/build/Dockerfile.x": "FROM a", "ctx/f": "1", "out/Dockerfile": "FROM b" });
    const ctx = join(folder, "ctx");
    expect((await open(ctx, "build/Dockerfile.x")).dockerfile).toBe("build/Dockerfile.x");
    expect((await open(ctx, join(ctx, "build/Dockerfile.x"))).dockerfile).toBe("build/Dockerfile.x");
    const outside = await open(ctx, join(folder, "out/Dockerfile"));
    expect(outside.dockerfile).toMatch(/^\.dockerfile\.[0-9a-f]{20}$/);
    expect(outside.entries[outside.dockerfile]?.body).toBe("FROM b");
    const typed = await open(ctx, "-", "FROM c");
    expect(typed.entries[typed.dockerfile]?.body).toBe("FROM c");
    expect(typed.entries.f?.body).toBe("1");
    await expect(open(ctx)).rejects.toThrow("unable to evaluate symlinks in Dockerfile path");
    await expect(open(ctx, "nope")).rejects.toThrow("no such file or directory");
    await expect(open(join(folder, "nowhere"))).rejects.toThrow("not found");
    await expect(open(join(ctx, "f"))).rejects.toThrow("is not a directory");
  });

  test("uses the ignore file that belongs to the Dockerfile before the common one", async () => {
    write({ "a.Dockerfile": "FROM x", "a.Dockerfile.dockerignore": "one\n", ".dockerignore": "two\n", one: "", two: "" });
    expect(Object.keys((await open(folder, join(folder, "a.Dockerfile"))).entries)).toEqual([
      ".dockerignore",
      "a.Dockerfile",
      "a.Dockerfile.dockerignore",
      "two",
    ]);
  });

  test("may come from standard input, as an archive or as a Dockerfile", async () => {
    const tar = tarOf([{ name: "Dockerfile", type: "file", body: "FROM x" }]);
    expect((await open("-", "", tar)).entries.Dockerfile?.body).toBe("FROM x");
    expect(await open("-", "other", tar)).toMatchObject({ dockerfile: "other" });
    const typed = await open("-", "", "FROM y\nRUN true\n");
    expect(typed.entries).toMatchObject({ Dockerfile: { body: "FROM y\nRUN true\n" } });
    await expect(open("-", "-")).rejects.toThrow("can't use stdin for both");
    await expect(open("-", "x", "FROM y")).rejects.toThrow("ambiguous Dockerfile source");
  });

  test("may be a URL, which the engine fetches", async () => {
    expect(await open("https://example.com/x.git#main")).toMatchObject({ remote: "https://example.com/x.git#main", entries: {} });
  });
});
