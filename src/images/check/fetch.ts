import { kindOf } from "../../lib/errors.ts";
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
 * Fetches a blob again, by its digest, from a registry that has it, and puts it in the place of what lies there. With the caller's credentials: the
 * engine keeps none. `from`: the repository that gave it; `refusedBy`: registries that may have it, but want (other) credentials. @throws EngineError cancelled
 */
export async function fetchAgain(
  ctx: ImageContext,
  blob: { digest: Digest; size?: number },
  { signal, auths = {} }: Pick<CheckOptions, "signal" | "auths">,
): Promise<{ from?: string; refusedBy: string[] }> {
  const { digest, size } = blob;
  const refusedBy = new Set<string>();
  for (const repository of repositoriesOf(ctx, digest)) {
    const reference = parseReference(`${repository}@${digest}`);
    const credentials = authFor(repository, auths);
    const remote = ctx.registry.repository(reference, credentials === undefined ? {} : { credentials });
    const asBlob = async (): Promise<void> => {
      await using ingest = await ctx.content.ingest();
      await remote.blob({ digest, size: size!, mediaType: "application/octet-stream" }, ingest, { signal });
      await ingest.commit({ digest, size: size! });
    };
    const asManifest = async (): Promise<void> => void (await ctx.content.put((await remote.manifest(digest, { signal })).bytes, digest));
    for (const fetch of size === undefined ? [asManifest] : [asManifest, asBlob]) {
      try {
        await fetch();
        return { from: repository, refusedBy: [] };
      } catch (error) {
        if (kindOf(error) === "cancelled") throw error;
        if (["unauthorized", "permissionDenied"].includes(kindOf(error))) refusedBy.add(reference.domain);
        ctx.log.debug("a broken blob can't be fetched again from here", { digest, repository, error });
      }
    }
  }
  return { refusedBy: [...refusedBy] };
}

/** What is left to do where a registry refused. */
export function loginFirst(refusedBy: readonly string[]): string {
  return `log in to ${refusedBy.join(" or ")} (berth login) and repair again: without, it gives back nothing`;
}
