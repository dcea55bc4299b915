import { conflict, invalidArgument } from "../lib/errors.ts";
import type { Digest } from "../oci/digest.ts";
import { chainIds } from "../oci/chain.ts";
import type { Platform } from "../oci/image.ts";
import { familiarReference, parseReference, repositoryOf, withDefaultTag, type Reference } from "../oci/reference.ts";
import { isVariant, otherPlatforms } from "./list.ts";
import { isIdPrefix, resolveImage, resolveTarget, shortId } from "./resolve.ts";
import type { ImageContext, ImageEntry, ImageRecord, ImageUsers, RemovedImage } from "./types.ts";

/**
 * `docker rmi`, by Docker's rules (moby: daemon/images/image_delete.go): a name is untagged, and the image goes with its last name; an id goes with all its
 * names if they are one tag in one repository. Running containers and child images can't be overridden, stopped containers and further names by force.
 */
export async function removeImage(
  ctx: ImageContext,
  users: ImageUsers,
  text: string,
  { force = false, noPrune = false, platforms = [] }: { force?: boolean; noPrune?: boolean; platforms?: readonly Platform[] } = {},
): Promise<RemovedImage[]> {
  if (platforms.length > 0) return await removePlatforms(ctx, users, text, platforms, force);
  const { image } = resolveTarget(ctx, text);
  const removed: RemovedImage[] = [];
  const byId = isIdPrefix(image.id, text);
  if (byId && isVariant(ctx, image)) return await removeVariant(ctx, users, image, force);
  const variants = otherPlatforms(ctx, image);
  const references = referencesOf(image);
  const isSingle = isSingleReference(references);
  if (!byId) {
    const user = !force && isSingle ? [image, ...variants].flatMap(({ id }) => users.containersOf(id))[0] : undefined;
    if (user !== undefined) {
      throw conflict(
        `conflict: unable to remove repository reference "${text}" (must force) - container ${shortId(user.id)} is using its referenced image ${shortId(image.id)}`,
      );
    }
    untagName(ctx, image, withDefaultTag(parseReference(text)), removed);
  } else if (isSingle) {
    for (const each of [image, ...variants]) {
      const problem = conflictOf(ctx, users, each, { stopped: !force, references: false });
      if (problem !== undefined) throw conflictError(each.id, problem);
    }
    for (const reference of references) untag(ctx, image, reference, removed);
  }
  if (byId || !isNamed(ctx.byId(image.id)!)) await deleteImage(ctx, users, image.id, removed, { force, prune: !noPrune, quiet: !byId });
  await removeNameless(ctx, users, variants, removed, force);
  return removed;
}

/** Of the other platforms of names that were removed those go that no other name stands for. */
async function removeNameless(ctx: ImageContext, users: ImageUsers, variants: readonly ImageEntry[], removed: RemovedImage[], force: boolean): Promise<void> {
  const repositories = new Set(removed.flatMap(({ Untagged }) => (Untagged === undefined ? [] : [repositoryOf(parseReference(Untagged))])));
  for (const { id } of variants) {
    dropDigests(ctx, id, repositories, removed);
    const left = ctx.byId(id);
    if (left !== undefined && !isNamed(left)) await deleteImage(ctx, users, id, removed, { force, prune: false, quiet: true });
  }
}

/** Digests of an image that were pushed by themselves: they stay as long as the repository has a tag for it. */
function dropDigests(ctx: ImageContext, id: Digest, repositories: ReadonlySet<string>, removed: RemovedImage[]): void {
  const image = ctx.byId(id);
  const tags = image === undefined ? [] : [...image.repoTags, ...image.variantOf.tags].map(parseReference);
  for (const reference of image?.repoDigests.map(parseReference) ?? []) {
    const repository = repositoryOf(reference);
    if (repositories.has(repository) && !tags.some((tag) => repositoryOf(tag) === repository)) untag(ctx, image!, reference, removed);
  }
}

function isNamed({ repoTags, repoDigests, variantOf }: ImageRecord): boolean {
  return repoTags.length + repoDigests.length + variantOf.tags.length + variantOf.digests.length > 0;
}

/** Takes platforms away from the name, and from every other name of theirs; the name goes with its last platform. Everything is checked first. */
async function removePlatforms(ctx: ImageContext, users: ImageUsers, text: string, platforms: readonly Platform[], force: boolean): Promise<RemovedImage[]> {
  // As Docker says it, which asks for force since other names may lose the platform too.
  if (!force) throw invalidArgument("Content will be removed from all images referencing this variant. Use --force to force delete.");
  const chosen = platforms.map((platform) => resolveImage(ctx, text, { platform }));
  for (const image of chosen) {
    const problem = conflictOf(ctx, users, image, { stopped: false, references: false });
    if (problem !== undefined) throw conflictError(image.id, problem);
  }
  const removed: RemovedImage[] = [];
  for (const { id } of chosen) {
    const image = ctx.byId(id);
    if (image === undefined) continue;
    const others = ctx.indexesOf(id).flatMap((index) => ctx.membersOf(index).filter((member) => member.image !== id));
    if (others.length === 0) for (const reference of referencesOf(image)) untag(ctx, image, reference, removed);
    await deleteRecord(ctx, image, removed);
  }
  return removed;
}

