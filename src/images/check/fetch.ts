import { kindOf } from "../../lib/errors.ts";
import type { Digest } from "../../oci/digest.ts";
import { parseReference } from "../../oci/reference.ts";
import type { ImageContext } from "../types.ts";

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
 * Fetches a blob again, by its digest, from a registry that has it, and puts it in the place of what lies there. Without credentials: the engine keeps none.
 * Returns the repository; undefined where none gave it. @throws EngineError cancelled
 */
export async function fetchAgain(ctx: ImageContext, blob: { digest: Digest; size?: number }, signal: AbortSignal | undefined): Promise<string | undefined> {
  const { digest, size } = blob;
  for (const repository of repositoriesOf(ctx, digest)) {
    const remote = ctx.registry.repository(parseReference(`${repository}@${digest}`));
    const asBlob = async (): Promise<void> => {
      await using ingest = await ctx.content.ingest();
      await remote.blob({ digest, size: size!, mediaType: "application/octet-stream" }, ingest, { signal });
      await ingest.commit({ digest, size: size! });
    };
    const asManifest = async (): Promise<void> => void (await ctx.content.put((await remote.manifest(digest, { signal })).bytes, digest));
    for (const fetch of size === undefined ? [asManifest] : [asManifest, asBlob]) {
      try {
        await fetch();
        return repository;
      } catch (error) {
        if (kindOf(error) === "cancelled") throw error;
        ctx.log.debug("a broken blob can't be fetched again from here", { digest, repository, error });
      }
    }
  }
  return undefined;
}
