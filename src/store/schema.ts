import { registryTables } from "./registry-tables.ts";
import type { Migration } from "./store.ts";

/**
 * The few facts of an image's config (tens of kilobytes) that lists show and filter by, as a JSON object; null where the config is no JSON. An index keeps
 * them, and SQLite finds it by this very text: it is part of migration 9, and as little to be edited.
 */
export const imageFacts = `CASE WHEN json_valid(config) THEN json_object(
  'created', config -> '$.created', 'labels', config -> '$.config.Labels', 'os', config -> '$.os', 'architecture', config -> '$.architecture',
  'variant', config -> '$.variant', 'step', config -> '$.history[#-1]') END`;

/** The whole schema. Documents are JSON; what is looked up or must be unique is a column. Times are unix nanoseconds as text where Docker shows nanoseconds. */
export const migrations: readonly Migration[] = [
  {
    id: 1,
    sql: `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- events: a change and its event commit together; seq is the dispatch order
CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, time_nano TEXT NOT NULL, type TEXT NOT NULL, action TEXT NOT NULL, actor TEXT NOT NULL, attributes TEXT NOT NULL);

-- content: a blob is ready once its row is; ingest files without a row are rubbish at start
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, used_at INTEGER NOT NULL) WITHOUT ROWID;

-- snapshots: short ids (at most 6 characters), kind layer | active | init; state intent | ready | deleting
-- layers: of an active one, the JSON array of what it stands on, which keeps those; lists_root: the layer's tar names its root directory, whose mode then counts
CREATE TABLE snapshots (id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, size INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL, layers TEXT NOT NULL DEFAULT '[]', lists_root INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
-- key is a diff id (self-contained layer) or chain:<chain id> (a layer that leans on its parents)
CREATE TABLE layer_keys (key TEXT PRIMARY KEY, snapshot TEXT NOT NULL REFERENCES snapshots(id), diff_id TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX layer_keys_snapshot ON layer_keys(snapshot);
CREATE INDEX layer_keys_diff_id ON layer_keys(diff_id);
-- the init layer that suits a kind of root (keyed by the modes and owners it repeats)
CREATE TABLE init_layers (key TEXT PRIMARY KEY, snapshot TEXT NOT NULL REFERENCES snapshots(id)) WITHOUT ROWID;
-- which blob (compressed or not) holds which diff id
CREATE TABLE layer_blobs (diff_id TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, PRIMARY KEY (diff_id, digest)) WITHOUT ROWID;

-- images: id is the config's digest; layers is a JSON array of snapshot ids, lowest first
CREATE TABLE images (id TEXT PRIMARY KEY, config TEXT NOT NULL, manifest TEXT, layers TEXT NOT NULL, size INTEGER NOT NULL, parent TEXT, created INTEGER NOT NULL, last_tagged TEXT) WITHOUT ROWID;
-- every blob that belongs to an image (config, manifest, index, layers): a blob goes with its last image
CREATE TABLE image_blobs (image TEXT NOT NULL REFERENCES images(id), digest TEXT NOT NULL, PRIMARY KEY (image, digest)) WITHOUT ROWID;
CREATE INDEX image_blobs_digest ON image_blobs(digest);
-- uncompressed tar size of each layer by diff id, known once it was unpacked or packed: lets a layer be streamed into an archive without making its tar twice
CREATE TABLE layer_tars (diff_id TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
-- name is a full reference (docker.io/library/x:y or …@sha256:…), kind tag | digest, target the digest of the manifest it names, if known
CREATE TABLE image_refs (name TEXT PRIMARY KEY, kind TEXT NOT NULL, image TEXT NOT NULL REFERENCES images(id), target TEXT) WITHOUT ROWID;
CREATE INDEX image_refs_image ON image_refs(image);
-- where a blob is known to exist in a registry: enables cross-repository mounts
CREATE TABLE blob_sources (digest TEXT NOT NULL, repository TEXT NOT NULL, PRIMARY KEY (digest, repository)) WITHOUT ROWID;
-- build cache: key of (parent, instruction) to the images it gave
CREATE TABLE build_cache (key TEXT NOT NULL, image TEXT NOT NULL, used_at INTEGER NOT NULL, PRIMARY KEY (key, image)) WITHOUT ROWID;
-- snapshots of builds under way: what is here at start has no owner
CREATE TABLE build_snapshots (snapshot TEXT PRIMARY KEY) WITHOUT ROWID;

-- containers: phase intent | ready | deleting is the row's life on disk; the rest is in the document
CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT UNIQUE, phase TEXT NOT NULL, image TEXT, snapshot TEXT, record TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX containers_image ON containers(image);
CREATE TABLE container_volumes (container TEXT NOT NULL, volume TEXT NOT NULL, PRIMARY KEY (container, volume)) WITHOUT ROWID;

CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE endpoints (id TEXT PRIMARY KEY, network TEXT NOT NULL REFERENCES networks(id), container TEXT NOT NULL, ipv4 TEXT, ipv6 TEXT, record TEXT NOT NULL, UNIQUE (network, ipv4), UNIQUE (network, ipv6), UNIQUE (network, container)) WITHOUT ROWID;
CREATE TABLE published_ports (proto TEXT NOT NULL, host_ip TEXT NOT NULL, host_port INTEGER NOT NULL, container TEXT NOT NULL, container_ip TEXT NOT NULL, container_port INTEGER NOT NULL, PRIMARY KEY (proto, host_ip, host_port)) WITHOUT ROWID;
-- ports on 127.0.0.11 inside a container on which its resolver answers: rules in there lead to them, so a restarted engine takes them again
CREATE TABLE resolvers (container TEXT PRIMARY KEY, udp INTEGER NOT NULL, tcp INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE volumes (name TEXT PRIMARY KEY, driver TEXT NOT NULL, record TEXT NOT NULL, phase TEXT NOT NULL) WITHOUT ROWID;
`,
  },
  {
    id: 2,
    sql: `
-- which of an index's manifests are here, and as which image: a name that stands for the index (image_refs.target) stands for all of them;
-- image_refs.image is the one that is meant where nobody says a platform
CREATE TABLE index_members (idx TEXT NOT NULL, manifest TEXT NOT NULL, image TEXT NOT NULL REFERENCES images(id), PRIMARY KEY (idx, manifest)) WITHOUT ROWID;
CREATE INDEX index_members_image ON index_members(image);
CREATE INDEX image_refs_target ON image_refs(target);
ALTER TABLE images DROP COLUMN size;
`,
  },
  { id: 3, sql: registryTables },
  {
    id: 4,
    sql: `
ALTER TABLE build_cache ADD COLUMN uses INTEGER NOT NULL DEFAULT 1;
-- unix milliseconds of the last use of an image (a container or build made from it, a pull, load or tag of it), to the minute; no row: its creation here counts
CREATE TABLE image_uses (image TEXT PRIMARY KEY, used_at INTEGER NOT NULL) WITHOUT ROWID;
`,
  },
  // an endpoint's record says which ports it has
  { id: 5, sql: "DROP TABLE published_ports;" },
  // who referred to a volume without naming it takes it along when it goes; for rows from before, the volume's own record tells
  { id: 6, sql: "ALTER TABLE container_volumes ADD COLUMN unnamed INTEGER NOT NULL DEFAULT 1;" },
  {
    id: 7,
    sql: `
-- endpoints that a plugin (of a network, or of its addresses) may know and no container has: being made, or being given back
CREATE TABLE plugin_endpoints (id TEXT PRIMARY KEY, network TEXT NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
`,
  },
  {
    id: 8,
    sql: `
-- what stands behind an image's config (tens of kilobytes) in its row is read from here without it
CREATE INDEX images_layers ON images(id, layers);
CREATE INDEX images_parent ON images(parent);
`,
  },
  { id: 9, sql: `CREATE INDEX images_facts ON images(id, layers, manifest, parent, ${imageFacts});` },
  // who uses a volume is asked of each of thousands
  { id: 10, sql: "CREATE INDEX container_volumes_volume ON container_volumes(volume);" },
];
