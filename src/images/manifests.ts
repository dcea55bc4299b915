import { messageOf } from "../lib/errors.ts";
import { nextTurn } from "../lib/turns.ts";
import { isDigest, type Digest } from "../oci/digest.ts";
import type { Descriptor, Index, Manifest } from "../oci/image.ts";
import { withTarget } from "./resolve.ts";
import { checkedManifest } from "./shapes.ts";
import type { ImageContext, ImageEntry, ManifestSummary } from "./types.ts";

/** An index may name an index, but not for ever. */
const MOST_NESTED = 3;
/** How BuildKit marks, in an index, a manifest that is about another one (moby: attestation-storage.md). */
const attestationType = "vnd.docker.reference.type";
export const attestationSubject = "vnd.docker.reference.digest";

/** What an image's name stands for, or where it has none its id: see Images.descriptor. */
export function targetDescriptor(ctx: ImageContext, image: ImageEntry): Descriptor | undefined {
  const { target } = withTarget(image);
  return (target === undefined ? undefined : ctx.describe(target)) ?? image.manifest;
}

/** In the order of the index; an image alone has one, or none where it was made here and never left. */
export async function manifestSummaries(ctx: ImageContext, image: ImageEntry): Promise<ManifestSummary[]> {
  const target = targetDescriptor(ctx, image);
  return target === undefined ? [] : await summarize(ctx, target, [], image.id);
}

/** All that a manifest or index leads to. The indexes are added to `indexes`, innermost first. `id`: which image a manifest is, where no index says it. */
export async function summarize(ctx: ImageContext, top: Descriptor, indexes: Descriptor[], id?: Digest): Promise<ManifestSummary[]> {
  const members = new Map(ctx.membersOf(top.digest).map((member) => [member.manifest, member.image]));
  if (members.size === 0 && id !== undefined) members.set(top.digest, id);
  const below = async (descriptor: Descriptor, depth: number): Promise<ManifestSummary[]> => {
    const document = await documentAt(ctx, descriptor.digest).catch((error: unknown) => {
      // An index may name anything: what is no manifest must not hide the others.
      ctx.log.debug("an index names what can't be read as a manifest", { digest: descriptor.digest, error: messageOf(error) });
      return undefined;
    });
    if (document?.kind !== "index") return [summaryOf(ctx, descriptor, document?.manifest, members)];
    const found: ManifestSummary[] = [];
    for (const each of depth < MOST_NESTED ? document.index.manifests : []) {
      found.push(...(await below(each, depth + 1)));
      // An index may be long, and others wait.
      if (found.length % 100 === 0) await nextTurn();
    }
    indexes.push(descriptor);
    return found;
  };
  return await below(top, 0);
}

function summaryOf(ctx: ImageContext, descriptor: Descriptor, manifest: Manifest | undefined, members: ReadonlyMap<Digest, Digest>): ManifestSummary {
  const subject = descriptor.annotations?.[attestationSubject];
  const children = manifest === undefined ? [] : [manifest.config.digest, ...manifest.layers.map((layer) => layer.digest)];
  const sizes = [descriptor.digest, ...new Set(children)].map((digest) => ctx.content.info(digest)?.size);
  const whole = manifest !== undefined && !sizes.includes(undefined);
  const summary = { descriptor, contentSize: sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0), whole, available: whole };
  if (isAttestation(descriptor)) return { ...summary, kind: "attestation", ...(subject !== undefined && isDigest(subject) ? { subject } : {}) };
  const id = members.get(descriptor.digest);
  const image = id === undefined ? undefined : ctx.entry(id);
  const platform = descriptor.platform ?? (image === undefined ? undefined : image.facts.platform);
  if (platform === undefined) return { ...summary, kind: "unknown" };
  // A layer whose blob is gone can be made again from its files.
  return { ...summary, kind: "image", platform, ...(image === undefined ? {} : { image, available: true }) };
}

export function isAttestation({ annotations }: Descriptor): boolean {
  return annotations?.[attestationType] === "attestation-manifest";
}

/** A manifest or index out of the content store; undefined where it isn't there. */
export async function documentAt(
  ctx: ImageContext,
  digest: Digest,
): Promise<{ kind: "manifest"; manifest: Manifest } | { kind: "index"; index: Index } | undefined> {
  if (ctx.content.info(digest) === undefined) return undefined;
  return checkedManifest(await ctx.content.json(digest), `blob ${digest}`);
}
