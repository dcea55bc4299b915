import { kindOf, messageOf } from "../../lib/errors.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Descriptor, Manifest } from "../../oci/image.ts";
import { parseReference, repositoryOf } from "../../oci/reference.ts";
import type { SnapshotId } from "../../snapshots/types.ts";
import { entriesOf } from "../list.ts";
import { removeImage } from "../remove.ts";
import { shortId } from "../resolve.ts";
import type { ImageContext, ImageRecord, ImageUsers } from "../types.ts";
import { namesOf, type Broken } from "./blobs.ts";
import { fetchAgain } from "./fetch.ts";
import type { Reader } from "./reader.ts";
import type { CheckOptions, CheckReport } from "./types.ts";

interface LayersCheck {
  ctx: ImageContext;
  users: ImageUsers;
  reader: Reader;
  options: CheckOptions;
  report: CheckReport;
  broken: Broken;
}

/** Unpacked layers against their records, and against the tars that they came as. */
export async function checkLayers(check: LayersCheck): Promise<void> {
  const { ctx, options, report } = check;
  const all = ctx.snapshots.inventory();
  for (const { id } of all.filter(({ kind, present }) => kind === "init" && !present)) {
    if (options.repair) ctx.snapshots.rebuildInit(id);
    const outcome = options.repair ? { repaired: "made again" } : { next: "berth system check --repair makes it again" };
    options.onProblem({ kind: "layer", id, images: [], problem: `the layer ${id} of containers' mount points has lost its files`, ...outcome });
  }
  const depths = await depthsOf(ctx);
  // What lies below is mended first: a layer may lean on it.
  const layers = all.filter(({ kind }) => kind === "layer").sort((a, b) => (depths.get(a.id) ?? 0) - (depths.get(b.id) ?? 0));
  for (const { id, present, listsRoot } of layers) {
    using lease = ctx.lease();
    lease.add(id);
    const wrong = present ? await whatIsWrong(check, id, listsRoot) : { sentence: "has lost its files" };
    options.onProgress("layers", ++report.checked.layers, layers.length);
    // removed meanwhile by somebody whose it was
    if (wrong === undefined || !ctx.snapshots.layers().some((each) => each.id === id)) continue;
    const images = await imagesOn(ctx, id);
    const names = namesOf(
      ctx,
      images.map((image) => image.id),
    );
    const problem = { kind: "layer" as const, id, images: names, problem: `layer ${id} ${wrong.sentence}` };
    const outcome = options.repair
      ? await repair(check, id, images, wrong)
      : {
          next: `berth system check --repair ${wrong.doubtful ? "fetches it again where a registry has it" : `unpacks it again, or removes what stands on it${names.length > 0 ? `: ${names.join(", ")}` : ""}`}`,
        };
    lease[Symbol.dispose]();
    // what its images left while we held it
    if (options.repair) await ctx.collectLayers([id]);
    options.onProblem({ ...problem, ...outcome });
  }
}

/** How many layers lie below each, at the most. Two images may have the same two layers the other way round: nothing is said about those. */
async function depthsOf(ctx: ImageContext): Promise<Map<SnapshotId, number>> {
  const depths = new Map<SnapshotId, number>();
  const images = await Array.fromAsync(entriesOf(ctx));
  // twice, since what one image says of a layer may move those that another has above it
  for (const { layers } of [...images, ...images]) {
    let depth = 0;
    for (const layer of layers) {
      depth = Math.max(depth, depths.get(layer) ?? 0);
      depths.set(layer, depth++);
    }
  }
  return depths;
}

async function imagesOn(ctx: ImageContext, layer: SnapshotId): Promise<ImageRecord[]> {
  return (await Array.fromAsync(entriesOf(ctx))).filter(({ layers }) => layers.includes(layer)).flatMap(({ id }) => ctx.byId(id) ?? []);
}

/** `doubtful`: nobody can say whether it is broken. */
interface Wrong {
  sentence: string;
  doubtful?: true;
}

async function whatIsWrong({ ctx, reader, options, broken }: LayersCheck, id: SnapshotId, listRoot: boolean): Promise<Wrong | undefined> {
  const diffId = ctx.snapshots.diffIdOf(id);
  if (options.quick || diffId === undefined) return undefined;
  const blob = ctx.layerBlobs(diffId).find(({ digest }) => !broken.blobs.has(digest));
  const tree = ctx.snapshots.path(id);
  try {
    if (blob !== undefined) {
      using lease = ctx.lease();
      lease.add(blob.digest);
      return changed(await reader.run({ op: "compare", path: ctx.content.path(blob.digest), tree }));
    }
    // told of with the blob
    if (broken.diffIds.has(diffId)) return undefined;
    const recipe = ctx.snapshots.recipe(id);
    if (recipe !== undefined) {
      const { digest, differences } = await reader.run({ op: "remake", recipe, tree });
      return changed(differences) ?? (digest === diffId ? undefined : { sentence: "isn't what it was unpacked from: its files have other bytes" });
    }
    const packed = await reader.run({ op: "pack", tree, listRoot });
    if (packed === diffId) return undefined;
    // One that came as a tar whose bytes nobody can make again does so too.
    return { sentence: "gives another tar than its digest says, and no copy of that is here", doubtful: true };
  } catch (error) {
    if (kindOf(error) === "cancelled") throw error;
    return { sentence: `can't be read: ${messageOf(error)}` };
  }
}

