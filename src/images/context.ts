import { readFileSync } from "node:fs";
import type { ContentStore } from "../content/types.ts";
import type { RegistryClient } from "../distribution/types.ts";
import type { Events } from "../events/types.ts";
import type { Logger } from "../lib/log.ts";
import type { Digest } from "../oci/digest.ts";
import type { Descriptor, ImageConfig, Manifest } from "../oci/image.ts";
import { familiarReference, formatReference, parseReference, repositoryOf, type Reference } from "../oci/reference.ts";
import type { SnapshotId, Snapshots } from "../snapshots/types.ts";
import type { Store } from "../store/store.ts";
import { checkedConfig } from "./shapes.ts";
import { checkMountable } from "./layers.ts";
import type { ImageContext, ImageRecord, Lease, TransferLimits } from "./types.ts";

/** Records kept in memory; a Dockerfile of thousands of lines makes as many images. */
const MOST_CACHED = 512;

interface ImageRow {
  id: Digest;
  config: string;
  manifest: string | null;
  layers: string;
  parent: Digest | null;
  last_tagged: string | null;
}

interface RefRow {
  name: string;
  kind: "tag" | "digest";
}

/** What an event tells of an image, as Docker's LogImageEvent: the labels, and the name under which it was touched. */
function attributesOf(image: ImageRecord, name: string): Record<string, string> {
  return { ...image.config.config?.Labels, name };
}

