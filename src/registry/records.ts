import type { Digest } from "../oci/digest.ts";
import type { ContentStore } from "../content/types.ts";
import type { Store } from "../store/store.ts";

export interface ManifestRow {
  digest: Digest;
  /** Bytes. */
  size: number;
  mediaType: string;
  subject?: Digest;
  artifactType?: string;
  annotations?: Record<string, string>;
}

/** What a manifest names. */
export interface Link {
  digest: Digest;
  /** As the manifest tells it; 0 where it doesn't. */
  size: number;
}

/** An entry of a repository, for whoever walks through all of them. */
export interface Entry {
  repository: string;
  digest: Digest;
}

/** Which repository holds what. Bytes lie in the content store; a digest that isn't used here may go from it. Times are unix milliseconds. */
export interface Records {
  hasRepository(repository: string): boolean;
  /** Bytes of a blob that the repository has. With `now`, that it was asked for counts as use of it. */
  blob(repository: string, digest: Digest, now?: number): number | undefined;
  /** Repositories that have it, some of them where they are very many. */
  holdersOf(digest: Digest): string[];
  addBlob(repository: string, digest: Digest, size: number, now: number): void;
  /** False where the repository hadn't got it. */
  removeBlob(repository: string, digest: Digest): boolean;
  /** The first of the blobs (or manifests) that the repository hasn't got, or whose bytes aren't there. */
  missing(kind: "blob" | "manifest", repository: string, digests: readonly Digest[]): Digest | undefined;
  manifest(repository: string, digest: Digest): ManifestRow | undefined;
  tagged(repository: string, tag: string): Digest | undefined;
  /** @throws what `check` throws, with nothing changed */
  putManifest(repository: string, row: ManifestRow, options: { links: readonly Link[]; tags: readonly string[]; now: number; check?: () => void }): void;
  /** With the tags that point to it. */
  removeManifest(repository: string, digest: Digest): boolean;
  removeTag(repository: string, tag: string): boolean;
  /** In order of bytes, after `last`. */
  tags(repository: string, last: string, limit: number): string[];
  repositories(last: string, limit: number): string[];
  referrers(repository: string, subject: Digest): ManifestRow[];
  /** Whether some repository needs the bytes, or somebody is about to store them. */
  isUsed(digest: Digest): boolean;
  /** Keeps bytes that are about to get a row. */
  hold(digest: Digest): Disposable;
  /** Bytes that the registry keeps, each digest once; and those of one repository. */
  readonly totalBytes: number;
  repositoryBytes(repository: string): number;
  /** Blobs that no manifest of their repository names, not used since `before`: those of the next `limit` after `last`, removed. */
  removeLooseBlobs(before: number, last: Entry, limit: number): { removed: Digest[]; next: Entry | undefined };
  /** Manifests that no tag, index or (by their subject) other manifest keeps, likewise. */
  removeLooseManifests(before: number, last: Entry, limit: number): { removed: Digest[]; next: Entry | undefined };
  /** A tag of a copy, and when it was last compared. */
  tagAge(repository: string, tag: string): { digest: Digest; checkedAt: number } | undefined;
  checkedTag(repository: string, tag: string, now: number): void;
  /** Bytes of a blob, as a manifest of the repository tells them; undefined where none names it. */
  linkSize(repository: string, digest: Digest): number | undefined;
  /** Notes the use of a manifest, as blob does. */
  touchManifest(repository: string, digest: Digest, now: number): void;
  /** Bytes of the repositories below any of the prefixes (the empty one: of all). */
  bytesBelow(prefixes: readonly string[]): number;
  /** What of them was used longest ago. */
  leastUsed(prefixes: readonly string[], limit: number): (Entry & { kind: "blob" | "manifest"; size: number })[];
  /** Removes what stands for bytes that a crash kept from being stored. */
  dropMissing(): number;
  /** Manifests of an older schema, whose links aren't known yet, and the way to tell them. */
  unread(): Entry[];
  setLinks(entry: Entry, links: readonly Link[]): void;
}

interface Row {
  digest: Digest;
  size: number;
  media_type: string;
  subject: Digest | null;
  artifact_type: string | null;
  annotations: string | null;
}

/** Uses are noted once in so many milliseconds. */
const touchInterval = 30_000;

function fromRow(row: Row): ManifestRow {
  return {
    digest: row.digest,
    size: row.size,
    mediaType: row.media_type,
    ...(row.subject !== null && { subject: row.subject }),
    ...(row.artifact_type !== null && { artifactType: row.artifact_type }),
    ...(row.annotations !== null && { annotations: JSON.parse(row.annotations) as Record<string, string> }),
  };
}

