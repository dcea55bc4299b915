import { open, type FileHandle } from "node:fs/promises";
import type { ArrivingFile } from "../content/types.ts";
import { type Digest, algorithmOf } from "../oci/digest.ts";

/** One go of the hasher: about 0.6 ms of the loop. */
const slice = 512 << 10;

/** The bytes of [start, end) of a file, from where they are there on. @throws what `more` rejects with */
async function* bytesOf(handle: FileHandle, file: ArrivingFile, range: { start: number; end: number }): AsyncGenerator<Uint8Array> {
  for (let at = range.start; at < range.end;) {
    const there = Math.min(await file.more(at), range.end);
    while (at < there) {
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(Math.min(slice, there - at)), 0, Math.min(slice, there - at), at);
      if (bytesRead === 0) throw new Error(`${file.path} is shorter than its bytes were said to be`);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }
}

/** Whether a file's bytes are what the digest says, hashed while they arrive. */
export async function isDigestOf(file: ArrivingFile, digest: Digest): Promise<boolean> {
  const algorithm = algorithmOf(digest);
  const hasher = new Bun.CryptoHasher(algorithm);
  await using handle = await open(file.path, "r");
  for await (const bytes of bytesOf(handle, file, { start: 0, end: file.size })) hasher.update(bytes);
  return `${algorithm}:${hasher.digest("hex")}` === digest;
}

/**
 * The bytes of [start, end) for a client, while they arrive; the stream closes the file's `handle`. The last one is held back until `checked` says that the whole is right: who is sent
 * something else sees a connection that broke.
 */
export function streamOf(handle: FileHandle, file: ArrivingFile, range: { start: number; end: number }, checked: Promise<unknown>): ReadableStream<Uint8Array> {
  const source = (async function* (): AsyncGenerator<Uint8Array> {
    let held: Uint8Array | undefined;
    for await (const bytes of bytesOf(handle, file, range)) {
      if (held !== undefined) yield held;
      held = bytes;
    }
    await checked;
    if (held !== undefined) yield held;
  })();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const { done, value } = await source.next();
          if (!done) return controller.enqueue(value);
        } catch (error) {
          await handle.close();
          throw error;
        }
        await handle.close();
        controller.close();
      },
      // A generator that never began would not close it.
      cancel: async () => {
        await source.return(undefined);
        await handle.close();
      },
    },
    { highWaterMark: 0 },
  );
}
