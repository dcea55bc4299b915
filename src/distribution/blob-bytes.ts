import type { Descriptor } from "../oci/image.ts";
import { misbehaviour } from "./errors.ts";
import { digestLike } from "../oci/digest.ts";
import type { RemoteRepository } from "./types.ts";

/** A small blob, in memory and checked; the caller bounds its size. @throws RegistryError */
export async function blobBytes(remote: Pick<RemoteRepository, "blob">, descriptor: Descriptor, options: { signal?: AbortSignal } = {}): Promise<Uint8Array> {
  const bytes = Buffer.alloc(descriptor.size);
  let written = 0;
  const write = (chunk: Uint8Array): Promise<void> => {
    bytes.set(chunk, written);
    written += chunk.length;
    return Promise.resolve();
  };
  const sink = {
    write,
    get written() {
      return written;
    },
  };
  await remote.blob(descriptor, sink, options);
  if (digestLike(bytes, descriptor.digest) !== descriptor.digest) throw misbehaviour(`verification failed for digest ${descriptor.digest}`);
  return bytes;
}