/** Records of images and references, and what keeps their content. Synchronous reads from the database, a few microseconds each. */
export function createImageContext(deps: {
  store: Store;
  content: ContentStore;
  snapshots: Snapshots;
  registry: RegistryClient;
  events: Events;
  limits: TransferLimits;
  log: Logger;
}): ImageContext {
  const { store, content, snapshots, events } = deps;
  const { db } = store;
  /** Records by id, dropped whenever something about the image changes. */
  const cache = new Map<Digest, ImageRecord>();
  const leases = new Map<string, number>();

  const selectImage = db.query<ImageRow, [string]>("SELECT id, config, manifest, layers, parent, last_tagged FROM images WHERE id = ?");
  const selectRefs = db.query<RefRow, [string]>("SELECT name, kind FROM image_refs WHERE image = ? ORDER BY name");
  const selectByName = db.query<{ image: Digest }, [string]>("SELECT image FROM image_refs WHERE name = ?");
  const selectBlobImages = db.query<{ image: Digest }, [string]>("SELECT image FROM image_blobs WHERE digest = ? LIMIT 1");

  const byId = (id: Digest): ImageRecord | undefined => {
    const known = cache.get(id);
    if (known !== undefined) return known;
    const row = selectImage.get(id);
    if (row === null) return undefined;
    const refs = selectRefs.all(id);
    const familiar = (kind: RefRow["kind"]): string[] => refs.filter((ref) => ref.kind === kind).map((ref) => familiarReference(parseReference(ref.name)));
    const layers = JSON.parse(row.layers) as SnapshotId[];
    const record: ImageRecord = {
      id,
      layers,
      config: JSON.parse(row.config) as ImageConfig,
      size: layers.reduce((sum, layer) => sum + snapshots.size(layer), 0),
      repoTags: familiar("tag"),
      repoDigests: familiar("digest"),
    };
    if (row.manifest !== null) record.manifest = JSON.parse(row.manifest) as Descriptor;
    if (row.parent !== null) record.parent = row.parent;
    if (row.last_tagged !== null) record.lastTagged = BigInt(row.last_tagged);
    if (cache.size >= MOST_CACHED) cache.delete(cache.keys().next().value!);
    cache.set(id, record);
    return record;
  };

  /** Which blobs the manifest names; its bytes are small and just came in. */
  const manifestOf = (descriptor: Descriptor): Manifest => JSON.parse(readFileSync(content.path(descriptor.digest), "utf8")) as Manifest;

  const register: ImageContext["register"] = (image, references = []) => {
    const { id, layers, manifest, parent, layerBlobs = [] } = image;
    const config = checkedConfig(image.config, `image ${id}`);
    checkMountable(`image ${id}`, layers.length);
    const diffIds = config.rootfs.diff_ids;
    const held = new Set<Digest>([id, ...layerBlobs.map((blob) => blob.digest)]);
    const blobs = [...layerBlobs];
    if (manifest !== undefined) {
      held.add(manifest.digest);
      for (const [i, layer] of manifestOf(manifest).layers.entries()) {
        held.add(layer.digest);
        if (diffIds[i] !== undefined) blobs.push({ diffId: diffIds[i], digest: layer.digest, mediaType: layer.mediaType });
      }
    }
    for (const { digest } of references) if (digest !== undefined) held.add(digest);
    store.tx(() => {
      db.query(
        `INSERT INTO images (id, config, manifest, layers, size, parent, created) VALUES (?, ?, ?, ?, 0, ?, ?)
         ON CONFLICT (id) DO UPDATE SET manifest = coalesce(images.manifest, excluded.manifest), parent = coalesce(images.parent, excluded.parent)`,
      ).run(id, JSON.stringify(config), manifest === undefined ? null : JSON.stringify(manifest), JSON.stringify(layers), parent ?? null, Date.now());
      for (const digest of held) {
        if (content.info(digest) !== undefined) db.query("INSERT INTO image_blobs (image, digest) VALUES (?, ?) ON CONFLICT DO NOTHING").run(id, digest);
      }
      for (const { diffId, digest, mediaType } of blobs) {
        if (content.info(digest) !== undefined) {
          db.query("INSERT INTO layer_blobs (diff_id, digest, media_type) VALUES (?, ?, ?) ON CONFLICT DO NOTHING").run(diffId, digest, mediaType);
        }
      }
      for (const reference of references) setReference(reference, id);
    });
    cache.delete(id);
    return byId(id)!;
  };

  /** A name with a digest is a repository digest, whatever its tag; one with a tag alone is a tag. */
  const nameOf = (reference: Reference): { name: string; kind: RefRow["kind"] } =>
    reference.digest === undefined
      ? { name: formatReference(reference), kind: "tag" }
      : { name: `${repositoryOf(reference)}@${reference.digest}`, kind: "digest" };

  const setReference = (reference: Reference, image: Digest): void => {
    const { name, kind } = nameOf(reference);
    const before = selectByName.get(name)?.image;
    db.query(
      "INSERT INTO image_refs (name, kind, image, target) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET image = excluded.image, target = excluded.target",
    ).run(name, kind, image, reference.digest ?? null);
    if (kind === "tag") db.query("UPDATE images SET last_tagged = ? WHERE id = ?").run(String(BigInt(Date.now()) * 1_000_000n), image);
    if (before !== undefined) cache.delete(before);
    cache.delete(image);
  };

  const collectBlobs: ImageContext["collectBlobs"] = async (digests) => {
    for (const digest of digests) {
      if (leases.has(digest) || selectBlobImages.get(digest) !== null || content.info(digest) === undefined) continue;
      db.query("DELETE FROM layer_blobs WHERE digest = ?").run(digest);
      db.query("DELETE FROM blob_sources WHERE digest = ?").run(digest);
      await content.remove(digest);
    }
  };

  const layersOfImages = (): Set<SnapshotId> => {
    const used = new Set<SnapshotId>();
    for (const { layers } of db.query<{ layers: string }, []>("SELECT layers FROM images").all()) {
      for (const layer of JSON.parse(layers) as SnapshotId[]) used.add(layer);
    }
    return used;
  };

  const collectLayers: ImageContext["collectLayers"] = async (ids) => {
    const kept = layersOfImages().union(snapshots.layersInUse());
    const gone = [...new Set(ids)].filter((id) => !kept.has(id) && !leases.has(id));
    await snapshots.remove(...gone);
    return gone;
  };

  return {
    ...deps,
    byId,
    register,
    collectBlobs,
    collectLayers,
    byReference: (reference) => {
      const row = selectByName.get(nameOf(reference).name);
      return row === null ? undefined : byId(row.image);
    },
    tagsOf: (repository) => {
      const prefix = `${repositoryOf(repository)}:`;
      const rows = db.query<{ name: string }, [string, string]>("SELECT name FROM image_refs WHERE kind = 'tag' AND name >= ? AND name < ? ORDER BY name");
      return rows.all(prefix, `${prefix.slice(0, -1)};`).map((row) => parseReference(row.name));
    },
    lease: () => createLease(leases),
    layerBlobs: (diffId) =>
      db
        .query<{ digest: Digest; mediaType: string }, [string]>("SELECT digest, media_type AS mediaType FROM layer_blobs WHERE diff_id = ?")
        .all(diffId)
        .filter(({ digest }) => content.info(digest) !== undefined),
    childrenOf: (id) =>
      db
        .query<{ id: Digest }, [string]>("SELECT id FROM images WHERE parent = ?")
        .all(id)
        .map((row) => row.id),
    dropReference: (reference) => {
      const { name } = nameOf(reference);
      const before = selectByName.get(name)?.image;
      db.query("DELETE FROM image_refs WHERE name = ?").run(name);
      if (before !== undefined) cache.delete(before);
    },
    deleteImage: async (id) => {
      const image = byId(id);
      if (image === undefined) return [];
      const blobs = db
        .query<{ digest: Digest }, [string]>("SELECT digest FROM image_blobs WHERE image = ?")
        .all(id)
        .map((row) => row.digest);
      store.tx(() => {
        for (const table of ["image_refs", "image_blobs", "build_cache"]) db.query(`DELETE FROM ${table} WHERE image = ?`).run(id);
        db.query("UPDATE images SET parent = NULL WHERE parent = ?").run(id);
        db.query("DELETE FROM images WHERE id = ?").run(id);
        events.emit("image", "delete", id, attributesOf(image, id));
      });
      cache.clear();
      await collectBlobs(blobs);
      return await collectLayers(image.layers);
    },
    all: () =>
      db
        .query<{ id: Digest }, []>("SELECT id FROM images")
        .all()
        .map(({ id }) => byId(id)!),
    emit: (action, image, name) => events.emit("image", action, image.id, attributesOf(image, name)),
  };
}

function createLease(leases: Map<string, number>): Lease {
  const held = new Set<string>();
  return {
    add: (resource) => {
      if (held.has(resource)) return;
      held.add(resource);
      leases.set(resource, (leases.get(resource) ?? 0) + 1);
    },
    [Symbol.dispose]: () => {
      for (const resource of held) {
        const count = leases.get(resource)! - 1;
        if (count === 0) leases.delete(resource);
        else leases.set(resource, count);
      }
      held.clear();
    },
  };
}
