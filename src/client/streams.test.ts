import { expect, test } from "bun:test";
import { demultiplex, jsonLines } from "./streams.ts";

async function* chunks(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield typeof part === "string" ? Buffer.from(part) : part;
}

/** A frame as the engine sends it. */
function frame(stream: number, text: string): Buffer {
  const head = Buffer.alloc(8);
  head[0] = stream;
  head.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([head, Buffer.from(text)]);
}

test("JSON lines are found however they are cut", async () => {
  const text = Buffer.from('{"a":"é"}\r\n\n{"b":[1,2]}\n{"c":3}');
  const bytewise = [...text].map((byte) => Uint8Array.of(byte));
  expect(await Array.fromAsync(jsonLines(chunks(...bytewise)))).toEqual([{ a: "é" }, { b: [1, 2] }, { c: 3 }]);
  expect(await Array.fromAsync(jsonLines(chunks(text)))).toHaveLength(3);
  await expect(Array.fromAsync(jsonLines(chunks("nope\n")))).rejects.toThrow(SyntaxError);
  await expect(Array.fromAsync(jsonLines(chunks("x".repeat(17 * 1024 * 1024))))).rejects.toThrow("16 MiB");
});

test("frames are split, and passed on in parts", async () => {
  const bytes = Buffer.concat([frame(1, "out"), frame(2, "err"), frame(1, ""), frame(1, "more")]);
  for (const size of [1, 3, 7, 8, 9, 100]) {
    const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.subarray(index * size, (index + 1) * size));
    const got = { 1: "", 2: "" };
    await demultiplex(chunks(...parts), (stream, payload) => {
      got[stream as 1 | 2] += Buffer.from(payload).toString();
    });
    expect(got).toEqual({ 1: "outmore", 2: "err" });
  }
});

test("a frame of no known kind, and one that breaks off, are errors", async () => {
  await expect(demultiplex(chunks("hello, this is no frame"), () => {})).rejects.toThrow("unknown kind 104");
  await expect(demultiplex(chunks(frame(1, "abc").subarray(0, 10)), () => {})).rejects.toThrow("inside a frame");
  await expect(demultiplex(chunks(frame(1, "abc").subarray(0, 4)), () => {})).rejects.toThrow("inside a frame");
});
