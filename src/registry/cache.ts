import type { ArrivingFile, ContentStore } from "../content/types.ts";
import type { RegistryClient, RemoteRepository } from "../distribution/types.ts";
import { kindOf, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { KeyedMutex } from "../lib/mutex.ts";
import { nextTurn } from "../lib/turns.ts";
import type { Digest } from "../oci/digest.ts";
import { isDigestOf } from "./arriving.ts";
import { Fault } from "./faults.ts";
import { readManifest } from "./manifests.ts";
import type { Records } from "./records.ts";
import { createUpstreams, type Upstream } from "./upstreams.ts";

export interface CacheConfig {
  upstreams: readonly Upstream[];
  /** Milliseconds for which a tag is believed. */
  revalidate: number;
  /** Most bytes of copies; undefined: no limit. */
  maxSize?: number;
}

/** A blob on its way here. */
export interface Fetching {
  file: ArrivingFile;
  /** Once it is checked and stored. */
  done: Promise<void>;
}

/** Copies of other registries' repositories, made when somebody asks. */
export interface Cache {
  /** The registry that the repository is a copy of; undefined for the registry's own. */
  registryOf(repository: string): string | undefined;
  /** Sees to it that a manifest is here, and that a tag is as new as promised. Resolves to true where the upstream couldn't be asked whether it is. @throws Fault */
  manifest(repository: string, version: { tag?: string; digest?: Digest }): Promise<boolean>;
  /** Bytes of a blob that some manifest here names. @throws Fault BLOB_UNKNOWN */
  size(repository: string, digest: Digest): number;
  /** Begins to fetch a blob, or joins who does; undefined where it is here. @throws Fault */
  blob(repository: string, digest: Digest): Promise<Fetching | undefined>;
  /** All tags, as the upstream tells them; undefined where it can't be asked. */
  tags(repository: string): Promise<string[] | undefined>;
  /** Removes what was used longest ago until the copies keep to their size. */
  evict(): Promise<number>;
  configure(config: CacheConfig): void;
  figures(): { hits: number; misses: number; received: number; evicted: number };
}

const evictPage = 500;
/** Copies may be over their size by one in so many. */
const tolerance = 100;

export function createCache(deps: {
  content: ContentStore;
  records: Records;
  digests: KeyedMutex;
  release: (digest: Digest) => Promise<void>;
  client: Pick<RegistryClient, "repository">;
  config: CacheConfig;
  log: Logger;
}): Cache {
  const { content, records, digests, release, client, log } = deps;
  let config = deps.config;
  let upstreams = createUpstreams(config.upstreams, client);
  const asking = new Map<string, Promise<boolean>>();
  const fetching = new Map<Digest, Promise<Fetching>>();
  /** Bytes that came since their sum was taken, which looks at all of them. */
  let sinceLook = 0;
  const isWorthALook = (): boolean => config.maxSize !== undefined && sinceLook > config.maxSize / tolerance;
  const figures = { hits: 0, misses: 0, received: 0, evicted: 0 };

  const remoteOf = (repository: string): RemoteRepository => upstreams.of(repository)!;

  const store = async (repository: string, version: string, tag: string | undefined): Promise<void> => {
    const { bytes, descriptor } = await remoteOf(repository).manifest(version);
    const { digest, mediaType } = descriptor;
    const { row, blobs, manifests } = readManifest(bytes, digest, mediaType);
    await digests.run(digest, async () => {
      using _held = records.hold(digest);
      await content.put(bytes, digest);
      records.putManifest(repository, row, { links: [...blobs, ...manifests], tags: tag === undefined ? [] : [tag], now: Date.now() });
    });
    figures.misses++;
    figures.received += bytes.length;
  };

  const byTag = async (repository: string, tag: string): Promise<boolean> => {
    const known = records.tagAge(repository, tag);
    const isHere = known !== undefined && content.info(known.digest) !== undefined;
    if (isHere && known.checkedAt > Date.now() - config.revalidate) {
      figures.hits++;
      return false;
    }
    try {
      // A HEAD doesn't count as a pull where pulls are counted.
      const now = isHere ? (await remoteOf(repository).head(tag))?.digest : undefined;
      if (isHere && now === known.digest) {
        records.checkedTag(repository, tag, Date.now());
        figures.hits++;
      } else {
        await store(repository, tag, tag);
      }
      return false;
    } catch (error) {
      if (kindOf(error) === "notFound") {
        records.removeTag(repository, tag);
        throw new Fault("MANIFEST_UNKNOWN", "manifest unknown", { detail: { name: repository, reference: tag } });
      }
      if (!isHere) throw toUpstreamFault(error);
      log.warn("a tag couldn't be compared with its registry's; the copy is served", { repository, tag, error });
      return true;
    }
  };

  const byDigest = async (repository: string, digest: Digest): Promise<boolean> => {
    if (records.manifest(repository, digest) !== undefined && content.info(digest) !== undefined) {
      figures.hits++;
      return false;
    }
    await store(repository, digest, undefined).catch((error: unknown) => {
      throw kindOf(error) === "notFound"
        ? new Fault("MANIFEST_UNKNOWN", "manifest unknown", { detail: { name: repository, reference: digest } })
        : toUpstreamFault(error);
    });
    return false;
  };

  /** One question for all who ask it at the same time. */
  const manifest: Cache["manifest"] = (repository, { tag, digest }) => {
    const key = `${repository}@${tag ?? digest!}`;
    const running = asking.get(key) ?? (tag === undefined ? byDigest(repository, digest!) : byTag(repository, tag)).finally(() => asking.delete(key));
    asking.set(key, running);
    return running;
  };

  const size: Cache["size"] = (repository, digest) => {
    const bytes = records.blob(repository, digest) ?? records.linkSize(repository, digest);
    if (bytes === undefined) throw new Fault("BLOB_UNKNOWN", "blob unknown to registry", { detail: digest });
    return bytes;
  };

  /** Fetches, hashes meanwhile, and stores what is right. What a broken connection left serves the next try. */
  const fetchBlob = async (repository: string, digest: Digest, bytes: number): Promise<Fetching> => {
    const download = await content.download({ digest, size: bytes });
    const file = download.arriving();
    const work = async (): Promise<void> => {
      await using _download = download;
      const checking = isDigestOf(file, digest);
      checking.catch(() => undefined);
      download.keep();
      await remoteOf(repository).download({ mediaType: "application/octet-stream", digest, size: bytes }, download);
      if (!(await checking)) {
        await download.clear();
        throw new Fault("UNKNOWN", `${upstreams.registryOf(repository)} sent other bytes than those of ${digest}`, { status: 502 });
      }
      await digests.run(digest, async () => {
        using _held = records.hold(digest);
        await content.publish([download]);
        records.addBlob(repository, digest, bytes, Date.now());
      });
      figures.received += bytes;
      sinceLook += bytes;
    };
    const done = work().finally(() => fetching.delete(digest));
    done.then(
      () => void (isWorthALook() ? evict() : Promise.resolve()).catch((error: unknown) => log.error("copies couldn't be evicted", { error })),
      (error: unknown) => log.warn("a blob couldn't be fetched", { repository, digest, error }),
    );
    return { file, done };
  };

  const blob: Cache["blob"] = async (repository, digest) => {
    const bytes = size(repository, digest);
    if (content.info(digest) !== undefined) {
      figures.hits++;
      if (records.blob(repository, digest) === undefined) records.addBlob(repository, digest, bytes, Date.now());
      return undefined;
    }
    const running = fetching.get(digest);
    if (running === undefined) figures.misses++;
    const found = running ?? fetchBlob(repository, digest, bytes);
    fetching.set(digest, found);
    found.catch(() => fetching.delete(digest));
    const { file, done } = await found;
    return { file, done: done.then(() => void (records.blob(repository, digest) ?? records.addBlob(repository, digest, bytes, Date.now()))) };
  };

  const evict: Cache["evict"] = async () => {
    sinceLook = 0;
    let evicted = 0;
    const { maxSize } = config;
    if (maxSize === undefined) return 0;
    for (let over = records.bytesBelow(upstreams.prefixes) - maxSize; over > 0; await nextTurn()) {
      const page = records.leastUsed(upstreams.prefixes, evictPage);
      if (page.length === 0) break;
      for (const { kind, repository, digest, size: bytes } of page) {
        if (over <= 0) break;
        if (kind === "blob") records.removeBlob(repository, digest);
        else records.removeManifest(repository, digest);
        await release(digest);
        over -= bytes;
        evicted++;
      }
    }
    figures.evicted += evicted;
    if (evicted > 0) log.info("copies that were used longest ago made room", { evicted });
    return evicted;
  };

  return {
    registryOf: (repository) => upstreams.registryOf(repository),
    manifest,
    size,
    blob,
    tags: async (repository) => {
      try {
        return (await remoteOf(repository).tags()).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      } catch (error) {
        if (kindOf(error) === "notFound") throw new Fault("NAME_UNKNOWN", "repository name not known to registry", { detail: { name: repository } });
        log.warn("tags couldn't be asked for; those of the copies are told", { repository, error });
        return undefined;
      }
    },
    evict,
    configure: (next) => {
      config = next;
      upstreams = createUpstreams(next.upstreams, client);
    },
    figures: () => ({ ...figures }),
  };
}

/** What the upstream answered, so that the client doesn't take it for this registry's own: a 401 would make it ask here for a password. */
function toUpstreamFault(error: unknown): Fault {
  if (error instanceof Fault) return error;
  const message = `the registry that this is a copy of: ${messageOf(error)}`;
  const { status, retryAfter } = error as { status?: number; retryAfter?: number };
  if (status === 429) return new Fault("TOOMANYREQUESTS", message, retryAfter === undefined ? {} : { headers: { "retry-after": String(retryAfter) } });
  const kind = kindOf(error);
  if (kind === "unauthorized" || kind === "permissionDenied") return new Fault("DENIED", message);
  return new Fault("UNAVAILABLE", message, { status: 502 });
}
