import type { ContentStore } from "../content/types.ts";
import type { KeyedMutex } from "../lib/mutex.ts";
import type { Digest } from "../oci/digest.ts";
import { Fault } from "./faults.ts";
import type { Answer, Call } from "./http.ts";
import { forget } from "./manifests.ts";
import { parseRange } from "./range.ts";
import type { Records } from "./records.ts";

interface Deps {
  content: ContentStore;
  records: Records;
  digests: KeyedMutex;
}

/** GET and HEAD, whole or a range. Blobs never change: their digest is the ETag. */
export function getBlob({ content, records }: Deps, name: string, digest: Digest, call: Call): Answer {
  const info = records.hasBlob(name, digest) ? content.info(digest) : undefined;
  if (info === undefined) throw unknownBlob(digest);
  const { size } = info;
  const etag = `"${digest}"`;
  const headers = {
    "accept-ranges": "bytes",
    "cache-control": "max-age=31536000",
    "content-type": "application/octet-stream",
    "docker-content-digest": digest,
    etag,
  };
  const { "if-none-match": known, "if-range": condition, range: asked } = call.headers;
  if (known?.split(",").some((tag) => tag.trim() === etag || tag.trim() === "*")) return { status: 304, headers };
  const range = condition === undefined || condition === etag ? parseRange(asked, size) : undefined;
  if (range === "unsatisfiable") throw new Fault("RANGE_INVALID", "invalid content range", { headers: { "content-range": `bytes */${size}` } });
  if (range === undefined) return { status: 200, headers, body: { stream: () => content.open(digest), size } };
  return {
    status: 206,
    headers: { ...headers, "content-range": `bytes ${range.start}-${range.end - 1}/${size}` },
    body: { stream: () => content.open(digest, range), size: range.end - range.start },
  };
}

export async function deleteBlob(deps: Deps, name: string, digest: Digest): Promise<Answer> {
  if (!deps.records.removeBlob(name, digest)) throw unknownBlob(digest);
  await forget(deps, digest);
  return { status: 202 };
}

function unknownBlob(digest: Digest): Fault {
  return new Fault("BLOB_UNKNOWN", "blob unknown to registry", { detail: digest });
}
