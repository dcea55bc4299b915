import { afterAll, expect, test } from "bun:test";
import { gunzipSync } from "node:zlib";
import { createGzip, MEMBER } from "./gzip.ts";

const gzip = createGzip(2);
afterAll(() => gzip[Symbol.dispose]());

/** Something that neither vanishes nor stays as it is. */
function text(length: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(length);
  let x = 1;
  for (let i = 0; i < length; i++) bytes[i] = ((x = (x * 1103515245 + 12345) % 2147483648) >> 16) & 0x1f;
  return bytes;
}

async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield Uint8Array.from(bytes.subarray(at, at + size));
}

async function packed(source: AsyncIterable<Uint8Array>): Promise<Buffer<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  for await (const part of gzip.pack(source)) parts.push(part);
  return Buffer.concat(parts);
}

const programs: string[][] = [
  ["gzip", "-dc"],
  ["pigz", "-dc"],
  ["busybox", "gzip", "-dc"],
  ["python3", "-c", "import gzip,sys; sys.stdout.buffer.write(gzip.open(sys.stdin.buffer).read())"],
];

test("whatever the chunks, the same bytes, which every reader takes", async () => {
  const bytes = text(5 * MEMBER + 12345);
  // what is stored as it is lies between
  crypto.getRandomValues(bytes.subarray(MEMBER, MEMBER + 60_000));
  const one = await packed(inChunks(bytes, bytes.length));
  for (const size of [1000, 65536, MEMBER, MEMBER + 1]) expect(await packed(inChunks(bytes, size))).toEqual(one);
  expect(one.length).toBeLessThan(bytes.length * 0.8);
  expect(gunzipSync(one)).toEqual(bytes);
  expect(Buffer.from(await new Response(new Blob([one]).stream().pipeThrough(new DecompressionStream("gzip"))).bytes())).toEqual(bytes);
  for (const command of programs.filter(([name]) => Bun.which(name!) !== null)) {
    expect([command[0], Bun.hash(Bun.spawnSync(command, { stdin: one }).stdout)]).toEqual([command[0], Bun.hash(bytes)]);
  }
});

test("nothing at all, and one byte", async () => {
  expect(gunzipSync(await packed(inChunks(Buffer.alloc(0), 1)))).toEqual(Buffer.alloc(0));
  expect(gunzipSync(await packed(inChunks(Buffer.from("x"), 1)))).toEqual(Buffer.from("x"));
});

test("many at once, and one that is left in the middle", async () => {
  const bytes = text(3 * MEMBER);
  const all = Array.from({ length: 6 }, () => packed(inChunks(bytes, 100_000)));
  for await (const _ of gzip.pack(inChunks(bytes, MEMBER))) break;
  expect(new Set((await Promise.all(all)).map((each) => Bun.hash(each))).size).toBe(1);
});

test("a source that fails fails the stream", async () => {
  const failing = async function* (): AsyncGenerator<Uint8Array> {
    yield* inChunks(text(MEMBER), MEMBER);
    throw new Error("no more");
  };
  expect(packed(failing())).rejects.toThrow("no more");
});
