import type { ContentStore } from "../content/types.ts";
import type { Digest } from "../oci/digest.ts";
import { Fault } from "./faults.ts";
import { matchesEtag, type Answer, type Call } from "./http.ts";
import { parseRange } from "./range.ts";
import type { Records } from "./records.ts";

interface Deps {
  content: ContentStore;
  records: Records;
  /** Deletes bytes that nothing uses any more. */
  release: (digest: Digest) => Promise<void>;
}

/** GET and HEAD, whole or a range. Blobs never change: their digest is the ETag. */
export function getBlob({ content, records }: Deps, name: string, digest: Digest, call: Call): Answer {
  // Whoever asks may be about to push a manifest that names it: that is a use.
  const size = records.blob(name, digest, Date.now());
  if (size === undefined || content.info(digest) === undefined) throw unknownBlob(digest);
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
  const file = Bun.file(content.path(digest));
  // A slice, even of the whole: for a bare file, Bun would look at the Range header by itself.
  if (range === undefined) return { status: 200, headers, body: { file: file.slice(0, size), size } };
  return {
    status: 206,
    headers: { ...headers, "content-range": `bytes ${range.start}-${range.end - 1}/${size}` },
    body: { file: file.slice(range.start, range.end), size: range.end - range.start },
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
