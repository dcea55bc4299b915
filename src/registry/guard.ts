import { randomUUID } from "node:crypto";
import { createAccess, type Access, type AccessConfig, type Action } from "./access.ts";
import { Fault } from "./faults.ts";
import type { Passwords } from "./htpasswd.ts";
import type { Answer, Call } from "./http.ts";
import type { IssuerKeys } from "./issuer-keys.ts";
import { covers, hasOurSignature, parseScopes, parseToken, readClaims, signToken, type Grant } from "./tokens.ts";

/** How the registry knows who asks. */
export type Auth =
  | { kind: "none" }
  /** Names and passwords, sent with each request. */
  | { kind: "basic"; realm: string; passwords: Passwords }
  /** Names and passwords that are shown to the registry's own token endpoint; `realm` is its URL where clients can't use the one they asked. */
  | { kind: "own"; passwords: Passwords; secret: Uint8Array; lifetimeSeconds: number; realm?: string }
  /** Tokens of an issuer elsewhere. */
  | { kind: "outside"; realm: string; service: string; issuer: string; keys: IssuerKeys };

/** Who asks. */
export interface Caller {
  /** Undefined: nobody has logged in. */
  user: string | undefined;
  /** What the token allows; undefined where there is none. */
  grants?: readonly Grant[];
}

export interface Guard {
  /** @throws Fault 401 for a wrong password or a token that isn't good */
  identify(call: Call): Promise<Caller>;
  allows(caller: Caller, repository: string, action: Action): boolean;
  /** Whether the caller may know that the repository is there. */
  sees(caller: Caller, repository: string): boolean;
  /** @throws Fault 401 where a login (or another token) may help, 403 where it won't */
  require(call: Call, caller: Caller, repository: string, action: Action): void;
  /** Anyone who has shown who they are, be it as nobody by a token. @throws Fault 401 */
  requireIdentity(call: Call, caller: Caller): void;
  /** @throws Fault 401 */
  requireCatalog(call: Call, caller: Caller): void;
  /** The token endpoint; undefined where the registry issues none. */
  readonly issueToken: ((call: Call) => Promise<Answer>) | undefined;
}

/** Path of the token endpoint. */
export const tokenPath = "/auth/token";
/** Issuer and audience of the registry's own tokens. */
const ownService = "berth-registry";

export function createGuard(options: { auth: Auth; access?: AccessConfig }): Guard {
  const { auth } = options;
  const rules: Access | undefined = options.access && createAccess(options.access);

  const challenge = (call: Call, scope?: string, error?: string): Record<string, string> => {
    const parameters: [name: string, value: string | undefined][] =
      auth.kind === "basic"
        ? [["realm", auth.realm]]
        : [
            ["realm", auth.kind === "outside" ? auth.realm : ownRealm(auth, call)],
            ["service", auth.kind === "outside" ? auth.service : ownService],
            ["scope", scope],
            ["error", error],
          ];
    const scheme = auth.kind === "basic" ? "Basic" : "Bearer";
    const text = parameters.flatMap(([name, value]) => (value === undefined ? [] : [`${name}="${value.replace(/[\\"]/g, "\\$&")}"`])).join(",");
    return { "www-authenticate": `${scheme} ${text}` };
  };
  const unauthorized = (call: Call, scope?: string, error?: string): Fault =>
    new Fault("UNAUTHORIZED", "authentication required", { headers: auth.kind === "none" ? {} : challenge(call, scope, error) });

  /** Undefined where none is sent. */
  const byPassword = async (call: Call): Promise<string | undefined> => {
    const sent = basicOf(call.headers.get("authorization"));
    if (sent === undefined) return undefined;
    const passwords = auth.kind === "basic" || auth.kind === "own" ? auth.passwords : undefined;
    if (passwords === undefined || !(await passwords.verify(sent.user, sent.password))) throw wrongPassword(auth.kind === "own" ? {} : challenge(call));
    return sent.user;
  };
  const byToken = (call: Call, text: string): Caller => {
    const token = parseToken(text);
    const now = Math.floor(Date.now() / 1000);
    const good = token !== undefined && (auth.kind === "own" ? hasOurSignature(token, auth.secret) : auth.kind === "outside" && auth.keys.hasSigned(token));
    const want = auth.kind === "outside" ? auth : { issuer: ownService, service: ownService };
    const said = good ? readClaims(token.claims, { ...want, now }) : undefined;
    if (said === undefined) throw unauthorized(call, undefined, "invalid_token");
    return said;
  };

  const ruled = ({ user, grants }: Caller, repository: string, action: Action): boolean =>
    rules === undefined ? auth.kind === "none" || user !== undefined || (auth.kind === "outside" && grants !== undefined) : rules(user, repository, action);
  const covered = ({ grants }: Caller, repository: string, action: Action): boolean => grants === undefined || covers(grants, "repository", repository, action);

  return {
    identify: async (call) => {
      const header = call.headers.get("authorization");
      if (auth.kind === "none" || header === null) return { user: undefined };
      const bearer = /^bearer +(\S+)$/i.exec(header)?.[1];
      if (bearer !== undefined) return byToken(call, bearer);
      const user = await byPassword(call);
      if (user === undefined) throw unauthorized(call);
      return { user };
    },
    allows: (caller, repository, action) => covered(caller, repository, action) && ruled(caller, repository, action),
    // The token for a list covers the list, and no repository.
    sees: (caller, repository) => ruled(caller, repository, "pull"),
    require: (call, caller, repository, action) => {
      const isCovered = covered(caller, repository, action);
      const isRuled = ruled(caller, repository, action);
      if (isCovered && isRuled) return;
      const scope = scopeOf(call, repository, action);
      const hasToken = caller.grants !== undefined;
      // Someone unknown may log in; a token may have been meant for something else.
      if (auth.kind !== "none" && caller.user === undefined) throw unauthorized(call, scope, hasToken ? "insufficient_scope" : undefined);
      if (!isCovered && isRuled) throw unauthorized(call, scope, "insufficient_scope");
      throw new Fault("DENIED", "requested access to the resource is denied", { detail: { type: "repository", name: repository, action } });
    },
    requireIdentity: (call, { user, grants }) => {
      if (auth.kind !== "none" && user === undefined && grants === undefined) throw unauthorized(call);
    },
    requireCatalog: (call, { user, grants }) => {
      const known = user !== undefined || grants !== undefined;
      if (auth.kind !== "none" && !known) throw unauthorized(call, "registry:catalog:*");
      if (grants !== undefined && !covers(grants, "registry", "catalog", "*")) throw unauthorized(call, "registry:catalog:*", "insufficient_scope");
    },
    issueToken:
      auth.kind !== "own"
        ? undefined
        : async (call) => {
            const user = await byPassword(call);
            const service = call.query.get("service");
            if (service !== null && service !== ownService) throw new Fault("DENIED", `tokens are issued for ${ownService} only`, { status: 400 });
            const asked = parseScopes(call.query.getAll("scope"));
            const access = asked.map((grant) => ({ ...grant, actions: allowedOf(grant, (action) => ruled({ user }, grant.name, action)) }));
            return tokenAnswer({ user, access: access.filter(({ actions }) => actions.length > 0), secret: auth.secret, lifetime: auth.lifetimeSeconds });
          },
  };
}

