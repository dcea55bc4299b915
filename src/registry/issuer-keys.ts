import { constants, createHash, createPublicKey, verify, X509Certificate, type KeyObject } from "node:crypto";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { Parts } from "./tokens.ts";

/** The public keys of an outside issuer of tokens. */
export interface IssuerKeys {
  /** Whether one of them made the token's signature: found by `kid`, or through the certificates that the token brings (`x5c`). */
  hasSigned(token: Parts, now?: Date): boolean;
}

/** JWA's signature algorithms (RFC 7518, 3.1; RFC 8037) that a public key checks; no `none`, and no HS256, whose key would be the public one. */
const algorithms: Record<string, { hash: string | null; type: "rsa" | "ec" | "ed25519"; pss?: boolean; curve?: string }> = {
  RS256: { hash: "sha256", type: "rsa" },
  RS384: { hash: "sha384", type: "rsa" },
  RS512: { hash: "sha512", type: "rsa" },
  PS256: { hash: "sha256", type: "rsa", pss: true },
  PS384: { hash: "sha384", type: "rsa", pss: true },
  PS512: { hash: "sha512", type: "rsa", pss: true },
  ES256: { hash: "sha256", type: "ec", curve: "prime256v1" },
  ES384: { hash: "sha384", type: "ec", curve: "secp384r1" },
  ES512: { hash: "sha512", type: "ec", curve: "secp521r1" },
  EdDSA: { hash: null, type: "ed25519" },
};

/**
 * Reads a bundle of PEM certificates (docker-registry's `rootcertbundle`), a JWKS document, or both.
 * @throws EngineError invalidArgument where one of them doesn't parse, or there is no key at all
 */
export function readIssuerKeys(sources: { rootCertificates?: string; jwks?: string }): IssuerKeys {
  const roots = readCertificates(sources.rootCertificates ?? "");
  const keys = new Map<string, KeyObject>();
  for (const { publicKey } of roots) for (const id of idsOf(publicKey)) keys.set(id, publicKey);
  for (const { id, key } of readJwks(sources.jwks)) for (const each of [id, ...idsOf(key)]) if (each !== undefined) keys.set(each, key);
  if (keys.size === 0) throw invalidArgument("no public key of the tokens' issuer: want certificates in rootcertbundle, or keys in jwks");

  const keyOf = ({ header }: Parts, now: Date): KeyObject | undefined => {
    if (Array.isArray(header.x5c)) return chainKey(header.x5c as unknown[], roots, now);
    return typeof header.kid === "string" ? keys.get(header.kid) : undefined;
  };
  return {
    hasSigned: (token, now = new Date()) => {
      const key = keyOf(token, now);
      return key !== undefined && verifies(key, token);
    },
  };
}

function verifies(key: KeyObject, { header, signed, signature }: Parts): boolean {
  const algorithm = typeof header.alg === "string" && Object.hasOwn(algorithms, header.alg) ? algorithms[header.alg] : undefined;
  // The key says what it is good for, not the token.
  if (algorithm === undefined || key.asymmetricKeyType !== algorithm.type) return false;
  if (algorithm.curve !== undefined && key.asymmetricKeyDetails?.namedCurve !== algorithm.curve) return false;
  try {
    const options =
      algorithm.type === "ec"
        ? { dsaEncoding: "ieee-p1363" as const }
        : algorithm.pss
          ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
          : {};
    return verify(algorithm.hash, Buffer.from(signed), { key, ...options }, signature);
  } catch {
    return false;
  }
}

function readCertificates(bundle: string): X509Certificate[] {
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw invalidArgument(`rootcertbundle: ${messageOf(error)}`, error);
  }
}

function readJwks(text: string | undefined): { id: string | undefined; key: KeyObject }[] {
  if (text === undefined) return [];
  try {
    const { keys } = JSON.parse(text) as { keys: Record<string, unknown>[] };
    return keys.map((jwk) => ({ id: typeof jwk.kid === "string" ? jwk.kid : undefined, key: createPublicKey({ key: jwk, format: "jwk" }) }));
  } catch (error) {
    throw invalidArgument(`jwks: ${messageOf(error)}`, error);
  }
}

/** The leaf's key, where each certificate is issued by the next and the last by a root, all in their time. */
function chainKey(chain: readonly unknown[], roots: readonly X509Certificate[], now: Date): KeyObject | undefined {
  if (chain.length === 0 || chain.length > 8) return undefined;
  let certificates: X509Certificate[];
  try {
    certificates = chain.map((each) => new X509Certificate(Buffer.from(String(each), "base64")));
  } catch {
    return undefined;
  }
  const inTime = ({ validFrom, validTo }: X509Certificate): boolean => new Date(validFrom) <= now && now <= new Date(validTo);
  const issued = (child: X509Certificate, parent: X509Certificate): boolean => child.checkIssued(parent) && child.verify(parent.publicKey);
  for (const [at, certificate] of certificates.entries()) {
    if (!inTime(certificate)) return undefined;
    if (roots.some((root) => root.fingerprint256 === certificate.fingerprint256)) return certificates[0]!.publicKey;
    if (roots.some((root) => root.ca && inTime(root) && issued(certificate, root))) return certificates[0]!.publicKey;
    const parent = certificates[at + 1];
    if (parent === undefined || !parent.ca || !issued(certificate, parent)) return undefined;
  }
  return undefined;
}

/** Both ids by which issuers name a key: libtrust's, as docker-registry 2 makes it, and the JWK thumbprint (RFC 7638). */
function idsOf(key: KeyObject): string[] {
  const der = key.export({ type: "spki", format: "der" });
  const base32 = toBase32(createHash("sha256").update(der).digest().subarray(0, 30));
  const libtrust = base32.match(/.{4}/g)!.join(":");
  const jwk = key.export({ format: "jwk" }) as Record<string, unknown>;
  const required = { RSA: ["e", "kty", "n"], EC: ["crv", "kty", "x", "y"], OKP: ["crv", "kty", "x"] }[jwk.kty as string];
  if (required === undefined) return [libtrust];
  const canonical = JSON.stringify(Object.fromEntries(required.map((name) => [name, jwk[name]])));
  return [libtrust, createHash("sha256").update(canonical).digest("base64url")];
}

function toBase32(bytes: Uint8Array): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  let [text, bits, held] = ["", 0, 0];
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += alphabet[(held >>> (bits - 5)) & 31];
    held &= (1 << bits) - 1;
  }
  return text;
}
