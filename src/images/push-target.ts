import { conflict, notFound } from "../lib/errors.ts";
import type { Descriptor, Platform } from "../oci/image.ts";
import { formatPlatform, hostPlatform, normalizePlatform, selectPlatform } from "../oci/platform.ts";
import { familiarReference, type Reference } from "../oci/reference.ts";
import { documentAt, summarize } from "./manifests.ts";
import { isSamePlatform } from "./resolve.ts";
import type { ImageContext, ImageRecord, ManifestSummary } from "./types.ts";

/** What a push of one name sends: one image, or an index with all that it names. */
export interface PushTarget {
  image: ImageRecord;
  /** By which the image is pushed, so that its digest stays; without one, one is made. */
  manifest?: Descriptor;
  /** Innermost first: the name's own is the last. */
  indexes?: Descriptor[];
  /** What the indexes name, in their order. */
  members?: ManifestSummary[];
  /** The index that isn't here as a whole, so that `manifest` is sent instead. */
  insteadOf?: Descriptor;
}

/**
 * By Docker's rules (moby: daemon/containerd/image_push.go): the platform that was asked for; else the whole index if all of it is here; else the one image
 * that is, or of several the one for this host. @throws EngineError notFound, conflict
 */
export async function pushTarget(ctx: ImageContext, reference: Reference, image: ImageRecord, platform?: Platform): Promise<PushTarget> {
  const name = familiarReference(reference);
  const target = ctx.targetOf(reference);
  const descriptor = target === undefined ? undefined : ctx.describe(target);
  const document = descriptor === undefined ? undefined : await documentAt(ctx, descriptor.digest);
  if (descriptor === undefined || document?.kind !== "index") {
    if (platform !== undefined && !isSamePlatform(normalizePlatform(platform), image.config)) throw missing(name, platform);
    const manifest = descriptor ?? image.manifest;
    return manifest === undefined ? { image } : { image, manifest };
  }
  const indexes: Descriptor[] = [];
  const members = await summarize(ctx, descriptor, indexes);
  const here = members.flatMap((member) => {
    const found = member.image && ctx.byId(member.image.id);
    return found === undefined ? [] : [{ image: found, manifest: member.descriptor, platform: member.platform! }];
  });
  const one = ({ image: chosen, manifest }: (typeof here)[number]): PushTarget => ({ image: chosen, manifest });
  if (platform !== undefined) {
    const suiting = here.filter((each) => isSamePlatform(normalizePlatform(platform), each.platform));
    if (suiting[0] === undefined) throw missing(name, platform);
    if (suiting.length > 1) throw conflict(`multiple manifests found for platform ${formatPlatform(platform)}`);
    return one(suiting[0]);
  }
  if (members.every(({ whole }) => whole)) return { image, indexes, members };
  const best = here.length === 1 ? here[0] : selectPlatform(here, (each) => each.platform, hostPlatform());
  if (best === undefined) throw conflict(`${name} stands for several platforms, not all of which are here: say which one to push with --platform`);
  return { ...one(best), insteadOf: descriptor };
}

function missing(name: string, platform: Platform): Error {
  return notFound(`image with reference ${name} was found but does not provide the specified platform (${formatPlatform(platform)})`);
}