/** Actions of a scope that may be granted; who sees what of the catalog is decided when it is listed. */
function allowedOf({ type, name, actions }: Grant, allows: (action: Action) => boolean): string[] {
  if (type === "registry") return name === "catalog" && actions.includes("*") ? ["*"] : [];
  if (type !== "repository") return [];
  const all: readonly Action[] = ["pull", "push", "delete"];
  return all.filter((action) => (actions.includes(action) || actions.includes("*")) && allows(action));
}

function tokenAnswer(options: { user: string | undefined; access: Grant[]; secret: Uint8Array; lifetime: number }): Answer {
  const { user = "", access, secret, lifetime } = options;
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: ownService, sub: user, aud: ownService, iat: now, nbf: now, exp: now + lifetime, jti: randomUUID(), access };
  const token = signToken(claims, secret);
  const document = { token, access_token: token, expires_in: lifetime, issued_at: new Date(now * 1000).toISOString() };
  return { status: 200, headers: { "content-type": "application/json", "cache-control": "no-store" }, body: JSON.stringify(document) };
}

function wrongPassword(headers: Record<string, string>): Fault {
  return new Fault("UNAUTHORIZED", "incorrect username or password", { headers });
}

/** Name and password of `Authorization: Basic`; undefined where there is none such. */
function basicOf(header: string | null): { user: string; password: string } | undefined {
  const encoded = /^basic +(\S+)$/i.exec(header ?? "")?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon < 0 ? { user: text, password: "" } : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** What a client should ask a token for; a push reads too, and a mount reads the other repository (distribution: docs/spec/auth/scope.md). */
function scopeOf(call: Call, repository: string, action: Action): string {
  const own = `repository:${repository}:${action === "push" ? "pull,push" : action}`;
  const from = action === "push" ? call.query.get("from") : null;
  return from !== null && /^[a-z0-9._/-]{1,255}$/.test(from) ? `${own} repository:${from}:pull` : own;
}

/** The token endpoint's URL as this client reaches the registry: by the host it asked, with TLS where a proxy in front says so. */
function ownRealm(auth: Auth, call: Call): string {
  if (auth.kind === "own" && auth.realm !== undefined) return auth.realm;
  const host = call.headers.get("host") ?? "";
  const scheme = call.secure || call.headers.get("x-forwarded-proto") === "https" ? "https" : "http";
  return `${scheme}://${/^[\w.:[\]-]{1,300}$/.test(host) ? host : "localhost"}${tokenPath}`;
}
