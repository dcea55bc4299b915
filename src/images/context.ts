import { readFileSync } from "node:fs";
import type { ContentStore } from "../content/types.ts";
import type { RegistryClient } from "../distribution/types.ts";
import type { Events } from "../events/types.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { WeighedMap } from "../lib/weighed-map.ts";
import type { Digest } from "../oci/digest.ts";
import { mediaTypes, type Descriptor, type HistoryEntry, type ImageConfig, type Index, type Manifest, type Platform } from "../oci/image.ts";
import { hostPlatform, platformOf, platformRank, selectPlatform } from "../oci/platform.ts";
import { familiarReference, formatReference, parseReference, repositoryOf, type Reference } from "../oci/reference.ts";
import type { SnapshotId, Snapshots } from "../snapshots/types.ts";
import { parseRecord } from "../store/damage.ts";
import { imageFacts } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import { checkedConfig } from "./shapes.ts";
import { createLastUses } from "./last-use.ts";
import { checkMountable } from "./layers.ts";
import type { ImageContext, ImageEntry, ImageFacts, ImageRecord, Lease, TransferLimits } from "./types.ts";

/** Configs kept in memory, in characters of JSON: a Dockerfile of thousands of lines makes as many images, each with a longer one. */
const MOST_CONFIGS = 4 << 20;
/** What lists need of images, in characters: of most images a kilobyte or two. */
const MOST_ENTRIES = 8 << 20;
const MOST_DESCRIPTORS = 4096;

interface EntryRow {
  manifest: string | null;
  layers: string;
  parent: Digest | null;
  facts: string | null;
}

interface ConfigRow {
  config: string;
  last_tagged: string | null;
}

/** As the store keeps them (schema.ts): what a config doesn't have is null. */
interface FactsRow {
  created: string | null;
  labels: Record<string, string> | null;
  os: string | null;
  architecture: string | null;
  variant: string | null;
  step: HistoryEntry | null;
}

interface RefRow {
  name: string;
  kind: "tag" | "digest";
  image: Digest;
  target: Digest | null;
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
  const { store, content, snapshots, events, log } = deps;
  const { db } = store;
  /** By id, dropped whenever something about the image changes. */
  const entries = new WeighedMap<Digest, ImageEntry>(MOST_ENTRIES);
  const records = new WeighedMap<Digest, ImageRecord>(MOST_CONFIGS);
  let revision = 0;
  /** Those whose rows can't be read, until they are written anew; so that each is told once. */
  const damaged = new Set<Digest>();
  /** Of manifests and indexes, which never change. */
  const descriptors = new WeighedMap<Digest, Descriptor>(MOST_DESCRIPTORS);
  const leases = new Map<string, number>();
  const lastUses = createLastUses(store);

  const selectEntry = db.query<EntryRow, [string]>(`SELECT manifest, layers, parent, ${imageFacts} AS facts FROM images INDEXED BY images_facts WHERE id = ?`);
  const selectConfig = db.query<ConfigRow, [string]>("SELECT config, last_tagged FROM images WHERE id = ?");
  const selectRefs = db.query<RefRow, [string]>(
    "SELECT name, kind, image, target FROM image_refs WHERE image = ?1 OR target IN (SELECT idx FROM index_members WHERE image = ?1) ORDER BY name",
  );
  const selectByName = db.query<{ image: Digest; target: Digest | null }, [string]>("SELECT image, target FROM image_refs WHERE name = ?");
  const selectIndexes = db.query<{ idx: Digest }, [string]>("SELECT DISTINCT idx FROM index_members WHERE image = ?");
  const selectMembers = db.query<{ manifest: Digest; image: Digest }, [string]>("SELECT manifest, image FROM index_members WHERE idx = ?");

  /** undefined, and told in the log, for a name that is no name any more. */
  const familiarName = (name: string): string | undefined => {
    try {
      return familiarReference(parseReference(name));
    } catch (error) {
      log.error(`the record of the image name ${JSON.stringify(name)} can't be read; the engine goes on without it`, { error: messageOf(error) });
      return undefined;
    }
  };

  const drop = (id: Digest): void => {
    revision++;
    entries.delete(id);
    records.delete(id);
  };

