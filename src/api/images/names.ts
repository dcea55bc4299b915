import { invalidArgument } from "../../lib/errors.ts";
import { isDigest } from "../../oci/digest.ts";
import { formatReference, isTag, parseReference, withDefaultTag, type Reference } from "../../oci/reference.ts";

/** `repo` and `tag` parameters as one reference with a tag; undefined without a repository. @throws EngineError invalidArgument */
export function repoTag(repo: string, tag: string): string | undefined {
  if (repo === "") return undefined;
  const reference = parseReference(repo);
  if (reference.digest !== undefined) throw invalidArgument("cannot import digest reference");
  if (tag === "") return formatReference(withDefaultTag(reference));
  if (!isTag(tag)) throw invalidArgument("invalid tag format");
  return formatReference({ ...reference, tag });
}

/**
 * What is to be pulled: the tag parameter, which may be a digest, wins over the name's own. Without either all tags of the repository are,
 * as the API says (`docker pull -a`). @throws EngineError invalidArgument
 */
export function pullReference(image: string, tag: string): { reference: Reference; allTags: boolean } {
  // `docker pull -a` of old clients sends a name that ends in a colon
  const reference = parseReference(image.replace(/:$/, ""));
  const { domain, path, digest } = reference;
  if (tag === "") return { reference, allTags: reference.tag === undefined && reference.digest === undefined };
  if (isDigest(tag)) return { reference: { domain, path, digest: tag }, allTags: false };
  if (!isTag(tag)) throw invalidArgument("invalid tag format");
  // a digest in the name is what is pulled, whatever tag comes with it
  return { reference: { domain, path, tag, ...(digest === undefined ? {} : { digest }) }, allTags: false };
}