function changed([first, ...others]: readonly string[]): Wrong | undefined {
  if (first === undefined) return undefined;
  return { sentence: `isn't what it was unpacked from: ${first}${others.length > 0 ? `, and ${others.length} more` : ""}` };
}

/** Unpacked again from the blob that is here or in a registry; else the images on it go, where no container needs them. */
async function repair(check: LayersCheck, id: SnapshotId, images: readonly ImageRecord[], { doubtful }: Wrong): Promise<{ repaired?: string; next?: string }> {
  const { ctx, users } = check;
  const { again, next } = await unpackAgain(check, id, images);
  const containers = images.flatMap((image) => users.containersOf(image.id)).map(({ name }) => name.replace(/^\//, ""));
  if (again !== undefined) {
    return {
      repaired: `unpacked again${again === "" ? "" : ` from ${again}`}`,
      ...(containers.length > 0 && { next: `restart ${containers.join(", ")}: they still have the old files` }),
    };
  }
  if (next !== undefined) return { next: `${next}; or remove ${images.map((image) => shortId(image.id)).join(" ")} (berth rmi -f)` };
  if (doubtful) return { next: "containers run from it as it is; before it is pushed or saved, remove the image and pull, load or build it again" };
  if (containers.length > 0) {
    return { next: `remove ${containers.join(", ")}, which stand on it, and check again: the images can go then, and be pulled, loaded or built again` };
  }
  const names = namesOf(
    ctx,
    images.map((image) => image.id),
  ).join(", ");
  const left: string[] = [];
  const stepsOf = (image: ImageRecord): number => image.config.history?.length ?? 0;
  // children first
  for (const image of images.toSorted((a, b) => stepsOf(b) - stepsOf(a))) {
    for (const name of [...image.repoTags, ...image.repoDigests, image.id]) {
      if (ctx.byId(image.id) === undefined) break;
      try {
        await removeImage(ctx, users, name, { force: true });
      } catch (error) {
        left.push(messageOf(error));
      }
    }
  }
  const gone = images.filter((image) => ctx.byId(image.id) === undefined);
  if (gone.length < images.length) return { next: left.at(-1) ?? "check again" };
  return {
    repaired: images.length === 0 ? "removed" : `removed, and with it ${names}`,
    ...(images.length > 0 && { next: `pull, load or build ${names} again` }),
  };
}

/**
 * `again`: where from, a repository, or an empty text for a blob that was here; `next`: what might lead to it later; neither where it can't be. Any image that
 * has the layer may know the way: those of a build's steps have no manifest.
 */
async function unpackAgain(check: LayersCheck, id: SnapshotId, images: readonly ImageRecord[]): Promise<{ again?: string; next?: string }> {
  const { ctx, options, broken } = check;
  const diffId = ctx.snapshots.diffIdOf(id);
  const [any] = images;
  if (any === undefined || diffId === undefined) return {};
  for (const { digest } of ctx.layerBlobs(diffId)) if (!broken.blobs.has(digest) && (await rebuild(check, id, any, digest))) return { again: "" };
  const later = new Set<string>();
  for (const image of images) {
    const descriptor = await descriptorOf(check, image, id);
    if (descriptor === undefined) continue;
    using lease = ctx.lease();
    lease.add(descriptor.digest);
    // of a layer that was here already when the image was pulled nobody noted where it is
    const named = [...image.repoDigests, ...image.variantOf.digests].map((name) => repositoryOf(parseReference(name)));
    const { from, next } = await fetchAgain(ctx, descriptor, options, named);
    if (next !== undefined) later.add(next);
    if (from === undefined || !(await rebuild(check, id, image, descriptor.digest))) continue;
    // the blob is the image's now
    ctx.register({ ...image, manifest: image.manifest! });
    return { again: from };
  }
  return later.size > 0 ? { next: [...later].join("; or ") } : {};
}

/** False, and told in the log, where the blob doesn't give the layer. */
async function rebuild({ ctx, options }: LayersCheck, id: SnapshotId, { config, layers }: ImageRecord, digest: Digest): Promise<boolean> {
  const at = layers.indexOf(id);
  const below = { parentIds: config.rootfs.diff_ids.slice(0, at), parents: layers.slice(0, at) };
  try {
    await ctx.snapshots.rebuild(id, { source: ctx.content.path(digest), ...below, signal: options.signal });
    return true;
  } catch (error) {
    if (kindOf(error) === "cancelled") throw error;
    ctx.log.warn("unpacking a broken layer again failed", { layer: id, blob: digest, error });
    return false;
  }
}

/** What the image's manifest says of a layer, where there is one. */
async function descriptorOf({ ctx, broken }: LayersCheck, { manifest, layers }: ImageRecord, id: SnapshotId): Promise<Descriptor | undefined> {
  if (manifest === undefined || broken.blobs.has(manifest.digest) || ctx.content.info(manifest.digest) === undefined) return undefined;
  return (await ctx.content.json<Manifest>(manifest.digest)).layers[layers.indexOf(id)];
}
