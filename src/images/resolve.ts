import { invalidArgument, notFound, EngineError } from "../lib/errors.ts";
import { isDigest, type Digest } from "../oci/digest.ts";
import type { Platform } from "../oci/image.ts";
import { formatPlatform, normalizePlatform, parsePlatform, platformRank, selectPlatform } from "../oci/platform.ts";
import { familiarReference, parseReference, withDefaultTag, type Reference } from "../oci/reference.ts";
import type { ImageContext, ImageEntry, ImageRecord } from "./types.ts";

/** Docker's truncated id: 12 digits without the algorithm. */
export function shortId(id: string): string {
  return id.slice(id.indexOf(":") + 1).slice(0, 12);
}

/** Whether `text` was meant as the image's id (moby: image_delete.go, isImageIDPrefix). */
export function isIdPrefix(id: Digest, text: string): boolean {
  return id.startsWith(text) || id.slice(id.indexOf(":") + 1).startsWith(text);
}

/**
 * By full id, name (tag defaults to latest), digest reference, then unique prefix of an id. A `platform` chooses among those that a name stands for.
 * @throws EngineError notFound, invalidArgument
 */
export function resolveImage(ctx: ImageContext, text: string, options: { platform?: string | Platform | undefined } = {}): ImageRecord {
  const { image, target } = lookup(ctx, text);
  const { platform } = options;
  if (platform === undefined || platform === "") return image;
  const wanted = typeof platform === "string" ? parsePlatform(platform) : normalizePlatform(platform);
  const here = variantsOf(ctx, image, target);
  const suiting = here.filter(({ config }) => isSamePlatform(wanted, config));
  const chosen = selectPlatform(suiting, ({ config }) => config, wanted) ?? suiting[0];
  if (chosen !== undefined) return chosen;
  throw notFound(
    `image with reference ${text} was found but does not provide the specified platform (${formatPlatform(wanted)}): it is for ${here.map(({ config }) => formatPlatform(normalizePlatform(config))).join(", ")}`,
  );
}

/** What a name or an id stands for: the image that is meant where no platform is said, and the index or manifest, where one is known. */
export function resolveTarget(ctx: ImageContext, text: string): { image: ImageRecord; target?: Digest } {
  return lookup(ctx, text);
}

/** The images of one index that are here, `image` among them; without an index `image` alone. */
export function variantsOf(ctx: ImageContext, image: ImageRecord, target: Digest | undefined): ImageRecord[] {
  const members = target === undefined ? [] : ctx.membersOf(target).flatMap((member) => ctx.byId(member.image) ?? []);
  return members.some(({ id }) => id === image.id) ? [...new Map(members.map((member) => [member.id, member])).values()] : [image];
}

/**
 * The image that is here for a platform under a reference, the best where several suit; where none does the one that is meant without a platform.
 * undefined where nothing is here under that name.
 */
export function imageFor(ctx: ImageContext, reference: Reference, wanted: Platform): ImageRecord | undefined {
  const image = ctx.byReference(reference);
  if (image === undefined) return undefined;
  const suiting = variantsOf(ctx, image, ctx.targetOf(reference)).filter(({ config }) => platformRank(wanted, config) !== undefined);
  return selectPlatform(suiting, ({ config }) => config, wanted) ?? image;
}

/** As Docker: a variant counts only where both say one. */
export function isSamePlatform(wanted: Platform, candidate: Platform): boolean {
  const have = normalizePlatform(candidate);
  return (
    wanted.os === have.os &&
    wanted.architecture === have.architecture &&
    (wanted.variant === undefined || have.variant === undefined || wanted.variant === have.variant)
  );
}

function lookup(ctx: ImageContext, text: string): { image: ImageRecord; target?: Digest } {
  const id = isDigest(text) ? text : /^[a-f0-9]{64}$/.test(text) ? (`sha256:${text}` as Digest) : undefined;
  if (id !== undefined) {
    const image = ctx.byId(id);
    if (image === undefined) throw notFound(`No such image: ${text}`);
    return withTarget(image);
  }
  const prefix = /^(?:sha256:)?([a-f0-9]{1,63})$/.exec(text)?.[1];
  let reference: Reference | undefined;
  try {
    reference = withDefaultTag(parseReference(text));
  } catch (error) {
    if (!(error instanceof EngineError) || prefix === undefined) throw error;
  }
  const named = reference === undefined ? undefined : ctx.byReference(reference);
  if (named !== undefined) {
    const target = ctx.targetOf(reference!);
    return target === undefined ? { image: named } : { image: named, target };
  }
  const found = prefix === undefined ? [] : byPrefix(ctx, prefix);
  if (found.length > 1) throw invalidArgument(`image id prefix ${text} is ambiguous: it fits ${found.length} images`);
  const image = found[0] === undefined ? undefined : ctx.byId(found[0]);
  if (image === undefined) throw notFound(`No such image: ${reference === undefined ? text : familiarReference(reference)}`);
  return withTarget(image);
}

/** By its id an image stands for the first index that it has a name of; one that is only a further platform of its names for itself. */
export function withTarget<T extends ImageEntry>(image: T): { image: T; target?: Digest } {
  const target = image.indexes[0] ?? image.targets[0];
  return target === undefined ? { image } : { image, target };
}

function byPrefix(ctx: ImageContext, prefix: string): Digest[] {
  const rows = ctx.store.db.query<{ id: Digest }, [string, string]>("SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2");
  return rows.all(`sha256:${prefix}`, `sha256:${prefix}g`).map((row) => row.id);
}
