import { parseBool } from "../lib/bool.ts";
import { invalidArgument } from "../lib/errors.ts";
import { hasLabel } from "../lib/match.ts";
import { matchPath } from "../lib/path-match.ts";
import { parseRfc3339, parseTimestamp } from "../lib/time.ts";
import { createPause, type Pause } from "../lib/turns.ts";
import { familiarName, familiarReference, formatReference, parseReference, repositoryOf } from "../oci/reference.ts";
import { resolveImage } from "./resolve.ts";
import type { ImageContext, ImageEntry, ImageListOptions, ListedImage } from "./types.ts";
import { unpackedSize } from "./usage.ts";

/** The last of them at once. */
const MOST_TRIES = 3;

const known = new Set(["dangling", "label", "label!", "before", "since", "reference", "until"]);

/** Unix nanoseconds of the image's creation; 0 where the config doesn't say. */
export function createdAt({ facts }: ImageEntry): bigint {
  return parseRfc3339(facts.created ?? "") ?? 0n;
}

/** A boolean filter as Docker reads it. @throws EngineError invalidArgument */
export function booleanFilter(name: string, values: readonly string[] | undefined, fallback: boolean): boolean {
  if (values === undefined || values.length === 0) return fallback;
  const invalid = (): Error => invalidArgument(`invalid filter '${name}=[${values.join(" ")}]'`);
  const [first, ...others] = new Set(values.map((value) => parseBool(value, invalid)));
  if (first === undefined || others.length > 0) throw invalid();
  return first;
}

/** `key` or `key=value`, all of them. */
export function matchesLabels({ facts }: ImageEntry, wanted: readonly string[]): boolean {
  return wanted.every((filter) => hasLabel(facts.labels ?? {}, filter));
}

/**
 * One more platform of names that mean another image: it is shown with that one, and goes with it. A digest that it was pushed by makes no difference; one
 * that is left of an index whose tag has moved on doesn't hide it, as long as there is still a tag for the other image.
 */
export function isVariant(ctx: ImageContext, { repoTags, repoDigests, variantOf }: ImageEntry): boolean {
  if (repoTags.length > 0) return false;
  if (variantOf.tags.length > 0) return true;
  return repoDigests.length === 0 && variantOf.digests.some((name) => ctx.byReference(parseReference(name))?.repoTags.length === 0);
}

/** Without a tag: digests don't count, since a tag that moved on leaves them (moby: image_list.go, image_prune.go). */
export function isDangling(ctx: ImageContext, image: ImageEntry): boolean {
  return !isVariant(ctx, image) && image.repoTags.length === 0 && ctx.childrenOf(image.id).length === 0;
}

/**
 * Newest first, the platforms of one name as one, with the size of all. Images that are only steps of others are left out unless `all`. A reference filter
 * cuts the names too, as Docker's does. Others have their turn meanwhile; where something changed then, it begins again, since a tag that moves would be
 * shown twice or not at all.
 */
export async function listImages(ctx: ImageContext, options: ImageListOptions = {}): Promise<ListedImage[]> {
  for (let tries = 1; ; tries++) {
    const { revision } = ctx;
    const listed = await gather(ctx, options, tries < MOST_TRIES ? createPause() : () => undefined);
    if (ctx.revision === revision || tries === MOST_TRIES) return listed;
  }
}

async function gather(ctx: ImageContext, { all = false, filters = {} }: ImageListOptions, pause: Pause): Promise<ListedImage[]> {
  for (const name of Object.keys(filters)) if (!known.has(name)) throw invalidArgument(`invalid filter '${name}'`);
  const dangling = filters["dangling"]?.length ? booleanFilter("dangling", filters["dangling"], false) : undefined;
  const now = BigInt(Date.now()) * 1_000_000n;
  const bound = (name: string): bigint[] => (filters[name] ?? []).map((value) => createdAt(resolveImage(ctx, value)));
  const [before, since] = [bound("before"), bound("since")];
  const until = (filters["until"] ?? []).map((value) => parseTimestamp(value, now));
  const result: { image: ListedImage; created: bigint }[] = [];
  for await (const image of entriesOf(ctx, pause)) {
    if (isVariant(ctx, image)) continue;
    const created = createdAt(image);
    const names = image.repoTags.length + image.repoDigests.length;
    if (before.some((time) => created >= time) || since.some((time) => created <= time) || until.some((time) => created >= time)) continue;
    const variants = otherPlatforms(ctx, image);
    if (![image, ...variants].some((each) => matchesLabels(each, filters["label"] ?? []))) continue;
    if ((filters["label!"] ?? []).some((label) => [image, ...variants].some((each) => matchesLabels(each, [label])))) continue;
    if (names === 0) {
      if (dangling === false || filters["reference"]?.length) continue;
      if (!all && ctx.childrenOf(image.id).length > 0) continue;
    }
    if (dangling === true && !isDangling(ctx, image)) continue;
    const shown = withReferences(image, filters["reference"] ?? []);
    const size = variants.length === 0 ? image.size : unpackedSize(ctx, [image, ...variants]);
    if (shown !== undefined) result.push({ image: { ...shown, variants, size }, created });
  }
  return result.sort((a, b) => (a.created < b.created ? 1 : a.created > b.created ? -1 : 0)).map(({ image }) => image);
}

/** All images, not of one moment: others have their turn meanwhile, as `pause` gives it. */
export async function* entriesOf(ctx: ImageContext, pause = createPause()): AsyncGenerator<ImageEntry, void> {
  for (const id of ctx.ids()) {
    await pause();
    const entry = ctx.entry(id);
    if (entry !== undefined) yield entry;
  }
}

/** The images that an image's names stand for besides it. */
export function otherPlatforms(ctx: ImageContext, image: ImageEntry): ImageEntry[] {
  const ids = new Set(image.indexes.flatMap((index) => ctx.membersOf(index).map((member) => member.image)));
  return [...ids].flatMap((id) => ctx.entry(id) ?? []).filter((other) => other.id !== image.id && isVariant(ctx, other));
}

/** Whether a name fits one of the patterns, as the `reference` filter has them. */
export function matchesReference(text: string, patterns: readonly string[]): boolean {
  const reference = parseReference(text);
  const forms = [familiarReference(reference), familiarName(reference), formatReference(reference), repositoryOf(reference)];
  return patterns.some((pattern) => forms.some((form) => matchPath(pattern, form)));
}

function withReferences(image: ImageEntry, patterns: readonly string[]): ImageEntry | undefined {
  if (patterns.length === 0) return image;
  const fits = (text: string): boolean => matchesReference(text, patterns);
  const repoTags = image.repoTags.filter(fits);
  const repoDigests = image.repoDigests.filter(fits);
  return repoTags.length + repoDigests.length === 0 ? undefined : { ...image, repoTags, repoDigests };
}
