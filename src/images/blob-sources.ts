import type { Digest } from "../oci/digest.ts";
import type { Store } from "../store/store.ts";

/** Notes that repository (`host/path`) holds a blob: a later push to another repository of that host mounts it instead of sending it. */
export function recordBlobSource(store: Store, digest: Digest, repository: string): void {
  store.db.query("INSERT INTO blob_sources (digest, repository) VALUES (?, ?) ON CONFLICT DO NOTHING").run(digest, repository);
}

/** Paths of up to `limit` repositories at `domain` that were seen to hold a blob. */
export function blobSources(store: Store, digest: Digest, domain: string, limit: number): string[] {
  const prefix = `${domain}/`;
  return store.db
    .query<{ repository: string }, [string, number, string, number]>(
      "SELECT repository FROM blob_sources WHERE digest = ? AND substr(repository, 1, ?) = ? LIMIT ?",
    )
    .all(digest, prefix.length, prefix, limit)
    .map(({ repository }) => repository.slice(prefix.length));
}
