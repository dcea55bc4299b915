import { stat } from "node:fs/promises";
import { kindOf, messageOf } from "../../lib/errors.ts";
import { algorithmOf, digestOf, type Digest } from "../../oci/digest.ts";
import { shortId } from "../resolve.ts";
import type { ImageContext } from "../types.ts";
import { fetchAgain, repositoriesOf } from "./fetch.ts";
import type { Reader } from "./reader.ts";
import type { CheckOptions, CheckProblem, CheckReport } from "./types.ts";

/** Blobs that say nothing: they are broken, and stayed so or went. `diffIds`: of the layers that they hold. */
export interface Broken {
  blobs: Set<Digest>;
  diffIds: Set<Digest>;
}

/** Blobs against their digests. */
export async function checkBlobs(ctx: ImageContext, reader: Reader, options: CheckOptions, report: CheckReport): Promise<Broken> {
  const broken: Broken = { blobs: new Set(), diffIds: new Set() };
  const blobs = ctx.content.list();
  const total = blobs.reduce((sum, { size }) => sum + size, 0);
  for (const { digest, size } of blobs) {
    using lease = ctx.lease();
    lease.add(digest);
    if (ctx.content.info(digest) === undefined) continue;
    const wrong = await whatIsWrong(ctx, reader, digest, size, options.quick);
    report.checked.blobs++;
    report.checked.bytes += size;
    options.onProgress("blobs", report.checked.bytes, total);
    // removed meanwhile by somebody whose it was
    if (wrong === undefined || ctx.content.info(digest) === undefined) continue;
    const images = imagesWith(ctx, digest);
    const held = ctx.store.db.query<{ id: Digest }, [string]>("SELECT diff_id AS id FROM layer_blobs WHERE digest = ?").all(digest);
    const problem = { kind: "blob" as const, id: digest, images: namesOf(ctx, images), problem: `blob ${digest} ${wrong}` };
    const outcome: Pick<CheckProblem, "repaired" | "next"> = options.repair
      ? await repair(ctx, { digest, size }, options)
      : advice(ctx, digest, problem.images);
    if (ctx.content.info(digest) === undefined || outcome.repaired === undefined) {
      broken.blobs.add(digest);
      for (const { id } of held) broken.diffIds.add(id);
    }
    options.onProblem({ ...problem, ...outcome });
  }
  return broken;
}

async function whatIsWrong(ctx: ImageContext, reader: Reader, digest: Digest, size: number, quick: boolean): Promise<string | undefined> {
  const path = ctx.content.path(digest);
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return "has lost its file";
  if (found.size !== size) return `has ${found.size} bytes instead of ${size}`;
  if (quick) return undefined;
  try {
    return (await reader.run({ op: "digest", path, algorithm: algorithmOf(digest) })) === digest ? undefined : "has other bytes than its digest says";
  } catch (error) {
    if (kindOf(error) === "cancelled") throw error;
    return `can't be read: ${messageOf(error)}`;
  }
}

function imagesWith({ store }: ImageContext, digest: Digest): Digest[] {
  return store.db
    .query<{ image: Digest }, [string]>("SELECT image FROM image_blobs WHERE digest = ?")
    .all(digest)
    .map(({ image }) => image);
}

/** The first name of each, or its short id. */
export function namesOf(ctx: ImageContext, images: readonly Digest[]): string[] {
  return images.map((id) => {
    const image = ctx.byId(id);
    return image?.repoTags[0] ?? image?.repoDigests[0] ?? image?.variantOf.tags[0] ?? shortId(id);
  });
}

function advice(ctx: ImageContext, digest: Digest, images: readonly string[]): { next: string } {
  const sources = repositoriesOf(ctx, digest);
  const cure = sources.length > 0 ? `fetches it again from ${sources.join(" or ")}` : "removes it, since no registry is known to have it";
  return { next: `berth system check --repair ${cure}${images.length > 0 ? `; it belongs to ${images.join(", ")}` : ""}` };
}

/** From what is at hand, else from a registry; else nobody is told any more that it is here, unless a registry would give it for a password. */
async function repair(ctx: ImageContext, blob: { digest: Digest; size: number }, options: CheckOptions): Promise<{ repaired?: string; next?: string }> {
  const { digest } = blob;
  const { db } = ctx.store;
  const config = db.query<{ config: string }, [string]>("SELECT config FROM images WHERE id = ?").get(digest)?.config;
  if (config !== undefined && digestOf(config) === digest) {
    await ctx.content.put(config, digest);
    return { repaired: "written again from the image's record" };
  }
  const { from, next: first } = await fetchAgain(ctx, blob, options);
  if (from !== undefined) return { repaired: `fetched again from ${from}` };
  if (first !== undefined) return { next: first };
  const images = imagesWith(ctx, digest);
  const next = await ctx.content.remove(digest);
  if (images.length > 0) {
    const names = namesOf(ctx, images).join(", ");
    next.unshift(`containers of ${names} run as before; before it is pushed or saved, remove the image and pull, load or build it again`);
  }
  return { repaired: "removed", ...(next.length > 0 && { next: next.join("; ") }) };
}
