import { invalidArgument } from "../lib/errors.ts";
import { unlessAborted } from "../lib/unless-aborted.ts";
import { parseChallenges, type Challenge } from "./challenge.ts";
import { answerError, misbehaviour, RegistryError } from "./errors.ts";
import { send, type TlsOptions } from "./transport.ts";
import type { Credentials } from "./types.ts";

/** Largest answer of a token server that is read. */
const maxTokenAnswer = 256 * 1024;

export interface Authorizer {
  /** Authorization for requests within `scopes`, if one is known to be needed. */
  headers(scopes: readonly string[]): Record<string, string>;
  /**
   * After a 401 to a request sent with `used`: gets what the challenge asks for. False where there is nothing (better) to send.
   * @throws RegistryError where the token server refuses
   */
  answer(challenges: string, used: Record<string, string>, scopes: readonly string[], signal?: AbortSignal): Promise<boolean>;
  /** Whether there are no credentials at all. */
  readonly isAnonymous: boolean;
  /** The refresh token that a token server gave in exchange for a password. */
  readonly identityToken: string | undefined;
}

export interface AuthorizerOptions {
  credentials: Credentials;
  tls: TlsOptions;
  /** Whether the registry is reached over plain http: only then may the token server be. */
  plain: boolean;
  stallTimeout: number;
  /** Ask for a refresh token too. */
  offline?: boolean;
}

/** User name and password in any of the forms that clients send them. */
function userOf(credentials: Credentials): { username: string; password: string } | undefined {
  const { username = "", password = "", auth } = credentials;
  if (username !== "" || password !== "") return { username, password };
  if (auth === undefined || auth === "") return undefined;
  const text = Buffer.from(auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) throw invalidArgument("the registry credentials are not base64 of user:password");
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** Answers a registry's challenges: none, Basic, or Docker's token flow (distribution: docs/spec/auth). One for each registry and set of credentials. */
export function createAuthorizer(options: AuthorizerOptions): Authorizer {
  const { credentials } = options;
  const tokens = new Map<string, string>();
  const pending = new Map<string, Promise<void>>();
  let basic: string | undefined;
  let identityToken: string | undefined;

  const headers = (scopes: readonly string[]): Record<string, string> => {
    const token = credentials.registrytoken || tokens.get(scopes.join(" "));
    if (token !== undefined && token !== "") return { authorization: `Bearer ${token}` };
    return basic === undefined ? {} : { authorization: basic };
  };

  const fetchToken = async (challenge: Challenge, scopes: readonly string[]): Promise<void> => {
    const answer = await requestToken(challenge, scopes, options);
    tokens.set(scopes.join(" "), answer.token);
    if (answer.refresh !== undefined) identityToken = answer.refresh;
  };

  return {
    headers,
    answer: async (header, used, scopes, signal) => {
      if (credentials.registrytoken) return false;
      const now = headers(scopes);
      if (now.authorization !== used.authorization) return true;
      const challenges = parseChallenges(header);
      const bearer = challenges.find(({ scheme }) => scheme === "bearer");
      if (bearer !== undefined) {
        const key = scopes.join(" ");
        // One request for all that wait for the same token: who goes away doesn't take it from the others.
        const running = pending.get(key) ?? fetchToken(bearer, scopes).finally(() => pending.delete(key));
        pending.set(key, running);
        await unlessAborted(running, signal, "cancelled while waiting for a token");
        return true;
      }
      const user = userOf(credentials);
      if (user === undefined || basic !== undefined || !challenges.some(({ scheme }) => scheme === "basic")) return false;
      basic = basicHeader(user);
      return true;
    },
    get isAnonymous() {
      return !credentials.registrytoken && !credentials.identitytoken && userOf(credentials) === undefined;
    },
    get identityToken() {
      return identityToken;
    },
  };
}

function basicHeader({ username, password }: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}

/** GET with the password, or POST with the refresh token, as Docker's client does. */
async function requestToken(
  { parameters }: Challenge,
  scopes: readonly string[],
  { credentials, tls, plain, stallTimeout, offline }: AuthorizerOptions,
): Promise<{ token: string; refresh?: string }> {
  const url = realmOf(parameters.realm, plain || tls.insecure);
  const user = userOf(credentials);
  const refreshToken = credentials.identitytoken || (user?.username === "<token>" ? user.password : "");
  const query = new URLSearchParams();
  if (parameters.service !== undefined) query.set("service", parameters.service);
  if (refreshToken !== "") {
    query.set("grant_type", "refresh_token");
    query.set("refresh_token", refreshToken);
    query.set("client_id", "docker");
    query.set("scope", scopes.join(" "));
  } else {
    for (const scope of scopes) query.append("scope", scope);
    if (offline) {
      query.set("offline_token", "true");
      query.set("client_id", "docker");
    }
    if (user !== undefined) query.set("account", user.username);
    for (const [name, value] of query) url.searchParams.append(name, value);
  }
  using exchange = await send({
    method: refreshToken === "" ? "GET" : "POST",
    url: url.href,
    headers: refreshToken === "" ? {} : { "content-type": "application/x-www-form-urlencoded" },
    secret: refreshToken === "" && user !== undefined ? { authorization: basicHeader(user) } : {},
    ...(refreshToken === "" ? {} : { body: () => query.toString() }),
    tls,
    stallTimeout,
  });
  const text = Buffer.from(await exchange.bytes(maxTokenAnswer)).toString("utf8");
  if (exchange.status !== 200) {
    const error = answerError({ method: "GET", url: url.origin + url.pathname, status: exchange.status, headers: exchange.headers, body: text });
    throw new RegistryError(error.kind, `Get "${url.origin}${url.pathname}": ${error.message}`, { ...error, cause: error });
  }
  return parseToken(text, url);
}

function realmOf(realm: string | undefined, plainAllowed: boolean): URL {
  if (realm === undefined || !URL.canParse(realm)) throw misbehaviour("the registry asks for a token but names no token server");
  const url = new URL(realm);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && plainAllowed)) {
    throw misbehaviour(`the registry names a token server that isn't reached over https: ${JSON.stringify(realm.slice(0, 200))}`);
  }
  return url;
}

function parseToken(text: string, url: URL): { token: string; refresh?: string } {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch (error) {
    throw misbehaviour(`the token server ${url.host} answered no JSON`, error);
  }
  const { token, access_token: accessToken, refresh_token: refresh } = (answer ?? {}) as Record<string, unknown>;
  const found = typeof token === "string" && token !== "" ? token : accessToken;
  if (typeof found !== "string" || !/^[\x21-\x7e]+$/.test(found))
    throw misbehaviour(`authorization server ${url.host} did not include a token in the response`);
  return typeof refresh === "string" && refresh !== "" ? { token: found, refresh } : { token: found };
}
