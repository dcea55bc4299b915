import { open, type FileHandle } from "node:fs/promises";
import type { ContentStore } from "../content/types.ts";
import type { Digest } from "../oci/digest.ts";
import { streamOf } from "./arriving.ts";
import type { Cache, Fetching } from "./cache.ts";
import { Fault } from "./faults.ts";
import { matchesEtag, type Answer, type Call } from "./http.ts";
import { parseRange, type ByteRange } from "./range.ts";
import type { Records } from "./records.ts";

interface Deps {
  content: ContentStore;
  records: Records;
  cache: Cache;
  /** Deletes bytes that nothing uses any more. */
  release: (digest: Digest) => Promise<void>;
}

/** GET and HEAD, whole or a range. Blobs never change: their digest is the ETag. */
export async function getBlob({ content, records, cache }: Deps, name: string, digest: Digest, call: Call): Promise<Answer> {
  const isCopy = cache.registryOf(name) !== undefined;
  // Whoever asks may be about to push a manifest that names it: that is a use.
  const size = records.blob(name, digest, Date.now()) ?? (isCopy ? cache.size(name, digest) : undefined);
  if (size === undefined || (!isCopy && content.info(digest) === undefined)) throw unknownBlob(digest);
  const etag = `"${digest}"`;
  const headers = {
    "accept-ranges": "bytes",
    "cache-control": "max-age=31536000",
    "content-type": "application/octet-stream",
    "docker-content-digest": digest,
    etag,
  };
  if (matchesEtag(call.headers.get("if-none-match"), etag)) return { status: 304, headers };
  const condition = call.headers.get("if-range");
  const range = condition === null || condition === etag ? parseRange(call.headers.get("range") ?? undefined, size) : undefined;
  if (range === "unsatisfiable") throw new Fault("RANGE_INVALID", "invalid content range", { headers: { "content-range": `bytes */${size}` } });
  const arriving = isCopy && call.method === "GET" && size > 0 ? await cache.blob(name, digest) : undefined;
  if (arriving !== undefined) {
    const handle = await open(arriving.file.path, "r").catch(() => undefined);
    if (handle !== undefined) return answerArriving(arriving, handle, { size, range, headers });
    // It has come meanwhile, and its file has another name.
    await arriving.done;
  }
  if (content.info(digest) === undefined) return { status: 200, headers: { ...headers, "content-length": String(size) } };
  const file = Bun.file(content.path(digest));
  // A slice, even of the whole: for a bare file, Bun would look at the Range header by itself.
  if (range === undefined) return { status: 200, headers, body: { file: file.slice(0, size), size } };
  return {
    status: 206,
    headers: { ...headers, "content-range": `bytes ${range.start}-${range.end - 1}/${size}` },
    body: { file: file.slice(range.start, range.end), size: range.end - range.start },
  };
}

/** A client gets the bytes while they are stored. */
function answerArriving(
  { file, done }: Fetching,
  handle: FileHandle,
  { size, range, headers }: { size: number; range: ByteRange | undefined; headers: Record<string, string> },
): Answer {
  done.catch(() => undefined);
  if (range === undefined) return { status: 200, headers, body: { stream: streamOf(handle, file, { start: 0, end: size }, done), size } };
  const { start, end } = range;
  return {
    status: 206,
    headers: { ...headers, "content-range": `bytes ${start}-${end - 1}/${size}` },
    body: { stream: streamOf(handle, file, range, done), size: end - start },
  };
}

export async function deleteBlob(deps: Deps, name: string, digest: Digest): Promise<Answer> {
  if (!deps.records.removeBlob(name, digest)) throw unknownBlob(digest);
  await deps.release(digest);
  return { status: 202 };
}

function unknownBlob(digest: Digest): Fault {
  return new Fault("BLOB_UNKNOWN", "blob unknown to registry", { detail: digest });
}
