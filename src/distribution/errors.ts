import { createPrivateKey, X509Certificate } from "node:crypto";
import { EngineError, kindOf, messageOf, type ErrorKind } from "../lib/errors.ts";
import { familiarName, familiarReference, type Reference } from "../oci/reference.ts";
import { parseChallenges } from "./challenge.ts";
import type { TlsOptions } from "./transport.ts";

/** A registry's refusal or failure, worded as Docker words it (`manifest unknown: manifest unknown`). */
export class RegistryError extends EngineError {
  /** HTTP status, absent where no answer came. */
  readonly status: number | undefined;
  /** The distribution-spec's code: MANIFEST_UNKNOWN, DENIED… */
  readonly code: string | undefined;
  /** Seconds, from Retry-After. */
  readonly retryAfter: number | undefined;
  /** Whether trying again may help. */
  readonly temporary: boolean;

  constructor(kind: ErrorKind, message: string, options: { status?: number; code?: string; retryAfter?: number; temporary?: boolean; cause?: unknown } = {}) {
    super(kind, message, { cause: options.cause });
    this.name = "RegistryError";
    this.status = options.status;
    this.code = options.code;
    this.retryAfter = options.retryAfter;
    this.temporary = options.temporary ?? false;
  }
}

/** A registry that breaks the protocol or lies: trying again won't help. */
export function misbehaviour(message: string, cause?: unknown): RegistryError {
  return new RegistryError("unavailable", message, { cause });
}

interface AnswerParts {
  method: string;
  url: string;
  status: number;
  headers: Headers;
  body: string;
  /** The request was sent without any credentials, since there are none. */
  anonymous?: boolean;
}

/** Reads an error answer: the distribution-spec's `errors` list, a token server's `details`, or whatever else came. */
export function answerError({ method, url, status, headers, body, anonymous = false }: AnswerParts): RegistryError {
  if (anonymous && asksForPassword(status, headers))
    return new RegistryError("unauthorized", `${goMethod(method)} "${url}": no basic auth credentials`, { status, code: "UNAUTHORIZED" });
  const { code, message } = challengeError(status, headers) ?? bodyError(status, body) ?? { code: undefined, message: undefined };
  if (status === 407) return new RegistryError("unavailable", `${goMethod(method)} "${url}": ${wrongProxyUser}`, { status });
  const retryAfter = secondsOf(headers.get("retry-after") ?? "");
  const temporary = status === 429 || status === 408 || (status >= 500 && status !== 501 && status !== 505 && status !== 507);
  const kind = kindOfStatus(status, code);
  if (status === 429) return rateLimitError(url, headers, retryAfter, message ?? "too many requests");
  const options = { status, retryAfter, temporary, ...(code === undefined ? {} : { code }) };
  if (code === undefined || message === undefined) {
    const text = `received unexpected HTTP status: ${status} ${statusTexts[status] ?? ""}`.trimEnd();
    return new RegistryError(kind, `${goMethod(method)} "${url}": ${text}`, options);
  }
  const words = code.toLowerCase().replaceAll("_", " ");
  return new RegistryError(kind, message === "" ? words : `${words}: ${message}`, options);
}

/** Of a Retry-After: seconds, or a date (RFC 9110, 10.2.3). undefined for what is neither, or over. */
function secondsOf(retryAfter: string): number | undefined {
  if (/^\d{1,6}$/.test(retryAfter)) return Number(retryAfter);
  const seconds = retryAfter.endsWith(" GMT") ? Math.ceil((Date.parse(retryAfter) - Date.now()) / 1000) : NaN;
  return seconds > 0 ? seconds : undefined;
}

/**
 * `toomanyrequests: <what the registry said>`, as Docker words it, and what can be done. Docker Hub counts pulls over hours (`ratelimit-limit:
 * 100;w=21600`): trying again at once is no use there; others mean seconds.
 */
function rateLimitError(url: string, headers: Headers, retryAfter: number | undefined, said: string): RegistryError {
  const { hostname } = new URL(url);
  const [, count, window] = /^(\d+)(?:;w=(\d+))?/.exec(headers.get("ratelimit-limit") ?? "") ?? [];
  const isQuota = window !== undefined || /rate limit/i.test(said);
  const limit = count === undefined ? "" : ` (${count} pulls${window === undefined ? "" : ` in ${duration(Number(window))}`})`;
  const wait = retryAfter === undefined ? (isQuota ? "wait some hours" : "wait a moment") : `wait ${duration(retryAfter)}`;
  const ways = isQuota
    ? `${wait}, log in to ${hostname} with an account that may pull more ('docker login'), or name a mirror in daemon.json`
    : `${wait} and try again`;
  const text = `toomanyrequests: ${said.replace(/[.\s]+$/, "")}: ${hostname} limits how much may be pulled${limit}; ${ways}`;
  return new RegistryError("unavailable", text, { status: 429, code: "TOOMANYREQUESTS", ...(retryAfter !== undefined && { retryAfter }), temporary: !isQuota });
}

