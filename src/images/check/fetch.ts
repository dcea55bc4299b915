import { kindOf, messageOf } from "../../lib/errors.ts";
import type { Digest } from "../../oci/digest.ts";
import { parseReference } from "../../oci/reference.ts";
import { authFor } from "../auth-for.ts";
import type { ImageContext } from "../types.ts";
import type { CheckOptions } from "./types.ts";

/** Repositories that are asked at most. */
const MOST_ASKED = 4;

/** Repositories (`host/path`) that a blob came from or went to, or that an image which has it is named after. */
export function repositoriesOf({ store }: ImageContext, digest: Digest): string[] {
  return store.db
    .query<{ repository: string }, [string, string, number]>(
      `SELECT repository FROM blob_sources WHERE digest = ?
       UNION SELECT substr(name, 1, instr(name, '@') - 1) FROM image_refs JOIN image_blobs USING (image) WHERE kind = 'digest' AND digest = ? LIMIT ?`,
    )
    .all(digest, digest, MOST_ASKED)
    .map(({ repository }) => repository);
}

/**
 * Fetches a blob again, by its digest, from a registry that has it, and puts it in the place of what lies there. With the caller's credentials: the engine
 * keeps none. `named`: further repositories that may have it. `from`: the one that gave it; else `next`: what to do where one may still have it, but wants
 * (other) credentials or could not be asked. @throws EngineError cancelled
 */
export async function fetchAgain(
  ctx: ImageContext,
  blob: { digest: Digest; size: number },
  { signal, auths = {} }: Pick<CheckOptions, "signal" | "auths">,
  named: readonly string[] = [],
): Promise<{ from?: string; next?: string }> {
  const { digest, size } = blob;
  const refusedBy = new Set<string>();
  const failures = new Map<string, string>();
  for (const repository of new Set([...repositoriesOf(ctx, digest), ...named.slice(0, MOST_ASKED)])) {
    const reference = parseReference(`${repository}@${digest}`);
    const credentials = authFor(repository, auths);
    const remote = ctx.registry.repository(reference, credentials === undefined ? {} : { credentials });
    const asBlob = async (): Promise<void> => {
      await using ingest = await ctx.content.ingest();
      await remote.blob({ digest, size, mediaType: "application/octet-stream" }, ingest, { signal });
      await ingest.commit({ digest, size });
    };
    const asManifest = async (): Promise<void> => void (await ctx.content.put((await remote.manifest(digest, { signal })).bytes, digest));
    for (const fetch of [asManifest, asBlob]) {
      try {
        await fetch();
        return { from: repository };
      } catch (error) {
        if (kindOf(error) === "cancelled") throw error;
        if (["unauthorized", "permissionDenied"].includes(kindOf(error))) refusedBy.add(reference.domain);
        // a registry that doesn't answer, a disk that is full: that says nothing of what the registry has
        else if (kindOf(error) !== "notFound") failures.set(repository, messageOf(error));
        ctx.log.debug("a broken blob can't be fetched again from here", { digest, repository, error });
      }
    }
  }
  const next = [
    ...(refusedBy.size > 0 ? [`log in to ${[...refusedBy].join(" or ")} (berth login) and repair again: without, it gives back nothing`] : []),
    ...Array.from(failures, ([repository, why]) => `repair again: ${repository} may have it, but ${why}`),
  ];
  return next.length > 0 ? { next: next.join("; or ") } : {};
}