  /** Of a config that is no JSON, as of one that is nested deeper than SQLite reads, there are none in the row. */
  const factsOf = (id: Digest, facts: string | null): ImageFacts | undefined => {
    if (facts === null) {
      const config = parseRecord<ImageConfig>(selectConfig.get(id)!.config, `image ${id}`, log);
      return config === undefined
        ? undefined
        : { created: config.created, labels: config.config?.Labels ?? null, platform: platformOf(config), step: config.history?.at(-1) };
    }
    const { created, labels, os, architecture, variant, step } = JSON.parse(facts) as FactsRow;
    const platform = { os: os ?? undefined, architecture: architecture ?? undefined, variant: variant ?? undefined } as Platform;
    return { created: created ?? undefined, labels, platform: platformOf(platform), step: step ?? undefined };
  };

  const entry = (id: Digest): ImageEntry | undefined => {
    const known = entries.get(id);
    if (known !== undefined) return known;
    const row = damaged.has(id) ? null : selectEntry.get(id);
    if (row === null) return undefined;
    const layers = parseRecord<SnapshotId[]>(row.layers, `image ${id}`, log);
    const facts = layers && factsOf(id, row.facts);
    if (layers === undefined || facts === undefined) {
      damaged.add(id);
      return undefined;
    }
    const refs = selectRefs.all(id).flatMap((ref) => {
      const shown = familiarName(ref.name);
      return shown === undefined ? [] : [{ ...ref, shown }];
    });
    const indexes = new Set(selectIndexes.all(id).map(({ idx }) => idx));
    const targets = new Set(refs.flatMap((ref) => (ref.image === id && ref.target !== null ? [ref.target] : [])));
    const familiar = (kind: RefRow["kind"], own: boolean): string[] =>
      refs.filter((ref) => ref.kind === kind && (ref.image === id) === own).map((ref) => ref.shown);
    const found: ImageEntry = {
      id,
      facts,
      layers,
      size: layers.reduce((sum, layer) => sum + snapshots.size(layer), 0),
      repoTags: familiar("tag", true),
      repoDigests: familiar("digest", true),
      targets: [...targets],
      indexes: [...targets.intersection(indexes)],
      variantOf: { tags: familiar("tag", false), digests: familiar("digest", false) },
    };
    const manifest = row.manifest === null ? undefined : parseRecord<Descriptor>(row.manifest, `the manifest of image ${id}`, log);
    if (manifest !== undefined) found.manifest = manifest;
    if (row.parent !== null) found.parent = row.parent;
    entries.set(id, found, row.layers.length + (row.facts?.length ?? 0));
    return found;
  };

  const byId = (id: Digest): ImageRecord | undefined => {
    const known = records.get(id);
    if (known !== undefined) return known;
    const found = entry(id);
    if (found === undefined) return undefined;
    const row = selectConfig.get(id)!;
    const config = parseRecord<ImageConfig>(row.config, `image ${id}`, log);
    if (config === undefined) {
      damaged.add(id);
      drop(id);
      return undefined;
    }
    const record: ImageRecord = { ...found, config };
    if (row.last_tagged !== null) record.lastTagged = BigInt(row.last_tagged);
    records.set(id, record, row.config.length);
    return record;
  };

  /** Which blobs the manifest names; its bytes are small and just came in. */
  const manifestOf = (descriptor: Descriptor): Manifest => JSON.parse(readFileSync(content.path(descriptor.digest), "utf8")) as Manifest;