function duration(seconds: number): string {
  const [size, unit] = seconds >= 7200 ? [3600, "hours"] : seconds >= 120 ? [60, "minutes"] : [1, "seconds"];
  return `${Math.ceil(seconds / size)} ${unit}`;
}

function asksForPassword(status: number, headers: Headers): boolean {
  return status === 401 && parseChallenges(headers.get("www-authenticate") ?? "").some(({ scheme }) => scheme === "basic");
}

/** A token was good but not for this: registries answer 401 with `error="insufficient_scope"` in the challenge, which Docker reads as denied. */
function challengeError(status: number, headers: Headers): { code: string; message: string } | undefined {
  if (status !== 401) return undefined;
  for (const { scheme, parameters } of parseChallenges(headers.get("www-authenticate") ?? "")) {
    if (scheme !== "bearer") continue;
    if (parameters.error === "insufficient_scope") return { code: "DENIED", message: "requested access to the resource is denied" };
    if (parameters.error === "invalid_token") return { code: "UNAUTHORIZED", message: "authentication required" };
  }
  return undefined;
}

function bodyError(status: number, body: string): { code: string; message: string } | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    parsed = undefined;
  }
  if (typeof parsed === "object" && parsed !== null) {
    const { errors, details, detail } = parsed as { errors?: unknown; details?: unknown; detail?: unknown };
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
    if (typeof first === "object" && first !== null) {
      const { code, message } = first as { code?: unknown; message?: unknown };
      if (typeof code === "string" && /^[A-Za-z0-9_ -]{1,64}$/.test(code)) return { code, message: typeof message === "string" ? clean(message) : "" };
    }
    const text = typeof details === "string" ? details : detail;
    if (typeof text === "string" && text !== "") return { code: codeOfStatus(status), message: clean(text) };
  }
  const code = codeOfStatus(status);
  if (code === "UNKNOWN") return undefined;
  return { code, message: defaultMessages[code] ?? statusTexts[status] ?? "" };
}

/** One printable line of what a registry said: it ends up in terminals. */
function clean(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ").slice(0, 1000);
}

