/** A registry's tables: in the engine's own database, and in that of a registry on a root of its own. Landed with a migration of each: never edited. */
export const registryTables = `
-- a blob is readable through the repositories that it was pushed to or mounted in; used_at (unix milliseconds) is its grace from collection
CREATE TABLE registry_blobs (repository TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, used_at INTEGER NOT NULL, PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX registry_blobs_digest ON registry_blobs(digest);
CREATE TABLE registry_manifests (repository TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, used_at INTEGER NOT NULL, media_type TEXT NOT NULL, subject TEXT, artifact_type TEXT, annotations TEXT, PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX registry_manifests_digest ON registry_manifests(digest);
CREATE INDEX registry_manifests_subject ON registry_manifests(repository, subject);
-- what a manifest names: blobs and, for an index, manifests
CREATE TABLE registry_links (repository TEXT NOT NULL, digest TEXT NOT NULL, manifest TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (repository, digest, manifest)) WITHOUT ROWID;
CREATE INDEX registry_links_manifest ON registry_links(repository, manifest);
-- checked_at: when the registry that it was copied from was last asked
CREATE TABLE registry_tags (repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, checked_at INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (repository, tag)) WITHOUT ROWID;
CREATE INDEX registry_tags_digest ON registry_tags(repository, digest);
`;
