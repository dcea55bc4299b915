import { ApiError, ConnectionError, errorMessage } from "./errors.ts";
import { connectHijack, connectRaw, type HijackedConnection, type RawConnection, type SocketHost } from "./hijack.ts";
import type { ClientTls, Host } from "./host.ts";
import type { Tunnel } from "./ssh.ts";

/** Newest API version this client knows. An older engine says its own, which is used from then on. */
export const newestVersion = "1.55";

export type QueryValue = string | number | boolean | readonly string[] | undefined;
export type Query = Record<string, QueryValue>;

export interface RequestOptions {
  query?: Query;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is; a stream is read with back-pressure. */
  body?: ReadableStream<Uint8Array> | Blob | Uint8Array;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Speaks HTTP to one engine. Every method throws ApiError for an answer of 400 and up, and ConnectionError where none came. */
export interface Transport {
  readonly host: Host;
  request(method: string, path: string, options?: RequestOptions): Promise<Response>;
  /** The answer's JSON. */
  json<T>(method: string, path: string, options?: RequestOptions): Promise<T>;
  /** The answer as JSON lines. */
  lines<T>(method: string, path: string, options?: RequestOptions): Promise<AsyncIterable<T>>;
  /** Takes the connection over (attach, exec start). */
  hijack(path: string, options?: { query?: Query; json?: unknown; signal?: AbortSignal }): Promise<HijackedConnection>;
  /** A connection that nothing has been said on yet. */
  connect(): Promise<RawConnection>;
  /** The API version in use; asks the engine where none was given. */
  version(): Promise<string>;
}

/** `a=1&b=x`; true is 1, false and undefined are left out, a list repeats its name. */
export function encodeQuery(query: Query | undefined): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined || value === false) continue;
    for (const one of Array.isArray(value) ? (value as string[]) : [value === true ? "1" : String(value)]) {
      parts.push(`${name}=${encodeURIComponent(one)}`);
    }
  }
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}

/** A path below sun_path's 107 bytes for any socket: long ones are reached through their folder's descriptor, kept open for the program's life. */
async function reachable(path: string): Promise<string> {
  if (Buffer.byteLength(path) <= 107) return path;
  const [{ openSync }, { dirname, basename }] = await Promise.all([import("node:fs"), import("node:path")]);
  return `/proc/self/fd/${openSync(dirname(path), "r")}/${basename(path)}`;
}

