import { isDigest, type Digest } from "../oci/digest.ts";
import type { Descriptor, Index, Manifest } from "../oci/image.ts";
import { resolveTarget } from "./resolve.ts";
import { checkedManifest } from "./shapes.ts";
import type { ImageContext, ImageRecord, ManifestSummary } from "./types.ts";

/** An index may name an index, but not for ever. */
const MOST_NESTED = 3;
/** How BuildKit marks, in an index, a manifest that is about another one (moby: attestation-storage.md). */
export const attestationType = "vnd.docker.reference.type";
export const attestationSubject = "vnd.docker.reference.digest";

/** What an image's name stands for, or where it has none its id: see Images.descriptor. */
export function targetDescriptor(ctx: ImageContext, image: ImageRecord): Descriptor | undefined {
  const { target } = resolveTarget(ctx, image.id);
  return (target === undefined ? undefined : ctx.describe(target)) ?? image.manifest;
}

/** In the order of the index; an image alone has one, or none where it was made here and never left. */
export async function manifestSummaries(ctx: ImageContext, image: ImageRecord): Promise<ManifestSummary[]> {
  const target = targetDescriptor(ctx, image);
  if (target === undefined) return [];
  const members = new Map(ctx.membersOf(target.digest).map((member) => [member.manifest, member.image]));
  if (members.size === 0) members.set(target.digest, image.id);
  return await summarize(ctx, target, members, 0);
}

async function summarize(ctx: ImageContext, descriptor: Descriptor, members: ReadonlyMap<Digest, Digest>, depth: number): Promise<ManifestSummary[]> {
  const document = await documentAt(ctx, descriptor.digest);
  if (document?.kind === "index") {
    const found: ManifestSummary[] = [];
    for (const each of depth < MOST_NESTED ? document.index.manifests : []) found.push(...(await summarize(ctx, each, members, depth + 1)));
    return found;
  }
  const subject = descriptor.annotations?.[attestationSubject];
  const children = document === undefined ? [] : [document.manifest.config.digest, ...document.manifest.layers.map((layer) => layer.digest)];
  const sizes = [descriptor.digest, ...new Set(children)].map((digest) => ctx.content.info(digest)?.size);
  const summary = {
    descriptor,
    contentSize: sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0),
    available: document !== undefined && !sizes.includes(undefined),
  };
  if (isAttestation(descriptor)) return [{ ...summary, kind: "attestation", ...(subject !== undefined && isDigest(subject) ? { subject } : {}) }];
  const id = members.get(descriptor.digest);
  const image = id === undefined ? undefined : ctx.byId(id);
  const platform = descriptor.platform ?? image?.config;
  if (platform === undefined) return [{ ...summary, kind: "unknown" }];
  const { os, architecture, variant } = platform;
  const shown = descriptor.platform ?? { architecture, os, ...(variant === undefined ? {} : { variant }) };
  // A layer whose blob is gone can be made again from its files.
  return [{ ...summary, kind: "image", platform: shown, ...(image === undefined ? {} : { image, available: true }) }];
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
