import { expect, test } from "bun:test";
import { compressionOf, decompressed, decompressionError } from "./compression.ts";
import { EngineError } from "./errors.ts";

const text = Buffer.from("some bytes ".repeat(1000));

/** In pieces of `step` bytes, so that the first bytes come in several chunks. */
function inPieces(bytes: Uint8Array, step: number): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream({
    pull: (controller) => {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.subarray(at, (at += step)));
    },
  });
}

async function read(bytes: Uint8Array, step = 1): Promise<string> {
  const { stream } = await decompressed(inPieces(bytes, step));
  return await new Response(stream as never).text();
}

for (const step of [1, 5, 100000]) {
  test(`plain, gzip, zstd and several members in one, in pieces of ${step}`, async () => {
    const half = Buffer.concat([Bun.gzipSync(text.subarray(0, 100)), Bun.gzipSync(text.subarray(100))]);
    for (const bytes of [text, Bun.gzipSync(text), Bun.zstdCompressSync(text), half]) expect(await read(bytes, step)).toBe(text.toString());
  });
}

test("nothing, and less than the magic", async () => {
  expect(await read(new Uint8Array(0))).toBe("");
  expect(await read(Buffer.from("abc"))).toBe("abc");
});

test("a cut stream is an error that users understand", async () => {
  const error = await read(Bun.gzipSync(text).subarray(0, 30), 10).catch(decompressionError);
  expect(error).toBeInstanceOf(EngineError);
  expect((error as EngineError).message).toContain("damaged compressed data");
});

test("what nothing here can read is refused by name", () => {
  expect(() => compressionOf(Buffer.from("BZh91AY"))).toThrow("bzip2 compression is not supported");
  expect(() => compressionOf(Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]))).toThrow("xz compression is not supported");
});

test("a bomb comes in small pieces: memory stays bounded", async () => {
  const bomb = Bun.zstdCompressSync(new Uint8Array(64 << 20));
  const { stream } = await decompressed(inPieces(bomb, 1 << 20));
  let total = 0;
  for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) {
    total += chunk.length;
    expect(chunk.length).toBeLessThanOrEqual(1 << 20);
  }
  expect(bomb.length).toBeLessThan(10_000);
  expect(total).toBe(64 << 20);
});
