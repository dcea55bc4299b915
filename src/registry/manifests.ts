import type { ContentStore } from "../content/types.ts";
import type { KeyedMutex } from "../lib/mutex.ts";
import { nextTurn } from "../lib/turns.ts";
import { algorithmOf, isDigest, type Digest } from "../oci/digest.ts";
import { mediaTypes } from "../oci/image.ts";
import type { Cache } from "./cache.ts";
import { isTag } from "../oci/reference.ts";
import { Fault } from "./faults.ts";
import { matchesEtag, readAll, type Answer, type Call } from "./http.ts";
import type { Quota } from "./quota.ts";
import type { Link, ManifestRow, Records } from "./records.ts";

/** distribution-spec, "Pushing Manifests": registries should take 4 MiB at least. */
const maxManifestSize = 4 * 1024 * 1024;
const maxReferences = 10_000;
const maxTags = 100;
/** One go of the hasher: about 0.6 ms of the loop. */
const hashSlice = 512 << 10;

interface Deps {
  content: ContentStore;
  records: Records;
  cache: Cache;
  digests: KeyedMutex;
  quota: Quota;
  /** Deletes bytes that nothing uses any more. */
  release: (digest: Digest) => Promise<void>;
}

interface Target {
  name: string;
  tag?: string;
  digest?: Digest;
}

/** GET and HEAD. */
export async function getManifest({ content, records, cache }: Deps, { name, tag, digest }: Target, call: Call): Promise<Answer> {
  const isCopy = cache.registryOf(name) !== undefined;
  const isStale = isCopy && (await cache.manifest(name, { ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) }));
  const found = digest ?? records.tagged(name, tag!);
  const row = found === undefined ? undefined : records.manifest(name, found);
  if (row === undefined) throw unknownManifest(name, tag ?? digest!);
  const etag = `"${row.digest}"`;
  if (isCopy) records.touchManifest(name, row.digest, Date.now());
  // RFC 7234, 5.5.1
  const headers = { "docker-content-digest": row.digest, etag, "content-type": row.mediaType, ...(isStale && { warning: '110 - "Response is Stale"' }) };
  if (matchesEtag(call.headers.get("if-none-match"), etag)) return { status: 304, headers };
  return { status: 200, headers, body: await content.bytes(row.digest, maxManifestSize) };
}

/** Stores a manifest whose blobs are all here. */
export async function putManifest({ content, records, digests, quota }: Deps, { name, tag, digest: wanted }: Target, call: Call): Promise<Answer> {
  const tags = tag === undefined ? tagsOf(call) : [tag];
  const bytes = await readAll(call, maxManifestSize);
  const digest = await digestInSlices(bytes, wanted === undefined ? "sha256" : algorithmOf(wanted));
  if (wanted !== undefined && wanted !== digest) throw new Fault("DIGEST_INVALID", "provided digest did not match uploaded content", { detail: digest });
  const contentType = call.headers.get("content-type")?.split(";", 1)[0]!.trim();
  const { row, blobs, manifests } = readManifest(bytes, digest, contentType);
  /** What is named must be there at the moment in which the manifest's own row begins to keep it. */
  const check = (): void => {
    for (const [kind, links] of [
      ["blob", blobs],
      ["manifest", manifests],
    ] as const) {
      const digests = links.map((link) => link.digest);
      const missing = records.missing(kind, name, digests);
      if (missing !== undefined) throw new Fault("MANIFEST_BLOB_UNKNOWN", `${kind} unknown to registry`, { detail: { digest: missing } });
    }
  };
  check();
  using reservation = quota.reserve(name);
  if (records.manifest(name, digest) === undefined) reservation.grow(bytes.length);
  await digests.run(digest, async () => {
    using _held = records.hold(digest);
    await content.put(bytes, digest);
    records.putManifest(name, row, { links: [...blobs, ...manifests], tags, now: Date.now(), check });
  });
  return {
    status: 201,
    headers: {
      location: `/v2/${name}/manifests/${digest}`,
      "docker-content-digest": digest,
      ...(row.subject !== undefined && { "oci-subject": row.subject }),
      ...(tag === undefined && tags.length > 0 && { "oci-tag": tags.join(", ") }),
    },
  };
}

/** Tags that a push by digest sets along with it (distribution-spec 1.2: end-7b). */
function tagsOf({ query }: Call): string[] {
  const tags = query.getAll("tag");
  const bad = tags.find((each) => !isTag(each));
  if (bad !== undefined) throw new Fault("TAG_INVALID", "invalid tag name", { detail: bad.slice(0, 256) });
  if (tags.length > maxTags) throw new Fault("TAG_INVALID", `${maxTags} tags at most are set at once`, { status: 414 });
  return tags;
}

