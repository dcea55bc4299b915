import { invalidArgument } from "./errors.ts";

export type Compression = "none" | "gzip" | "zstd";

/** How many first bytes `compressionOf` wants to see. */
export const MAGIC_BYTES = 6;

/** What the first bytes of a file say. @throws EngineError invalidArgument for bzip2 and xz, which layers are not to have (image-spec, layer.md) */
export function compressionOf(first: Uint8Array): Compression {
  const starts = (...magic: number[]): boolean => magic.every((byte, i) => first[i] === byte);
  if (starts(0x1f, 0x8b)) return "gzip";
  if (starts(0x28, 0xb5, 0x2f, 0xfd)) return "zstd";
  // A skippable frame may come first (zstd:chunked archives have them).
  if (first.length >= 4 && (first[0]! & 0xf0) === 0x50 && first[1] === 0x2a && first[2] === 0x4d && first[3] === 0x18) return "zstd";
  if (starts(0x42, 0x5a, 0x68)) throw invalidArgument("bzip2 compression is not supported: use gzip, zstd or none");
  if (starts(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00)) throw invalidArgument("xz compression is not supported: use gzip, zstd or none");
  return "none";
}

/** The stream with its first bytes looked at: nothing of it is lost. */
export async function peek(source: ReadableStream<Uint8Array>): Promise<{ first: Uint8Array; rest: ReadableStream<Uint8Array> }> {
  const reader = source.getReader();
  const held: Uint8Array[] = [];
  let length = 0;
  let over = false;
  while (length < MAGIC_BYTES && !over) {
    const step = await reader.read();
    if (step.done) over = true;
    else {
      held.push(step.value);
      length += step.value.length;
    }
  }
  const rest = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const waiting = held.shift();
        if (waiting !== undefined) return controller.enqueue(waiting);
        const step = over ? { done: true as const, value: undefined } : await reader.read();
        if (step.done) controller.close();
        else controller.enqueue(step.value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
  return { first: Buffer.concat(held), rest };
}

/** Plain bytes of a stream that may be gzip, zstd or plain, told by its first bytes. A damaged stream fails while it is read. */
export async function decompressed(source: ReadableStream<Uint8Array>): Promise<{ compression: Compression; stream: ReadableStream<Uint8Array> }> {
  const { first, rest } = await peek(source);
  const compression = compressionOf(first);
  if (compression === "none") return { compression, stream: rest };
  return { compression, stream: rest.pipeThrough(new DecompressionStream(compression as "gzip") as never) };
}

/** A decompressor's complaint as a sentence for users; other errors pass as they are. */
export function decompressionError(error: unknown): unknown {
  // DecompressionStream fails with a TypeError (Compression Streams standard); nothing else on these paths does.
  if (error instanceof TypeError) return invalidArgument(`damaged compressed data: ${error.message}`, error);
  return error;
}
