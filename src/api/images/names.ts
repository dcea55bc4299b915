import { invalidArgument } from "../../lib/errors.ts";
import { isDigest } from "../../oci/digest.ts";
import { familiarReference, formatReference, isTag, parseReference, withDefaultTag } from "../../oci/reference.ts";

/** `repo` and `tag` parameters as one reference with a tag; undefined without a repository. @throws EngineError invalidArgument */
export function repoTag(repo: string, tag: string): string | undefined {
  if (repo === "") return undefined;
  const reference = parseReference(repo);
  if (reference.digest !== undefined) throw invalidArgument("cannot import digest reference");
  if (tag === "") return formatReference(withDefaultTag(reference));
  if (!isTag(tag)) throw invalidArgument("invalid tag format");
  return formatReference({ ...reference, tag });
}

/** What is to be pulled: the tag parameter, which may be a digest, wins over the name's own. @throws EngineError invalidArgument */
export function pullReference(image: string, tag: string): string {
  // `docker pull -a` of old clients sends a name that ends in a colon
  const reference = parseReference(image.replace(/:$/, ""));
  const { domain, path } = reference;
  if (tag === "") return familiarReference(withDefaultTag(reference));
  if (isDigest(tag)) return familiarReference({ domain, path, digest: tag });
  if (!isTag(tag)) throw invalidArgument("invalid tag format");
  return familiarReference({ domain, path, tag });
}
