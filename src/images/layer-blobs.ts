import type { ContentStore } from "../content/types.ts";
import type { Digest } from "../oci/digest.ts";
import type { Descriptor } from "../oci/image.ts";
import type { Store } from "../store/store.ts";

/** Notes that `blob` holds the layer `diffId`, compressed or not. */
export function recordLayerBlob(store: Store, diffId: Digest, blob: { digest: Digest; mediaType: string }): void {
  store.db.query("INSERT INTO layer_blobs (diff_id, digest, media_type) VALUES (?, ?, ?) ON CONFLICT DO NOTHING").run(diffId, blob.digest, blob.mediaType);
}

/** The blobs of the content store that hold the layer `diffId`. */
export function layerBlobs(store: Store, content: ContentStore, diffId: Digest): Descriptor[] {
  const rows = store.db.query<{ digest: Digest; media_type: string }, [string]>("SELECT digest, media_type FROM layer_blobs WHERE diff_id = ? ORDER BY digest").all(diffId);
  return rows.flatMap(({ digest, media_type: mediaType }) => {
    const info = content.info(digest);
    return info === undefined ? [] : [{ mediaType, digest, size: info.size }];
  });
}

/** Notes that repository (`host/path`) holds a blob: a later push to another repository of that host mounts it instead of sending it. */
export function recordBlobSource(store: Store, digest: Digest, repository: string): void {
  store.db.query("INSERT INTO blob_sources (digest, repository) VALUES (?, ?) ON CONFLICT DO NOTHING").run(digest, repository);
}

/** Paths of up to `limit` repositories at `domain` that were seen to hold a blob. */
export function blobSources(store: Store, digest: Digest, domain: string, limit: number): string[] {
  const prefix = `${domain}/`;
  return store.db
    .query<{ repository: string }, [string, number, string, number]>("SELECT repository FROM blob_sources WHERE digest = ? AND substr(repository, 1, ?) = ? LIMIT ?")
    .all(digest, prefix.length, prefix, limit)
    .map(({ repository }) => repository.slice(prefix.length));
}