/** On a store with the `registry_` tables, and the content store's `blobs`. What they name stays in `content`. */
export function createRecords({ db, tx }: Store, content: Pick<ContentStore, "addOwner">): Records {
  const exists = (sql: string, ...values: (string | number)[]): boolean => db.query(sql).get(...values) !== null;
  const changed = (sql: string, ...values: (string | number)[]): boolean => db.query(sql).run(...values).changes > 0;
  const columns = "digest, size, media_type, subject, artifact_type, annotations";
  const held = new Map<Digest, number>();
  const isUsed = (digest: Digest): boolean => held.has(digest) || hasRow(digest);
  content.addOwner(isUsed, (digest) => {
    const repositories = db
      .query<{ name: string }, [string, string]>(
        "SELECT repository AS name FROM registry_blobs WHERE digest = ? UNION SELECT repository FROM registry_manifests WHERE digest = ?",
      )
      .all(digest, digest)
      .map(({ name }) => name);
    for (const repository of repositories) {
      removeBlob(repository, digest);
      removeManifest(repository, digest);
    }
    return repositories.length === 0 ? undefined : `push to this engine's registry again what has it: ${repositories.join(", ")}`;
  });

  const hasRow = (digest: Digest): boolean =>
    exists("SELECT 1 FROM registry_blobs WHERE digest = ? LIMIT 1", digest) || exists("SELECT 1 FROM registry_manifests WHERE digest = ? LIMIT 1", digest);
  let total =
    db
      .query<{ bytes: number | null }, []>(
        "SELECT sum(size) AS bytes FROM (SELECT digest, size FROM registry_blobs UNION SELECT digest, size FROM registry_manifests)",
      )
      .get()!.bytes ?? 0;
  /** Runs a change of one digest's rows, and keeps the sum right. */
  const counted = <T>(digest: Digest, size: number, change: () => T): T => {
    const before = hasRow(digest);
    const result = change();
    const after = hasRow(digest);
    if (before !== after) total += after ? size : -size;
    return result;
  };
  const sizeIn = (table: "registry_blobs" | "registry_manifests", repository: string, digest: Digest): number | undefined =>
    db.query<{ size: number }, [string, string]>(`SELECT size FROM ${table} WHERE repository = ? AND digest = ?`).get(repository, digest)?.size;

  const insertLinks = (repository: string, manifest: Digest, links: readonly Link[]): void => {
    // One statement for thousands of them; SQLite wants WHERE before ON here
    const sql = `INSERT INTO registry_links (repository, digest, manifest, size)
      SELECT ?, value ->> 'digest', ?, value ->> 'size' FROM json_each(?) WHERE TRUE ON CONFLICT DO NOTHING`;
    db.query(sql).run(repository, manifest, JSON.stringify(links));
  };
  const removeBlob: Records["removeBlob"] = (repository, digest) => {
    const size = sizeIn("registry_blobs", repository, digest);
    if (size === undefined) return false;
    return counted(digest, size, () => changed("DELETE FROM registry_blobs WHERE repository = ? AND digest = ?", repository, digest));
  };
  const removeManifest: Records["removeManifest"] = (repository, digest) => {
    const size = sizeIn("registry_manifests", repository, digest);
    if (size === undefined) return false;
    return tx(() =>
      counted(digest, size, () => {
        db.query("DELETE FROM registry_tags WHERE repository = ? AND digest = ?").run(repository, digest);
        db.query("DELETE FROM registry_links WHERE repository = ? AND manifest = ?").run(repository, digest);
        return changed("DELETE FROM registry_manifests WHERE repository = ? AND digest = ?", repository, digest);
      }),
    );
  };
  /** The next entries of a table after `last`, and which of them are loose. Looked at and removed in one transaction. */
  const removeLoose = (options: {
    table: "registry_blobs" | "registry_manifests";
    loose: string;
    before: number;
    last: Entry;
    limit: number;
    remove: (repository: string, digest: Digest) => boolean;
  }): { removed: Digest[]; next: Entry | undefined } => {
    const { table, loose, before, last, limit, remove } = options;
    return tx(() => {
      const rows = db
        .query<Entry & { loose: number }, [number, string, string, number]>(
          `SELECT repository, digest, (used_at < ? AND ${loose}) AS loose FROM ${table} AS t WHERE (repository, digest) > (?, ?) ORDER BY repository, digest LIMIT ?`,
        )
        .all(before, last.repository, last.digest, limit);
      const removed = rows.filter((row) => row.loose === 1 && remove(row.repository, row.digest)).map(({ digest }) => digest);
      return { removed, next: rows.length < limit ? undefined : rows.at(-1) };
    });
  };

  return {
    hasRepository: (repository) =>
      exists("SELECT 1 FROM registry_manifests WHERE repository = ? LIMIT 1", repository) ||
      exists("SELECT 1 FROM registry_blobs WHERE repository = ? LIMIT 1", repository),
    blob: (repository, digest, now) => {
      const row = db
        .query<{ size: number; used_at: number }, [string, string]>("SELECT size, used_at FROM registry_blobs WHERE repository = ? AND digest = ?")
        .get(repository, digest);
      if (row !== null && now !== undefined && row.used_at < now - touchInterval) {
        db.query("UPDATE registry_blobs SET used_at = ? WHERE repository = ? AND digest = ?").run(now, repository, digest);
      }
      return row?.size;
    },
    holdersOf: (digest) =>
      db
        .query<{ repository: string }, [string]>("SELECT repository FROM registry_blobs WHERE digest = ? LIMIT 1000")
        .all(digest)
        .map(({ repository }) => repository),
    addBlob: (repository, digest, size, now) =>
      counted(digest, size, () => {
        db.query(
          "INSERT INTO registry_blobs (repository, digest, size, used_at) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET used_at = max(used_at, excluded.used_at)",
        ).run(repository, digest, size, now);
      }),
    removeBlob,
    missing: (kind, repository, list) =>
      db
        .query<{ digest: Digest }, [string, string]>(
          `SELECT value AS digest FROM json_each(?) WHERE NOT EXISTS (
             SELECT 1 FROM registry_${kind}s AS r JOIN blobs ON blobs.digest = r.digest WHERE r.repository = ? AND r.digest = value) LIMIT 1`,
        )
        .get(JSON.stringify(list), repository)?.digest,
    manifest: (repository, digest) => {
      const row = db.query<Row, [string, string]>(`SELECT ${columns} FROM registry_manifests WHERE repository = ? AND digest = ?`).get(repository, digest);
      return row === null ? undefined : fromRow(row);
    },
    tagged: (repository, tag) =>
      db.query<{ digest: Digest }, [string, string]>("SELECT digest FROM registry_tags WHERE repository = ? AND tag = ?").get(repository, tag)?.digest,
    putManifest: (repository, row, { links, tags, now, check }) =>
      tx(() => {
        check?.();
        const { digest, size, mediaType, subject, artifactType, annotations } = row;
        counted(digest, size, () => {
          db.query(
            "INSERT OR REPLACE INTO registry_manifests (repository, digest, size, used_at, media_type, subject, artifact_type, annotations) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
          ).run(
            repository,
            digest,
            size,
            now,
            mediaType,
            subject ?? null,
            artifactType ?? null,
            annotations === undefined ? null : JSON.stringify(annotations),
          );
        });
        insertLinks(repository, digest, links);
        const point = db.query("INSERT OR REPLACE INTO registry_tags (repository, tag, digest, checked_at) VALUES (?, ?, ?, ?)");
        for (const tag of tags) point.run(repository, tag, digest, now);
      }),
    removeManifest,
    removeTag: (repository, tag) => changed("DELETE FROM registry_tags WHERE repository = ? AND tag = ?", repository, tag),
    tags: (repository, last, limit) =>
      db
        .query<{ tag: string }, [string, string, number]>("SELECT tag FROM registry_tags WHERE repository = ? AND tag > ? ORDER BY tag LIMIT ?")
        .all(repository, last, limit)
        .map(({ tag }) => tag),
    repositories: (last, limit) =>
      db
        // From one name to the next by the index: a DISTINCT would read all manifests of each.
        .query<{ name: string }, [string, number]>(
          `WITH RECURSIVE r(name) AS (
             SELECT min(repository) FROM registry_manifests WHERE repository > ?
             UNION ALL SELECT (SELECT min(repository) FROM registry_manifests WHERE repository > r.name) FROM r WHERE r.name IS NOT NULL
           ) SELECT name FROM r WHERE name IS NOT NULL LIMIT ?`,
        )
        .all(last, limit)
        .map(({ name }) => name),
    referrers: (repository, subject) =>
      db
        .query<Row, [string, string]>(`SELECT ${columns} FROM registry_manifests WHERE repository = ? AND subject = ? ORDER BY digest`)
        .all(repository, subject)
        .map(fromRow),
    isUsed,
    hold: (digest) => {
      held.set(digest, (held.get(digest) ?? 0) + 1);
      return {
        [Symbol.dispose]: () => {
          const count = held.get(digest)! - 1;
          if (count === 0) held.delete(digest);
          else held.set(digest, count);
        },
      };
    },
    get totalBytes() {
      return total;
    },
    repositoryBytes: (repository) =>
      db
        .query<{ bytes: number | null }, [string, string]>(
          "SELECT sum(size) AS bytes FROM (SELECT size FROM registry_blobs WHERE repository = ? UNION ALL SELECT size FROM registry_manifests WHERE repository = ?)",
        )
        .get(repository, repository)!.bytes ?? 0,
    removeLooseBlobs: (before, last, limit) =>
      removeLoose({
        table: "registry_blobs",
        loose: "NOT EXISTS (SELECT 1 FROM registry_links AS l WHERE l.repository = t.repository AND l.digest = t.digest)",
        ...{ before, last, limit, remove: removeBlob },
      }),
    removeLooseManifests: (before, last, limit) =>
      removeLoose({
        table: "registry_manifests",
        loose: `NOT EXISTS (SELECT 1 FROM registry_tags AS g WHERE g.repository = t.repository AND g.digest = t.digest)
          AND NOT EXISTS (SELECT 1 FROM registry_links AS l WHERE l.repository = t.repository AND l.digest = t.digest)
          AND NOT EXISTS (SELECT 1 FROM registry_manifests AS m WHERE m.repository = t.repository AND m.digest = t.subject)`,
        ...{ before, last, limit, remove: removeManifest },
      }),
    tagAge: (repository, tag) => {
      const row = db
        .query<{ digest: Digest; checked_at: number }, [string, string]>("SELECT digest, checked_at FROM registry_tags WHERE repository = ? AND tag = ?")
        .get(repository, tag);
      return row === null ? undefined : { digest: row.digest, checkedAt: row.checked_at };
    },
    checkedTag: (repository, tag, now) => void changed("UPDATE registry_tags SET checked_at = ? WHERE repository = ? AND tag = ?", now, repository, tag),
    linkSize: (repository, digest) =>
      db
        .query<{ size: number }, [string, string]>("SELECT max(size) AS size FROM registry_links WHERE repository = ? AND digest = ? HAVING count(*) > 0")
        .get(repository, digest)?.size,
    touchManifest: (repository, digest, now) =>
      void changed(
        "UPDATE registry_manifests SET used_at = ? WHERE repository = ? AND digest = ? AND used_at < ?",
        ...[now, repository, digest, now - touchInterval],
      ),
    bytesBelow: (prefixes) => {
      const { where, values } = below(prefixes);
      const sql = `SELECT (SELECT coalesce(sum(size), 0) FROM registry_blobs WHERE ${where}) + (SELECT coalesce(sum(size), 0) FROM registry_manifests WHERE ${where}) AS bytes`;
      return db.query<{ bytes: number }, string[]>(sql).get(...values, ...values)!.bytes;
    },
    leastUsed: (prefixes, limit) => {
      const { where, values } = below(prefixes);
      const part = (kind: string, table: string): string => `SELECT '${kind}' AS kind, repository, digest, size, used_at FROM ${table} WHERE ${where}`;
      const sql = `${part("blob", "registry_blobs")} UNION ALL ${part("manifest", "registry_manifests")} ORDER BY used_at LIMIT ${limit}`;
      return db.query<ReturnType<Records["leastUsed"]>[number], string[]>(sql).all(...values, ...values);
    },
    dropMissing: () => {
      let dropped = 0;
      for (const [table, remove] of [
        ["registry_blobs", removeBlob],
        ["registry_manifests", removeManifest],
      ] as const) {
        const rows = db.query<Entry, []>(`SELECT repository, digest FROM ${table} WHERE digest NOT IN (SELECT digest FROM blobs)`).all();
        for (const { repository, digest } of rows) if (remove(repository, digest)) dropped++;
      }
      return dropped;
    },
    unread: () =>
      exists("SELECT 1 FROM sqlite_schema WHERE name = 'registry_unread'") ? db.query<Entry, []>("SELECT repository, digest FROM registry_unread").all() : [],
    setLinks: ({ repository, digest }, links) =>
      tx(() => {
        insertLinks(repository, digest, links);
        db.query("DELETE FROM registry_unread WHERE repository = ? AND digest = ?").run(repository, digest);
      }),
  };
}

/** `/` is followed by `0` in the order of bytes. */
function below(prefixes: readonly string[]): { where: string; values: string[] } {
  if (prefixes.includes("")) return { where: "TRUE", values: [] };
  if (prefixes.length === 0) return { where: "FALSE", values: [] };
  const where = prefixes.map(() => "(repository > ? AND repository < ?)").join(" OR ");
  return { where: `(${where})`, values: prefixes.flatMap((prefix) => [`${prefix}/`, `${prefix}0`]) };
}