function codeOfStatus(status: number): string {
  const codes: Record<number, string> = { 401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS" };
  return codes[status] ?? "UNKNOWN";
}

const defaultMessages: Record<string, string> = {
  UNAUTHORIZED: "authentication required",
  DENIED: "requested access to the resource is denied",
  TOOMANYREQUESTS: "too many requests",
};

const statusTexts: Record<number, string> = {
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Request Entity Too Large",
  416: "Requested Range Not Satisfiable",
  429: "Too Many Requests",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  507: "Insufficient Storage",
};

const wrongProxyUser = "Proxy Authentication Required: the proxy wants another user or password";
/** Go's words, which clients look for, and what helps. */
const unknownAuthority =
  "tls: failed to verify certificate: x509: certificate signed by unknown authority (a registry's own CA belongs into " +
  "/etc/berth/certs.d/REGISTRY/ca.crt, REGISTRY with its port as in names of images)";
const orClientCertificate = " (or it asks for a client's certificate: NAME.cert and NAME.key in /etc/berth/certs.d/REGISTRY)";
const unusableCertificates =
  "tls: the registry's folder in certs.d has a *.crt that is no certificate in PEM, or a client's NAME.cert and NAME.key that don't belong together";

function kindOfStatus(status: number, code: string | undefined): ErrorKind {
  if (code === "DENIED") return "permissionDenied";
  if (code === "UNAUTHORIZED") return "unauthorized";
  switch (status) {
    case 401:
      return "unauthorized";
    case 403:
      return "permissionDenied";
    case 404:
      return "notFound";
    case 400:
    case 413:
      return "invalidArgument";
    default:
      return "unavailable";
  }
}

/** `Get`, as Go's http client writes methods in its errors. */
export function goMethod(method: string): string {
  return method.charAt(0) + method.slice(1).toLowerCase();
}

/** A request that got no answer: `Get "https://host/v2/": dial tcp host: connect: connection refused`. */
export function connectionError(method: string, url: string, error: unknown, tls?: TlsOptions): RegistryError {
  const { host, hostname } = new URL(url);
  const { code, status, statusText, hostname: soughtName = hostname } = error as { code?: unknown; status?: number; statusText?: string; hostname?: string };
  const dialed = `dial tcp ${host}${orProxy(url)}`;
  const texts: Record<string, [text: string, temporary: boolean]> = {
    ECONNREFUSED: [`${dialed}: connect: connection refused`, true],
    ECONNRESET: ["connection reset by peer", true],
    ETIMEDOUT: [`${dialed}: i/o timeout`, true],
    EHOSTUNREACH: [`${dialed}: connect: no route to host`, true],
    ENETUNREACH: [`${dialed}: connect: network is unreachable`, true],
    ENOTFOUND: [`dial tcp: lookup ${soughtName}: no such host`, false],
    EAI_AGAIN: [`dial tcp: lookup ${soughtName}: Temporary failure in name resolution`, true],
    ERR_PROXY_TUNNEL:
      status === 407 ? [wrongProxyUser, false] : [`proxyconnect: the proxy does not lead to ${host}: ${status} ${clean(statusText ?? "")}`, true],
    // a failed handshake: fetch doesn't tell why
    EPROTO: [`http: server gave HTTP response to HTTPS client${tls?.cert === undefined ? orClientCertificate : ""}`, false],
    ...(tls !== undefined && unusable(tls) && { FailedToOpenSocket: [unusableCertificates, false] }),
    Malformed_HTTP_Response: ["net/http: HTTP response is malformed or its header is too large", false],
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: [unknownAuthority, false],
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY: [unknownAuthority, false],
    SELF_SIGNED_CERT_IN_CHAIN: [unknownAuthority, false],
    DEPTH_ZERO_SELF_SIGNED_CERT: [unknownAuthority, false],
    CERT_HAS_EXPIRED: ["tls: failed to verify certificate: x509: certificate has expired or is not yet valid", false],
    ERR_TLS_CERT_ALTNAME_INVALID: [`tls: failed to verify certificate: x509: certificate is not valid for ${hostname}`, false],
  };
  const [text, temporary] = (typeof code === "string" ? texts[code] : undefined) ?? [messageOf(error), true];
  return new RegistryError("unavailable", `${goMethod(method)} "${url}": ${text}`, { temporary, cause: error });
}

/** Whether a registry's own certificates are such that fetch opens no connection at all, without a word why. */
function unusable({ ca = [], cert, key }: TlsOptions): boolean {
  try {
    for (const each of ca) new X509Certificate(each);
    return cert !== undefined && !new X509Certificate(cert).checkPrivateKey(createPrivateKey(key ?? ""));
  } catch {
    return true;
  }
}

/** Who else may be meant where a connection fails: fetch doesn't tell whether it goes to the host or to its proxy, which `no_proxy` decides. */
function orProxy(url: string): string {
  const { protocol, hostname } = new URL(url);
  const proxy = process.env[protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY"] ?? "";
  if (!URL.canParse(proxy) || hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.")) return "";
  return ` (or the proxy ${new URL(proxy).host})`;
}

/**
 * The error of a pull, worded as clients match it: Docker tells a missing repository and a refused one apart by text only, and answers
 * both with 404.
 */
export function pullError(error: unknown, reference: Reference): unknown {
  if (!(error instanceof RegistryError)) return error;
  if (error.kind === "unauthorized") return withoutPrompt(error);
  const { message, code, status } = error;
  const again = (text: string): EngineError => new EngineError("notFound", text, { cause: error });
  if (code === "DENIED") return again(`pull access denied for ${familiarName(reference)}, repository does not exist or may require 'docker login': ${message}`);
  if (code === "NAME_UNKNOWN") return again(`repository ${familiarName(reference)} not found: ${message}`);
  if (code === "MANIFEST_UNKNOWN") return again(`manifest for ${familiarReference(reference)} not found: ${message}`);
  if (status === 404) return again(`manifest for ${familiarReference(reference)} not found: manifest unknown: ${message}`);
  return error;
}

/**
 * What a registry refused for want of (good) credentials: no 401 to the client, upon which docker commands up to 28.2 ask for a user name, in scripts too,
 * where they then wait for ever (docker/cli#6141). dockerd answers a 500.
 */
export function withoutPrompt(error: unknown): unknown {
  if (!(error instanceof RegistryError) || error.kind !== "unauthorized") return error;
  return new EngineError("permissionDenied", error.message, { cause: error });
}

/** Whether an operation that failed with `error` may succeed when it is tried again. */
export function isTemporary(error: unknown): boolean {
  return error instanceof RegistryError && error.temporary && kindOf(error) !== "cancelled";
}
