import { isDigest, type Digest } from "../oci/digest.ts";
import { isRepositoryPath, isTag } from "../oci/reference.ts";
import { Fault } from "./faults.ts";

export type Route =
  | { kind: "root" }
  | { kind: "catalog" }
  | { kind: "tags"; name: string }
  | { kind: "manifest"; name: string; tag?: string; digest?: Digest }
  | { kind: "referrers"; name: string; digest: Digest }
  | { kind: "blob"; name: string; digest: Digest }
  | { kind: "uploads"; name: string }
  | { kind: "upload"; name: string; id: string };

const patterns: [kind: "tags" | "manifest" | "referrers" | "blob" | "uploads" | "upload", pattern: RegExp][] = [
  ["tags", /^(.+)\/tags\/list$/],
  ["uploads", /^(.+)\/blobs\/uploads\/?$/],
  ["upload", /^(.+)\/blobs\/uploads\/([^/]+)$/],
  ["blob", /^(.+)\/blobs\/([^/]+)$/],
  ["manifest", /^(.+)\/manifests\/([^/]+)$/],
  ["referrers", /^(.+)\/referrers\/([^/]+)$/],
];

/** Reads a request's raw path: no `..`, no empty segment, nothing beside the spec's grammar gets further. @throws Fault */
export function parseRoute(path: string): Route | undefined {
  if (path === "/v2" || path === "/v2/") return { kind: "root" };
  if (!path.startsWith("/v2/") || path.length > 2048) return undefined;
  const rest = decode(path.slice(4));
  if (rest === "_catalog") return { kind: "catalog" };
  for (const [kind, pattern] of patterns) {
    const match = pattern.exec(rest);
    if (match === null) continue;
    const name = match[1]!;
    if (!isRepositoryPath(name)) throw new Fault("NAME_INVALID", "invalid repository name", { detail: name.slice(0, 256) });
    const last = match[2] ?? "";
    if (kind === "tags" || kind === "uploads") return { kind, name };
    if (kind === "upload") return { kind, name, id: last };
    if (kind === "manifest" && !last.includes(":")) {
      if (!isTag(last)) throw new Fault("TAG_INVALID", "invalid tag name", { detail: last.slice(0, 256) });
      return { kind, name, tag: last };
    }
    return { kind, name, digest: parseDigestOf(last) };
  }
  return undefined;
}

/** @throws Fault DIGEST_INVALID */
export function parseDigestOf(text: string | null): Digest {
  if (text === null || !isDigest(text)) throw new Fault("DIGEST_INVALID", "invalid digest", { detail: text?.slice(0, 256) });
  return text;
}

/** Some clients write the colon of a digest as %3A. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Fault("NAME_INVALID", "bad escape in the path");
  }
}
