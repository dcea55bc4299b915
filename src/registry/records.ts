import type { Digest } from "../oci/digest.ts";
import type { Store } from "../store/store.ts";

export interface ManifestRow {
  digest: Digest;
  mediaType: string;
  subject?: Digest;
  artifactType?: string;
  annotations?: Record<string, string>;
}

/** Which repository holds what. Bytes lie in the content store; a digest without any row here may go from it. */
export interface Records {
  hasRepository(repository: string): boolean;
  hasBlob(repository: string, digest: Digest): boolean;
  /** Repositories that have it, some of them where they are very many. */
  holdersOf(digest: Digest): string[];
  addBlob(repository: string, digest: Digest): void;
  /** False where the repository hadn't got it. */
  removeBlob(repository: string, digest: Digest): boolean;
  manifest(repository: string, digest: Digest): ManifestRow | undefined;
  tagged(repository: string, tag: string): Digest | undefined;
  putManifest(repository: string, row: ManifestRow, tag?: string): void;
  /** With the tags that point to it. */
  removeManifest(repository: string, digest: Digest): boolean;
  removeTag(repository: string, tag: string): boolean;
  /** In order of bytes, after `last`. */
  tags(repository: string, last: string, limit: number): string[];
  repositories(last: string, limit: number): string[];
  referrers(repository: string, subject: Digest): ManifestRow[];
  /** Whether some row needs the bytes. */
  isUsed(digest: Digest): boolean;
  /** Stored bytes that no row needs: what a crash left between bytes and row. */
  unused(): Digest[];
}

interface Row {
  digest: Digest;
  media_type: string;
  subject: Digest | null;
  artifact_type: string | null;
  annotations: string | null;
}

function fromRow(row: Row): ManifestRow {
  return {
    digest: row.digest,
    mediaType: row.media_type,
    ...(row.subject !== null && { subject: row.subject }),
    ...(row.artifact_type !== null && { artifactType: row.artifact_type }),
    ...(row.annotations !== null && { annotations: JSON.parse(row.annotations) as Record<string, string> }),
  };
}

export function createRecords({ db, tx }: Store): Records {
  const exists = (sql: string, ...values: string[]): boolean => db.query(sql).get(...values) !== null;
  const changed = (sql: string, ...values: string[]): boolean => db.query(sql).run(...values).changes > 0;
  const columns = "digest, media_type, subject, artifact_type, annotations";
  return {
    hasRepository: (repository) =>
      exists("SELECT 1 FROM manifests WHERE repository = ? LIMIT 1", repository) ||
      exists("SELECT 1 FROM repository_blobs WHERE repository = ? LIMIT 1", repository),
    hasBlob: (repository, digest) => exists("SELECT 1 FROM repository_blobs WHERE repository = ? AND digest = ?", repository, digest),
    holdersOf: (digest) =>
      db
        .query<{ repository: string }, [string]>("SELECT repository FROM repository_blobs WHERE digest = ? LIMIT 1000")
        .all(digest)
        .map(({ repository }) => repository),
    addBlob: (repository, digest) => void changed("INSERT INTO repository_blobs (repository, digest) VALUES (?, ?) ON CONFLICT DO NOTHING", repository, digest),
    removeBlob: (repository, digest) => changed("DELETE FROM repository_blobs WHERE repository = ? AND digest = ?", repository, digest),
    manifest: (repository, digest) => {
      const row = db.query<Row, [string, string]>(`SELECT ${columns} FROM manifests WHERE repository = ? AND digest = ?`).get(repository, digest);
      return row === null ? undefined : fromRow(row);
    },
    tagged: (repository, tag) =>
      db.query<{ digest: Digest }, [string, string]>("SELECT digest FROM tags WHERE repository = ? AND tag = ?").get(repository, tag)?.digest,
    putManifest: (repository, { digest, mediaType, subject, artifactType, annotations }, tag) =>
      tx(() => {
        db.query("INSERT OR REPLACE INTO manifests (repository, digest, media_type, subject, artifact_type, annotations) VALUES (?, ?, ?, ?, ?, ?)").run(
          repository,
          digest,
          mediaType,
          subject ?? null,
          artifactType ?? null,
          annotations === undefined ? null : JSON.stringify(annotations),
        );
        if (tag !== undefined) db.query("INSERT OR REPLACE INTO tags (repository, tag, digest) VALUES (?, ?, ?)").run(repository, tag, digest);
      }),
    removeManifest: (repository, digest) =>
      tx(() => {
        db.query("DELETE FROM tags WHERE repository = ? AND digest = ?").run(repository, digest);
        return changed("DELETE FROM manifests WHERE repository = ? AND digest = ?", repository, digest);
      }),
    removeTag: (repository, tag) => changed("DELETE FROM tags WHERE repository = ? AND tag = ?", repository, tag),
    tags: (repository, last, limit) =>
      db
        .query<{ tag: string }, [string, string, number]>("SELECT tag FROM tags WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?")
        .all(repository, last, limit)
        .map(({ tag }) => tag),
    repositories: (last, limit) =>
      db
        .query<{ repository: string }, [string, number]>("SELECT DISTINCT repository FROM manifests WHERE repository > ? ORDER BY repository LIMIT ?")
        .all(last, limit)
        .map(({ repository }) => repository),
    referrers: (repository, subject) =>
      db
        .query<Row, [string, string]>(`SELECT ${columns} FROM manifests WHERE repository = ? AND subject = ? ORDER BY digest`)
        .all(repository, subject)
        .map(fromRow),
    isUsed: (digest) =>
      exists("SELECT 1 FROM repository_blobs WHERE digest = ? LIMIT 1", digest) || exists("SELECT 1 FROM manifests WHERE digest = ? LIMIT 1", digest),
    unused: () =>
      db
        .query<{ digest: Digest }, []>(
          "SELECT digest FROM blobs WHERE digest NOT IN (SELECT digest FROM repository_blobs) AND digest NOT IN (SELECT digest FROM manifests)",
        )
        .all()
        .map(({ digest }) => digest),
  };
}