export function createTransport(options: { host: Host; tls?: ClientTls; version?: string; userAgent?: string; headers?: Record<string, string> }): Transport {
  const { host, tls } = options;
  const fixed = options.version !== undefined && options.version !== "";
  let version = fixed ? (options.version as string) : newestVersion;
  let negotiated = fixed;
  let socketPath: string | undefined;
  let tunnel: Tunnel | undefined;
  const origin = host.kind !== "tcp" ? "http://berth" : `${host.tls ? "https" : "http"}://${host.hostname}:${host.port}`;
  const common: Record<string, string> = { "User-Agent": options.userAgent ?? "Berth-Client", ...options.headers };
  const tlsOptions = host.kind === "tcp" && host.tls ? tlsInit(tls) : undefined;

  async function send(method: string, path: string, request: RequestOptions): Promise<Response> {
    const headers: Record<string, string> = { ...common, ...request.headers };
    const init: BunFetchRequestInit & { timeout?: boolean; unix?: string } = { method, headers, redirect: "manual", timeout: false, proxy: false };
    if (request.json !== undefined) {
      headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(request.json);
    } else if (request.body !== undefined) init.body = request.body as NonNullable<BunFetchRequestInit["body"]>;
    if (request.signal !== undefined) init.signal = request.signal;
    if (tlsOptions !== undefined) init.tls = tlsOptions;
    const place = await placeOf();
    if (place.kind === "unix") init.unix = place.path;
    try {
      return await fetch(origin + path, init);
    } catch (error) {
      if (request.signal?.aborted) throw error;
      throw broken(error);
    }
  }

  /** A socket to connect to. */
  async function placeOf(): Promise<SocketHost> {
    if (host.kind === "tcp") return host;
    if (host.kind === "ssh" && tunnel === undefined) {
      const { openTunnel } = await import("./ssh.ts");
      tunnel ??= openTunnel(host);
    }
    return { kind: "unix", path: (socketPath ??= await reachable(host.kind === "ssh" ? tunnel!.path : host.path)), text: host.text };
  }

  function broken(error: unknown): ConnectionError {
    const said = tunnel?.failure();
    return said === undefined ? connectionError(host, error) : new ConnectionError(host.text, "", `error during connect to ${host.text}: ${said}`, error);
  }

  async function negotiate(): Promise<string> {
    if (negotiated) return version;
    const answer = await send("HEAD", "/_ping", {});
    adopt(answer.headers.get("api-version"));
    return version;
  }

  function adopt(theirs: string | null): void {
    negotiated = true;
    if (theirs !== null && /^\d+\.\d+$/.test(theirs) && olderThan(theirs, version)) version = theirs;
  }

  async function request(method: string, path: string, init: RequestOptions = {}): Promise<Response> {
    // Asking for the version first costs a round trip, so only what can't be sent twice does it; the rest is sent with the newest version, and
    // again with the engine's own if that is refused as too new.
    if (init.body instanceof ReadableStream) await negotiate();
    const query = encodeQuery(init.query);
    let answer = await send(method, `/v${version}${path}${query}`, init);
    if (answer.status === 400 && !negotiated) {
      const refused = await errorOf(answer);
      if (!/too new/.test(refused.message)) throw refused;
      await negotiate();
      answer = await send(method, `/v${version}${path}${query}`, init);
    }
    // dockerd looks for the path before the version: what it doesn't have proves nothing
    if (answer.status !== 404) negotiated = true;
    if (answer.status >= 400) throw await errorOf(answer);
    return answer;
  }

  return {
    host,
    request,
    json: async <T>(method: string, path: string, init?: RequestOptions) => (await request(method, path, init)).json() as Promise<T>,
    lines: async <T>(method: string, path: string, init?: RequestOptions) => {
      const answer = await request(method, path, init);
      const { jsonLines } = await import("./streams.ts");
      return jsonLines<T>(answer.body ?? new ReadableStream());
    },
    hijack: async (path, init = {}) => {
      const target = await placeOf();
      try {
        return await connectHijack({
          host: target,
          tls: tlsOptions,
          target: `/v${await negotiate()}${path}${encodeQuery(init.query)}`,
          headers: common,
          json: init.json,
          signal: init.signal,
        });
      } catch (error) {
        if (error instanceof ApiError || init.signal?.aborted) throw error;
        throw broken(error);
      }
    },
    connect: async () => {
      const target = await placeOf();
      try {
        return await connectRaw({ host: target, ...(tlsOptions && { tls: tlsOptions }) });
      } catch (error) {
        throw broken(error);
      }
    },
    version: negotiate,
  };
}

function tlsInit(tls: ClientTls | undefined): { ca?: string; cert?: string; key?: string; rejectUnauthorized: boolean } {
  const { ca, cert, key, verify } = tls ?? { verify: true };
  return { ...(ca === undefined ? {} : { ca }), ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }), rejectUnauthorized: verify };
}

function olderThan(a: string, b: string): boolean {
  const [aMajor = 0, aMinor = 0] = a.split(".").map(Number);
  const [bMajor = 0, bMinor = 0] = b.split(".").map(Number);
  return aMajor < bMajor || (aMajor === bMajor && aMinor < bMinor);
}

async function errorOf(answer: Response): Promise<ApiError> {
  return new ApiError(answer.status, errorMessage(await answer.text(), answer.status, answer.statusText));
}

function connectionError(host: Host, error: unknown): ConnectionError {
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
  if (code === "EACCES" || code === "EPERM") {
    return new ConnectionError(host.text, code, `permission denied while trying to connect to the Berth engine socket at ${host.text}`, error);
  }
  if (
    [
      "ENOENT",
      "ECONNREFUSED",
      "ENOTFOUND",
      "EINVAL",
      "ENAMETOOLONG",
      "FailedToOpenSocket",
      "ConnectionRefused",
      "EHOSTUNREACH",
      "ENETUNREACH",
      "ETIMEDOUT",
    ].includes(code)
  ) {
    return new ConnectionError(host.text, code, `Cannot connect to the Berth engine at ${host.text}. Is berthd running?`, error);
  }
  const text = tlsProblem(host, code) ?? (error instanceof Error ? error.message.split(". For more information")[0] : String(error));
  return new ConnectionError(host.text, code, `error during connect to ${host.text}: ${text}`, error);
}

/** Says what a broken connection most likely means where one side speaks TLS and the other doesn't. */
function tlsProblem(host: Host, code: string): string | undefined {
  if (host.kind !== "tcp") return undefined;
  if (host.tls && code === "EPROTO")
    return "the TLS handshake failed: does the engine speak TLS there, and does it want a client certificate (--tlscert, --tlskey)?";
  if (!host.tls && code === "ECONNRESET") return "the connection was closed: if the engine wants TLS, add --tlsverify";
  return undefined;
}
