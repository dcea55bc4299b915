import type { ContentStore } from "../content/types.ts";
import type { Logger } from "../lib/log.ts";
import { readManifest } from "./manifests.ts";
import type { Records } from "./records.ts";

/** Brings records and bytes together after a start: what a crash left between them, or took from the disk. */
export async function restoreRecords(content: ContentStore, records: Records, log: Logger): Promise<void> {
  const dropped = records.dropMissing();
  if (dropped > 0) log.error("bytes are gone; the repositories forget them", { entries: dropped });
  for (const entry of records.unread()) {
    const mediaType = records.manifest(entry.repository, entry.digest)?.mediaType;
    const named = mediaType === undefined ? undefined : readManifest(await content.bytes(entry.digest), entry.digest, mediaType);
    records.setLinks(entry, named === undefined ? [] : [...named.blobs, ...named.manifests]);
  }
}
