import { invalidArgument } from "../lib/errors.ts";

/** `sha256:` and 64 hex digits (sha512 alike): OCI image-spec, descriptor.md. Made only by parseDigest, digestOf and digestLike. */
export type Digest = string & { readonly __digest: true };

const pattern = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;

export function isDigest(text: string): text is Digest {
  return pattern.test(text);
}

/** @throws EngineError invalidArgument */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw invalidArgument(`invalid digest ${JSON.stringify(text)}: want sha256:<64 hex digits>`);
  return text;
}

/** sha256 of bytes held in memory. */
export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}` as Digest;
}

/** The digest of bytes in memory, by the algorithm of `like`. */
export function digestLike(bytes: Uint8Array, like: Digest): Digest {
  const algorithm = algorithmOf(like);
  return `${algorithm}:${new Bun.CryptoHasher(algorithm).update(bytes).digest("hex")}` as Digest;
}

/** The hex part. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

export function algorithmOf(digest: Digest): "sha256" | "sha512" {
  return digest.startsWith("sha512:") ? "sha512" : "sha256";
}