  const register: ImageContext["register"] = (image, references = []) => {
    const { id, layers, manifest, parent, index, attached = [], layerBlobs = [] } = image;
    const config = checkedConfig(image.config, `image ${id}`);
    checkMountable(`image ${id}`, layers.length);
    const diffIds = config.rootfs.diff_ids;
    damaged.delete(id);
    const held = new Set<Digest>([id, ...layerBlobs.map((blob) => blob.digest), ...attached]);
    if (index !== undefined) held.add(index);
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
        `INSERT INTO images (id, config, manifest, layers, parent, created) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET config = excluded.config, layers = excluded.layers,
           manifest = coalesce(images.manifest, excluded.manifest), parent = coalesce(images.parent, excluded.parent)`,
      ).run(id, JSON.stringify(config), manifest === undefined ? null : JSON.stringify(manifest), JSON.stringify(layers), parent ?? null, Date.now());
      for (const digest of held) {
        if (content.info(digest) !== undefined) db.query("INSERT INTO image_blobs (image, digest) VALUES (?, ?) ON CONFLICT DO NOTHING").run(id, digest);
      }
      for (const { diffId, digest, mediaType } of blobs) {
        if (content.info(digest) !== undefined) {
          db.query("INSERT INTO layer_blobs (diff_id, digest, media_type) VALUES (?, ?, ?) ON CONFLICT DO NOTHING").run(diffId, digest, mediaType);
        }
      }
      if (index !== undefined && manifest !== undefined) {
        db.query("INSERT INTO index_members (idx, manifest, image) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET image = excluded.image").run(
          index,
          manifest.digest,
          id,
        );
      }
      for (const reference of references) setReference(reference, id, index ?? reference.digest ?? manifest?.digest);
      if (index !== undefined) settle(index, id);
    });
    drop(id);
    lastUses.note(id);
    return byId(id)!;
  };

  /** A name with a digest is a repository digest, whatever its tag; one with a tag alone is a tag. */
  const nameOf = (reference: Reference): { name: string; kind: RefRow["kind"] } =>
    reference.digest === undefined
      ? { name: formatReference(reference), kind: "tag" }
      : { name: `${repositoryOf(reference)}@${reference.digest}`, kind: "digest" };

  const setReference = (reference: Reference, image: Digest, target: Digest | undefined): void => {
    const { name, kind } = nameOf(reference);
    forget(name);
    db.query(
      "INSERT INTO image_refs (name, kind, image, target) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET image = excluded.image, target = excluded.target",
    ).run(name, kind, image, target ?? null);
    if (kind === "tag") db.query("UPDATE images SET last_tagged = ? WHERE id = ?").run(String(BigInt(Date.now()) * 1_000_000n), image);
    drop(image);
  };

  /** Drops the records that show a name. */
  const forget = (name: string): void => {
    const row = selectByName.get(name);
    if (row === null) return;
    drop(row.image);
    if (row.target !== null) for (const { image } of selectMembers.all(row.target)) drop(image);
  };

  /** Which of an index's images its names mean: the one that suits this host best, or where none does the `last` that came. */
  const settle = (index: Digest, last?: Digest): void => {
    const members = selectMembers.all(index).map(({ image }) => image);
    for (const image of members) drop(image);
    const host = hostPlatform();
    const best = selectPlatform(
      members.flatMap((image) => entry(image) ?? []).filter(({ facts }) => platformRank(host, facts.platform) !== undefined),
      ({ facts }) => facts.platform,
      host,
    );
    const image = best?.id ?? last ?? members[0];
    if (image !== undefined) db.query("UPDATE image_refs SET image = ? WHERE target = ?").run(image, index);
    for (const each of members) drop(each);
  };

  const namedByImage = db.query<{ image: Digest }, [string]>("SELECT image FROM image_blobs WHERE digest = ? LIMIT 1");
  /** Containers do without: the image's record has its config, and its layers are unpacked. */
  const loseBlob = (digest: Digest): undefined => {
    for (const table of ["image_blobs", "layer_blobs"]) db.query(`DELETE FROM ${table} WHERE digest = ?`).run(digest);
    db.query("UPDATE images SET manifest = NULL WHERE manifest ->> 'digest' = ?").run(digest);
    descriptors.delete(digest);
    revision++;
    entries.clear();
    records.clear();
  };
  content.addOwner((digest) => leases.has(digest) || namedByImage.get(digest) !== null, loseBlob);
  const blobsOf = (id: Digest): Digest[] =>
    db
      .query<{ digest: Digest }, [string]>("SELECT digest FROM image_blobs WHERE image = ?")
      .all(id)
      .map((row) => row.digest);

  const collectBlobs: ImageContext["collectBlobs"] = async (digests) => {
    const gone = await content.collect(digests);
    for (const digest of gone) for (const table of ["layer_blobs", "blob_sources"]) db.query(`DELETE FROM ${table} WHERE digest = ?`).run(digest);
    return gone;
  };

  const layersOfImages: ImageContext["layersOfImages"] = () => {
    const used = new Set<SnapshotId>();
    for (const row of db.query<{ id: Digest; layers: string }, []>("SELECT id, layers FROM images").all()) {
      const layers = entries.get(row.id)?.layers ?? parseRecord<SnapshotId[]>(row.layers, `the layers of image ${row.id}`, log);
      if (layers === undefined) return undefined;
      for (const layer of layers) used.add(layer);
    }
    return used;
  };

  const collectLayers: ImageContext["collectLayers"] = async (ids) => {
    const ofImages = layersOfImages();
    if (ofImages === undefined) return [];
    const kept = ofImages.union(snapshots.layersInUse());
    const gone = [...new Set(ids)].filter((id) => !kept.has(id) && !leases.has(id));
    await snapshots.remove(...gone);
    return gone;
  };

  return {
    ...deps,
    byId,
    entry,
    ids: () =>
      db
        .query<{ id: Digest }, []>("SELECT id FROM images")
        .all()
        .map(({ id }) => id),
    get revision() {
      return revision;
    },
    count: () => db.query<{ count: number }, []>("SELECT count(*) AS count FROM images").get()!.count - damaged.size,
    untaggedMembers: () =>
      db
        .query<{ image: Digest }, []>("SELECT DISTINCT image FROM index_members WHERE image NOT IN (SELECT image FROM image_refs WHERE kind = 'tag')")
        .all()
        .flatMap(({ image }) => entry(image) ?? []),
    layersOfImages,
    register,
    collectBlobs,
    collectLayers,
    byReference: (reference) => {
      const row = selectByName.get(nameOf(reference).name);
      return row === null ? undefined : byId(row.image);
    },
    describe: (digest) => {
      const known = descriptors.get(digest);
      if (known !== undefined) return known;
      const info = content.info(digest);
      if (info === undefined) return undefined;
      let document: Partial<Index>;
      try {
        document = JSON.parse(readFileSync(content.path(digest), "utf8")) as Partial<Index>;
      } catch (error) {
        log.debug("a manifest can't be read", { digest, error: messageOf(error) });
        return undefined;
      }
      const { mediaType, manifests } = document;
      const descriptor: Descriptor = { mediaType: mediaType || (manifests === undefined ? mediaTypes.ociManifest : mediaTypes.ociIndex), ...info };
      descriptors.set(digest, descriptor);
      return descriptor;
    },
    targetOf: (reference) => selectByName.get(nameOf(reference).name)?.target ?? undefined,
    membersOf: (index) => selectMembers.all(index),
    indexesOf: (image) => selectIndexes.all(image).map(({ idx }) => idx),
    tagsOf: (repository) => {
      const prefix = `${repositoryOf(repository)}:`;
      const rows = db.query<{ name: string }, [string, string]>("SELECT name FROM image_refs WHERE kind = 'tag' AND name >= ? AND name < ? ORDER BY name");
      return rows.all(prefix, `${prefix.slice(0, -1)};`).map((row) => parseReference(row.name));
    },
    lease: () => createLease(leases),
    blobsOf,
    isLeased: (resource) => leases.has(resource),
    lastUses,
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
      forget(name);
      db.query("DELETE FROM image_refs WHERE name = ?").run(name);
    },
    deleteImage: async (id) => {
      const image = byId(id);
      if (image === undefined) return [];
      const blobs = blobsOf(id);
      store.tx(() => {
        const indexes = db.query<{ idx: Digest }, [string]>("DELETE FROM index_members WHERE image = ? RETURNING idx").all(id);
        for (const { idx } of indexes) settle(idx);
        for (const table of ["image_refs", "image_blobs", "build_cache", "image_uses"]) db.query(`DELETE FROM ${table} WHERE image = ?`).run(id);
        const children = db.query<{ id: Digest }, [string]>("UPDATE images SET parent = NULL WHERE parent = ? RETURNING id").all(id);
        for (const child of children) drop(child.id);
        db.query("DELETE FROM images WHERE id = ?").run(id);
        events.emit("image", "delete", id, attributesOf(image, id));
      });
      drop(id);
      await collectBlobs(blobs);
      return await collectLayers(image.layers);
    },
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