/** By its id: the names stay, since they mean another platform. */
async function removeVariant(ctx: ImageContext, users: ImageUsers, image: ImageRecord, force: boolean): Promise<RemovedImage[]> {
  const problem = conflictOf(ctx, users, image, { stopped: !force, references: false });
  if (problem !== undefined) throw conflictError(image.id, problem);
  const removed: RemovedImage[] = [];
  for (const reference of referencesOf(image)) untag(ctx, image, reference, removed);
  await deleteRecord(ctx, image, removed);
  return removed;
}

function referencesOf(image: ImageRecord): Reference[] {
  return [...image.repoTags, ...image.repoDigests].map(parseReference);
}

/** One tag at most, and all references in one repository. */
function isSingleReference(references: readonly Reference[]): boolean {
  if (references.length <= 1) return references.length === 1;
  const tags = references.filter((reference) => reference.digest === undefined);
  return tags.length <= 1 && new Set(references.map(repositoryOf)).size === 1;
}

function untag(ctx: ImageContext, image: ImageRecord, reference: Reference, removed: RemovedImage[]): void {
  ctx.store.tx(() => {
    ctx.dropReference(reference);
    ctx.emit("untag", image, image.id);
  });
  removed.push({ Untagged: familiarReference(reference) });
}

/** Takes one name away, and with the last tag of a repository its digests. */
function untagName(ctx: ImageContext, image: ImageRecord, reference: Reference, removed: RemovedImage[]): void {
  const name = reference.digest === undefined ? reference : { domain: reference.domain, path: reference.path, digest: reference.digest };
  untag(ctx, image, name, removed);
  const left = referencesOf(ctx.byId(image.id)!);
  const here = (other: Reference): boolean => repositoryOf(other) === repositoryOf(reference);
  if (reference.digest !== undefined || left.some((other) => other.digest === undefined && here(other))) return;
  for (const other of left.filter(here)) {
    ctx.dropReference(other);
    removed.push({ Untagged: familiarReference(other) });
  }
}

interface Conflict {
  hard: boolean;
  used: boolean;
  message: string;
}

function conflictOf(ctx: ImageContext, users: ImageUsers, image: ImageEntry, soft: { stopped: boolean; references: boolean }): Conflict | undefined {
  if (ctx.childrenOf(image.id).length > 0) return { hard: true, used: false, message: "image has dependent child images" };
  const containers = users.containersOf(image.id);
  const running = containers.find((container) => container.running);
  if (running !== undefined) return { hard: true, used: true, message: `image is being used by running container ${shortId(running.id)}` };
  const mounting = containers.find((container) => container.mounted === true);
  if (mounting !== undefined) return { hard: true, used: true, message: `image is mounted in container ${shortId(mounting.id)}` };
  const names = image.repoTags.length + image.repoDigests.length;
  if (soft.references && names > 0) return { hard: false, used: false, message: "image is referenced in multiple repositories" };
  const stopped = containers[0];
  if (soft.stopped && stopped !== undefined) return { hard: false, used: true, message: `image is being used by stopped container ${shortId(stopped.id)}` };
  return undefined;
}

function conflictError(id: Digest, { hard, message }: Conflict): Error {
  return conflict(`conflict: unable to delete ${shortId(id)} (${hard ? "cannot be forced" : "must be forced"}) - ${message}`);
}

/** The image, then (prune) its parents as far up as nothing else needs them. `quiet`: a conflict just ends it. */
async function deleteImage(
  ctx: ImageContext,
  users: ImageUsers,
  id: Digest,
  removed: RemovedImage[],
  options: { force: boolean; prune: boolean; quiet: boolean },
): Promise<void> {
  const image = ctx.byId(id);
  if (image === undefined) return;
  const problem = conflictOf(ctx, users, image, { stopped: !options.force, references: !options.force });
  if (problem !== undefined) {
    const dangling = image.repoTags.length + image.repoDigests.length === 0 && ctx.childrenOf(id).length === 0;
    if (options.quiet && (!dangling || problem.used)) return;
    throw conflictError(id, problem);
  }
  for (const reference of referencesOf(image)) untag(ctx, image, reference, removed);
  const parent = image.parent;
  await deleteRecord(ctx, image, removed);
  if (options.prune && parent !== undefined) await deleteImage(ctx, users, parent, removed, { force: false, prune: true, quiet: true });
}

async function deleteRecord(ctx: ImageContext, image: ImageRecord, removed: RemovedImage[]): Promise<void> {
  const gone = new Set(await ctx.deleteImage(image.id));
  removed.push({ Deleted: image.id });
  for (const [i, chain] of [...chainIds(image.config.rootfs.diff_ids).entries()].toReversed()) {
    if (gone.has(image.layers[i]!)) removed.push({ Deleted: chain });
  }
}
