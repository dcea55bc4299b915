import { blobBytes } from "../distribution/blob-bytes.ts";
import type { RemoteManifest } from "../distribution/types.ts";
import { invalidArgument, kindOf, messageOf, notFound } from "../lib/errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Descriptor, Manifest, Platform } from "../oci/image.ts";
import { formatPlatform, hostPlatform, normalizePlatform, platformRank, selectPlatform } from "../oci/platform.ts";
import { attestationSubject, documentAt, isAttestation, summarize } from "./manifests.ts";
import { isSamePlatform, resolveTarget } from "./resolve.ts";
import type { Attestation, ImageContext, Images, Lease, PullSource } from "./types.ts";

/** Bytes that all attestations of one image may have to be fetched with it, and those of one statement to be read. */
const MOST_FETCHED = 64 << 20;
const MOST_STATEMENT = 16 << 20;
/** Smaller ones go by way of memory, and reach the disk together with the image. */
const MOST_IN_MEMORY = 4 << 20;
/** What an in-toto statement says, noted on the layer that holds it (moby: attestation-storage.md). */
const predicateType = "in-toto.io/predicate-type";

/**
 * What was attested of an image, as BuildKit stores it: a manifest beside the image's in the index, with a layer for each statement.
 * @throws EngineError notFound where there is no such image or platform, or where its attestations aren't here
 */
export async function imageAttestations(ctx: ImageContext, text: string, options: Parameters<Images["attestations"]>[1]): Promise<Attestation[]> {
  const { target } = resolveTarget(ctx, text);
  const index = target === undefined ? undefined : ctx.describe(target);
  if (index === undefined || (await documentAt(ctx, index.digest))?.kind !== "index") return [];
  const members = await summarize(ctx, index, []);
  const image = forPlatform(
    members.flatMap(({ kind, descriptor, platform }) => (kind === "image" && platform !== undefined ? [{ descriptor, platform }] : [])),
    options.platform,
  );
  if (image === undefined) throw notFound(`no manifest of ${text} is for platform ${formatPlatform(options.platform ?? hostPlatform())}`);
  const about = members.find(({ kind, subject }) => kind === "attestation" && subject === image.descriptor.digest);
  if (about === undefined) return [];
  if (!about.available) throw notFound(`the attestations of ${text} for ${formatPlatform(image.platform)} are not here: pull it again`);
  const { layers } = await ctx.content.json<Manifest>(about.descriptor.digest);
  const found: Attestation[] = [];
  for (const descriptor of layers) {
    const type = descriptor.annotations?.[predicateType];
    if (type === undefined || type === "" || (options.types.length > 0 && !options.types.includes(type))) continue;
    found.push({ descriptor, type, ...(options.statement ? { statement: await statementOf(ctx, descriptor) } : {}) });
  }
  return found;
}

function forPlatform<T extends { platform: Platform }>(items: readonly T[], wanted: Platform | undefined): T | undefined {
  const platform = normalizePlatform(wanted ?? hostPlatform());
  const suits = (item: T): boolean => (wanted === undefined ? platformRank(platform, item.platform) !== undefined : isSamePlatform(platform, item.platform));
  const suiting = items.filter(suits);
  return selectPlatform(suiting, (item) => item.platform, platform) ?? suiting[0];
}

async function statementOf(ctx: ImageContext, { digest }: Descriptor): Promise<unknown> {
  const bytes = await ctx.content.bytes(digest, MOST_STATEMENT);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalidArgument(`the attestation ${digest} is no JSON: ${messageOf(error)}`, error);
  }
}

/** The part of a pull that attestations take part in. */
export interface AttestedPull {
  remote: PullSource;
  lease: Lease;
  signal?: AbortSignal;
  /** Blobs that are to belong to the image. */
  attached: Digest[];
}

/**
 * Fetches what the index says was attested of a manifest. An image can be used without: whatever fails is told in the log only. `keep` stores a small blob.
 * @throws EngineError cancelled
 */
export async function fetchAttestations(
  ctx: ImageContext,
  work: AttestedPull,
  top: RemoteManifest,
  subject: Digest,
  keep: (bytes: Uint8Array, digest: Digest) => Promise<void>,
): Promise<void> {
  if (top.document.kind !== "index") return;
  const options = work.signal === undefined ? {} : { signal: work.signal };
  let left = MOST_FETCHED;
  try {
    for (const entry of top.document.index.manifests) {
      if (!isAttestation(entry) || entry.annotations![attestationSubject] !== subject) continue;
      const { bytes, document } = await work.remote.manifest(entry.digest, options);
      if (document.kind !== "manifest") continue;
      const blobs = [document.manifest.config, ...document.manifest.layers];
      left -= blobs.reduce((sum, { size }) => sum + size, 0);
      if (left < 0) throw invalidArgument(`the attestations have more than ${MOST_FETCHED} bytes`);
      for (const blob of blobs) {
        work.lease.add(blob.digest);
        work.attached.push(blob.digest);
        if (ctx.content.info(blob.digest) !== undefined) continue;
        if (blob.size <= MOST_IN_MEMORY) {
          await keep(await blobBytes(work.remote, blob, options), blob.digest);
          continue;
        }
        await using ingest = await ctx.content.ingest();
        await work.remote.blob(blob, ingest, options);
        await ingest.commit({ digest: blob.digest, size: blob.size });
      }
      await keep(bytes, entry.digest);
      work.attached.push(entry.digest);
    }
  } catch (error) {
    if (kindOf(error) === "cancelled") throw error;
    ctx.log.warn("the attestations of an image were not fetched", { manifest: subject, error: messageOf(error) });
  }
}
