import { registryTables } from "../store/registry-tables.ts";
import type { Migration } from "../store/store.ts";

/** The database of a registry on a root of its own: the content store's table, and which repository holds what. */
export const registryMigrations: readonly Migration[] = [
  {
    id: 1,
    sql: `
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, used_at INTEGER NOT NULL) WITHOUT ROWID;
-- a blob is readable through the repositories that it was pushed to or mounted in
CREATE TABLE repository_blobs (repository TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX repository_blobs_digest ON repository_blobs(digest);
CREATE TABLE manifests (repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, subject TEXT, artifact_type TEXT, annotations TEXT, PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX manifests_digest ON manifests(digest);
CREATE INDEX manifests_subject ON manifests(repository, subject);
CREATE TABLE tags (repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (repository, tag)) WITHOUT ROWID;
`,
  },
  {
    id: 2,
    sql: `${registryTables}
INSERT INTO registry_blobs SELECT repository, digest, blobs.size, unixepoch() * 1000 FROM repository_blobs JOIN blobs USING (digest);
INSERT INTO registry_manifests SELECT repository, digest, blobs.size, unixepoch() * 1000, media_type, subject, artifact_type, annotations FROM manifests JOIN blobs USING (digest);
INSERT INTO registry_tags (repository, tag, digest) SELECT repository, tag, digest FROM tags;
-- whose links are still to be read from their bytes
CREATE TABLE registry_unread AS SELECT repository, digest FROM registry_manifests;
DROP TABLE repository_blobs;
DROP TABLE manifests;
DROP TABLE tags;
`,
  },
];