/** A tag alone, or a manifest with its tags. */
export async function deleteManifest(deps: Deps, { name, tag, digest }: Target): Promise<Answer> {
  const { records } = deps;
  if (tag !== undefined) {
    if (!records.removeTag(name, tag)) throw unknownManifest(name, tag);
    return { status: 202 };
  }
  if (!records.removeManifest(name, digest!)) throw unknownManifest(name, digest!);
  await deps.release(digest!);
  return { status: 202 };
}

/** What points at `digest` by its `subject`, as an index. */
export function listReferrers({ records }: Deps, name: string, digest: Digest, call: Call): Answer {
  const wanted = call.query.get("artifactType");
  const rows = records.referrers(name, digest).filter(({ artifactType }) => wanted === null || artifactType === wanted);
  const manifests = rows.map((row) => ({
    mediaType: row.mediaType,
    digest: row.digest,
    size: row.size,
    ...(row.artifactType !== undefined && { artifactType: row.artifactType }),
    ...(row.annotations !== undefined && { annotations: row.annotations }),
  }));
  return {
    status: 200,
    headers: { "content-type": mediaTypes.ociIndex, ...(wanted !== null && { "oci-filters-applied": "artifactType" }) },
    body: JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }),
  };
}

function unknownManifest(name: string, version: string): Fault {
  return new Fault("MANIFEST_UNKNOWN", "manifest unknown", { detail: { name, reference: version } });
}

/** A large manifest is hashed with pauses, in which others get their turn. */
async function digestInSlices(bytes: Uint8Array, algorithm: "sha256" | "sha512"): Promise<Digest> {
  const hasher = new Bun.CryptoHasher(algorithm);
  for (let at = 0; at < bytes.length; at += hashSlice) {
    if (at > 0) await nextTurn();
    hasher.update(bytes.subarray(at, at + hashSlice));
  }
  if (bytes.length > hashSlice) await nextTurn();
  return `${algorithm}:${hasher.digest("hex")}` as Digest;
}

/** What a manifest refers to. Any media type is taken, since artifacts bring their own; those known must have their shape. @throws Fault */
export function readManifest(bytes: Uint8Array, digest: Digest, contentType: string | undefined): { row: ManifestRow; blobs: Link[]; manifests: Link[] } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Fault("MANIFEST_INVALID", "manifest invalid: not JSON");
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) throw new Fault("MANIFEST_INVALID", "manifest invalid: not a JSON object");
  const document = parsed as Record<string, unknown>;
  const said = typeof document.mediaType === "string" && document.mediaType !== "" ? document.mediaType : undefined;
  const mediaType = contentType ?? said;
  if (mediaType === undefined || !/^[\w.+/-]{1,255}$/.test(mediaType)) throw new Fault("MANIFEST_INVALID", "manifest invalid: no media type");
  if (said !== undefined && said !== mediaType) throw new Fault("MANIFEST_INVALID", "manifest invalid: mediaType and Content-Type differ");
  if (document.schemaVersion !== 2) throw new Fault("MANIFEST_INVALID", "manifest invalid: schemaVersion must be 2");
  const isIndex = mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerIndex;
  if (isIndex ? "layers" in document || "config" in document : "manifests" in document)
    throw new Fault("MANIFEST_INVALID", "manifest invalid: both an image and an index");
  const manifests = isIndex ? linksOf(document.manifests, "manifests") : [];
  const blobs = isIndex ? [] : [...linksOf([document.config], "config"), ...linksOf(document.layers, "layers")];
  const subject = document.subject === undefined ? undefined : linksOf([document.subject], "subject")[0]?.digest;
  const config = document.config as { mediaType?: unknown } | undefined;
  const artifactType = typeof document.artifactType === "string" ? document.artifactType : config?.mediaType;
  const annotations = document.annotations;
  const row: ManifestRow = {
    digest,
    size: bytes.length,
    mediaType,
    ...(subject !== undefined && { subject }),
    ...(typeof artifactType === "string" && { artifactType }),
    ...(typeof annotations === "object" && annotations !== null && { annotations: annotations as Record<string, string> }),
  };
  return { row, blobs, manifests };
}

/** Layers with `urls` lie elsewhere: they needn't be here. */
function linksOf(list: unknown, what: string): Link[] {
  if (!Array.isArray(list) || list.length > maxReferences) throw new Fault("MANIFEST_INVALID", `manifest invalid: ${what} missing, or too many`);
  const found = new Map<Digest, Link>();
  for (const item of list as unknown[]) {
    const { digest, size, urls } = (item ?? {}) as { digest?: unknown; size?: unknown; urls?: unknown };
    if (typeof digest !== "string" || !isDigest(digest)) throw new Fault("MANIFEST_INVALID", `manifest invalid: bad digest in ${what}`);
    if (!Array.isArray(urls) || urls.length === 0) found.set(digest, { digest, size: Number.isSafeInteger(size) ? Math.max(0, size as number) : 0 });
  }
  return [...found.values()];
}
