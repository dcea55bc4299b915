import { invalidArgument, notFound, EngineError } from "../lib/errors.ts";
import { isDigest, type Digest } from "../oci/digest.ts";
import { formatPlatform, normalizePlatform, parsePlatform } from "../oci/platform.ts";
import { familiarReference, parseReference, withDefaultTag, type Reference } from "../oci/reference.ts";
import type { ImageContext, ImageRecord } from "./types.ts";

/** Docker's truncated id: 12 digits without the algorithm. */
export function shortId(id: string): string {
  return id.slice(id.indexOf(":") + 1).slice(0, 12);
}

/** Whether `text` was meant as the image's id (moby: image_delete.go, isImageIDPrefix). */
export function isIdPrefix(id: Digest, text: string): boolean {
  return id.startsWith(text) || id.slice(id.indexOf(":") + 1).startsWith(text);
}

/**
 * By full id, name (tag defaults to latest), digest reference, then unique prefix of an id.
 * @throws EngineError notFound, invalidArgument
 */
export function resolveImage(ctx: ImageContext, text: string, options: { platform?: string } = {}): ImageRecord {
  const image = lookup(ctx, text);
  if (options.platform !== undefined && options.platform !== "") checkPlatform(image, text, options.platform);
  return image;
}

function lookup(ctx: ImageContext, text: string): ImageRecord {
  const id = isDigest(text) ? text : /^[a-f0-9]{64}$/.test(text) ? (`sha256:${text}` as Digest) : undefined;
  if (id !== undefined) {
    const image = ctx.byId(id);
    if (image === undefined) throw notFound(`No such image: ${text}`);
    return image;
  }
  const prefix = /^(?:sha256:)?([a-f0-9]{1,63})$/.exec(text)?.[1];
  let reference: Reference | undefined;
  try {
    reference = withDefaultTag(parseReference(text));
  } catch (error) {
    if (!(error instanceof EngineError) || prefix === undefined) throw error;
  }
  const named = reference === undefined ? undefined : ctx.byReference(reference);
  if (named !== undefined) return named;
  const found = prefix === undefined ? [] : byPrefix(ctx, prefix);
  if (found.length > 1) throw invalidArgument(`image id prefix ${text} is ambiguous: it fits ${found.length} images`);
  const image = found[0] === undefined ? undefined : ctx.byId(found[0]);
  if (image === undefined) throw notFound(`No such image: ${reference === undefined ? text : familiarReference(reference)}`);
  return image;
}

function byPrefix(ctx: ImageContext, prefix: string): Digest[] {
  const rows = ctx.store.db.query<{ id: Digest }, [string, string]>("SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2");
  return rows.all(`sha256:${prefix}`, `sha256:${prefix}g`).map((row) => row.id);
}

function checkPlatform(image: ImageRecord, text: string, wanted: string): void {
  const want = parsePlatform(wanted);
  const have = normalizePlatform(image.config);
  // As Docker: a variant counts only where both say one.
  const same =
    want.os === have.os &&
    want.architecture === have.architecture &&
    (want.variant === undefined || have.variant === undefined || want.variant === have.variant);
  if (same) return;
  throw notFound(
    `image with reference ${text} was found but does not provide the specified platform (${formatPlatform(want)}): it is for ${formatPlatform(have)}`,
  );
}
