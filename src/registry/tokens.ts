import { timingSafeEqual } from "node:crypto";
import type { Action } from "./access.ts";

/** What a token lets its bearer do: a `repository` with its actions, and the catalog (distribution: docs/spec/auth/scope.md). */
export interface Grant {
  type: string;
  name: string;
  actions: readonly string[];
}

/** The claims of a registry token (distribution: docs/spec/auth/jwt.md). Times are unix seconds. */
export interface Claims {
  iss: string;
  sub: string;
  aud: string | readonly string[];
  exp: number;
  nbf: number;
  iat: number;
  jti: string;
  access: readonly Grant[];
}

export interface Parts {
  header: Record<string, unknown>;
  claims: Record<string, unknown>;
  /** What the signature covers. */
  signed: string;
  signature: Buffer;
}

/** Longest token looked at. */
const maxLength = 16 * 1024;
/** Clocks may differ by so much. Seconds. */
const leeway = 60;

/** Takes a JWT apart; undefined where it is none. Nothing of it is to be believed yet. */
export function parseToken(text: string): Parts | undefined {
  if (text.length > maxLength || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(text)) return undefined;
  const [header, claims, signature] = text.split(".") as [string, string, string];
  try {
    const [read, said] = [header, claims].map((part) => JSON.parse(Buffer.from(part, "base64url").toString("utf8")) as unknown);
    if (!isObject(read) || !isObject(said)) return undefined;
    return { header: read, claims: said, signed: `${header}.${claims}`, signature: Buffer.from(signature, "base64url") };
  } catch {
    return undefined;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** What the claims of a token with a good signature give: undefined where it is for someone else, too old, or of a strange shape. */
export function readClaims(
  claims: Record<string, unknown>,
  want: { issuer: string; service: string; now: number },
): { user: string | undefined; grants: Grant[] } | undefined {
  const { iss, sub = "", aud, exp, nbf, access = [] } = claims;
  const audience = Array.isArray(aud) ? (aud as unknown[]) : [aud];
  if (iss !== want.issuer || !audience.includes(want.service) || typeof sub !== "string") return undefined;
  if (typeof exp !== "number" || exp + leeway <= want.now) return undefined;
  if (nbf !== undefined && (typeof nbf !== "number" || nbf - leeway > want.now)) return undefined;
  if (access !== null && !Array.isArray(access)) return undefined;
  const grants = ((access ?? []) as unknown[]).filter(isObject).map(({ type, name, actions }) => ({
    type: String(type),
    name: String(name),
    actions: Array.isArray(actions) ? actions.map(String) : [],
  }));
  return { user: sub === "" ? undefined : sub, grants };
}

/** Whether a token's grants cover an action. */
export function covers(grants: readonly Grant[], type: "repository" | "registry", name: string, action: Action | "*"): boolean {
  return grants.some((grant) => grant.type === type && grant.name === name && (grant.actions.includes(action) || grant.actions.includes("*")));
}

/** `repository:team/app:pull,push`, several separated by blanks. What doesn't parse is left out: it grants nothing. */
export function parseScopes(texts: readonly string[]): Grant[] {
  const grants: Grant[] = [];
  for (const scope of texts.flatMap((text) => text.split(" "))) {
    const match = /^([a-z0-9]+)(?:\([a-z0-9]+\))?:(.+):([a-z*,]*)$/.exec(scope);
    if (match !== null) grants.push({ type: match[1]!, name: match[2]!, actions: match[3]!.split(",").filter((action) => action !== "") });
  }
  return grants;
}

/** HS256: the registry that signs is the one that checks. */
export function signToken(claims: Claims, secret: Uint8Array): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const signed = `${encode({ typ: "JWT", alg: "HS256" })}.${encode(claims)}`;
  return `${signed}.${macOf(signed, secret).toString("base64url")}`;
}

export function hasOurSignature({ header, signed, signature }: Parts, secret: Uint8Array): boolean {
  const expected = macOf(signed, secret);
  return header.alg === "HS256" && signature.length === expected.length && timingSafeEqual(signature, expected);
}

function macOf(text: string, secret: Uint8Array): Buffer {
  return new Bun.CryptoHasher("sha256", secret).update(text).digest();
}
