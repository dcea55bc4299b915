import { digestLike, digestOf, isDigest } from "../oci/digest.ts";
import { formatReference, repositoryOf, isTag, type Reference } from "../oci/reference.ts";
import { kindOf } from "../lib/errors.ts";
import type { Descriptor } from "../oci/image.ts";
import type { Authorizer } from "./auth.ts";
import { downloadBlob } from "./download.ts";
import type { Endpoint } from "./endpoints.ts";
import { answerError, misbehaviour, RegistryError } from "./errors.ts";
import { indexTypes, manifestTypes, maxManifestSize, parseManifest } from "./manifest.ts";
import { withRetries } from "./retry.ts";
import { send, type Exchange, type HttpRequest } from "./transport.ts";
import type { BlobTarget, RemoteManifest, RemoteRepository, TransferOptions } from "./types.ts";
import { createUpload, locationOf, type BrokenUploads } from "./upload.ts";

export interface RepositoryDeps {
  reference: Reference;
  push: boolean;
  /** Asked before the registry itself. */
  mirrors(): Promise<Endpoint[]>;
  own(signal?: AbortSignal): Promise<Endpoint>;
  authorizer(endpoint: Endpoint): Authorizer;
  forget(endpoint: Endpoint): void;
  stallTimeout: number;
  /** Milliseconds before the first repeated try. */
  retryDelay: number;
  downloadRetries: () => number;
  broken: BrokenUploads;
}

/** One request; `Caller` sends it. */
export interface Call {
  method: HttpRequest["method"];
  /** Path below /v2/<name>/, or a whole URL. */
  path: string;
  headers?: Record<string, string>;
  body?: HttpRequest["body"];
  /** Statuses that are answers, not errors. */
  accept: readonly number[];
  /** Repositories beside this one that the request reads. */
  reads?: readonly string[];
  decompress?: boolean;
  signal?: AbortSignal;
}

/** Largest error body that is read. */
const maxErrorBody = 64 * 1024;
const maxTags = 100_000;

/** The operations of the distribution-spec on one repository. */
export function createRepository(deps: RepositoryDeps): RemoteRepository {
  const { reference } = deps;
  const { path } = reference;
  const ownScope = `repository:${path}:${deps.push ? "pull,push" : "pull"}`;
  /** The endpoint that served the manifest serves its blobs first. */
  let preferred: Endpoint | undefined;

  /** Sends one request, answering a challenge once. Statuses beyond `accept` are thrown. */
  const call = async (endpoint: Endpoint, { method, path: where, headers, body, accept, reads, decompress, signal }: Call): Promise<Exchange> => {
    const url = where.startsWith("http://") || where.startsWith("https://") ? where : withNamespace(`${endpoint.base}/v2/${path}/${where}`, endpoint);
    const scopes = [ownScope, ...(reads ?? []).map((name) => `repository:${name}:pull`)];
    const authorizer = deps.authorizer(endpoint);
    const secret = (): Record<string, string> => (new URL(url).origin === new URL(endpoint.base).origin ? authorizer.headers(scopes) : {});
    const { tls } = endpoint;
    const { stallTimeout } = deps;
    const request = {
      method,
      url,
      tls,
      stallTimeout,
      ...(headers && { headers }),
      ...(body && { body }),
      ...(signal && { signal }),
      ...(decompress === false && { decompress }),
    };
    for (let again = false; ; again = true) {
      const used = secret();
      let exchange: Exchange;
      try {
        exchange = await send({ ...request, secret: used });
      } catch (error) {
        if (error instanceof RegistryError && error.status === undefined) deps.forget(endpoint);
        throw error;
      }
      if (accept.includes(exchange.status)) return exchange;
      using _closing = exchange;
      const { status, headers: answered } = exchange;
      const text = method === "HEAD" ? "" : Buffer.from(await exchange.bytes(maxErrorBody)).toString("utf8");
      const challenge = status === 401 ? answered.get("www-authenticate") : null;
      if (again || challenge === null || !(await authorizer.answer(challenge, used, scopes, signal))) {
        throw answerError({ method, url, status, headers: answered, body: text, anonymous: authorizer.isAnonymous });
      }
    }
  };

  /** Tries the mirrors and then the registry. The registry's own error is the one told. */
  const anywhere = async <T>(signal: AbortSignal | undefined, work: (endpoint: Endpoint) => Promise<T>): Promise<T> => {
    const mirrors = await deps.mirrors();
    const first = preferred === undefined ? mirrors : [preferred, ...mirrors.filter(({ base }) => base !== preferred?.base)];
    const places = [...first.map((endpoint) => async () => endpoint), ...(preferred?.mirror === false ? [] : [() => deps.own(signal)])];
    const ofMirrors: string[] = [];
    let own: RegistryError | undefined;
    for (const place of places) {
      let endpoint: Endpoint | undefined;
      try {
        endpoint = await place();
        const result = await work(endpoint);
        preferred ??= endpoint;
        return result;
      } catch (error) {
        if (kindOf(error) === "cancelled" || !(error instanceof RegistryError)) throw error;
        if (endpoint?.mirror === true) ofMirrors.push(`mirror ${endpoint.base}: ${error.message}`);
        else own = error;
      }
    }
    throw withMirrors(own!, ofMirrors);
  };

  const briefly = { tries: 3, delay: deps.retryDelay };
  /** Who has a mirror that fails would rather be served by the next. */
  const triesAt = ({ mirror }: Endpoint, tries: number): number => (mirror ? 1 : tries);

  const manifest = async (version: string, { signal }: { signal?: AbortSignal } = {}): Promise<RemoteManifest> =>
    await anywhere(
      signal,
      async (endpoint) =>
        await withRetries({ ...briefly, tries: triesAt(endpoint, briefly.tries), ...(signal && { signal }) }, async () => {
          const accept = [...manifestTypes, ...indexTypes].join(", ");
          using exchange = await call(endpoint, { method: "GET", path: `manifests/${version}`, headers: { accept }, accept: [200], ...(signal && { signal }) });
          const bytes = await exchange.bytes(maxManifestSize);
          return checkManifest(bytes, exchange.headers, version, reference);
        }),
    );

  const head: RemoteRepository["head"] = async (version, { signal } = {}) =>
    await anywhere(signal, async (endpoint) => {
      const accept = [...manifestTypes, ...indexTypes].join(", ");
      using exchange = await call(endpoint, {
        method: "HEAD",
        path: `manifests/${version}`,
        headers: { accept },
        accept: [200, 404],
        ...(signal && { signal }),
      });
      const digest = exchange.headers.get("docker-content-digest") ?? "";
      const size = Number(exchange.headers.get("content-length") ?? NaN);
      if (exchange.status === 404 || !isDigest(digest) || !Number.isSafeInteger(size)) return undefined;
      return { mediaType: exchange.headers.get("content-type") ?? "", digest, size };
    });

  const fetchInto = async (descriptor: Descriptor, target: BlobTarget, options: TransferOptions, sequential: boolean): Promise<void> =>
    await anywhere(options.signal, async (endpoint) => {
      await downloadBlob(call, endpoint, descriptor, target, {
        tries: triesAt(endpoint, 1 + deps.downloadRetries()),
        delay: deps.retryDelay,
        ...options,
        sequential,
      });
    });

  const download: RemoteRepository["download"] = async (descriptor, target, options = {}) => await fetchInto(descriptor, target, options, false);

  const blob: RemoteRepository["blob"] = async (descriptor, sink, options = {}) => {
    const missing = (): { start: number; end: number }[] => [{ start: sink.written, end: descriptor.size }];
    const write: BlobTarget["write"] = async (at, chunks) => {
      let to = at;
      for (const chunk of chunks) {
        // Some registries know no ranges: then bytes that are there come again.
        const known = Math.min(Math.max(sink.written - to, 0), chunk.length);
        if (known < chunk.length) await sink.write(chunk.subarray(known));
        to += chunk.length;
      }
    };
    await fetchInto(descriptor, { missing, write }, options, true);
  };

  /** Pushes go to the registry itself, never to a mirror. */
  const { own } = deps;

  const hasBlob: RemoteRepository["hasBlob"] = async (digest, { signal } = {}) => {
    const endpoint = await own(signal);
    return await withRetries({ ...briefly, ...(signal && { signal }) }, async () => {
      using exchange = await call(endpoint, { method: "HEAD", path: `blobs/${digest}`, accept: [200, 404], ...(signal && { signal }) });
      return exchange.status === 200;
    });
  };

  const mount: RemoteRepository["mount"] = async (digest, from, { signal } = {}) => {
    const endpoint = await own(signal);
    const query = new URLSearchParams({ mount: digest, from });
    try {
      using exchange = await call(endpoint, { method: "POST", path: `blobs/uploads/?${query}`, accept: [201, 202], reads: [from], ...(signal && { signal }) });
      if (exchange.status === 201) return true;
      const upload = locationOf(exchange, endpoint);
      using _cancelled = await call(endpoint, { method: "DELETE", path: upload, accept: [200, 202, 204, 404, 405], ...(signal && { signal }) });
    } catch (error) {
      // Not allowed to read the other repository, or no such thing as mounting: then the blob is uploaded.
      if (!(error instanceof RegistryError) || error.status === undefined || error.temporary) throw error;
    }
    return false;
  };

  const upload: RemoteRepository["upload"] = async (source, options = {}) => {
    const endpoint = await own(options.signal);
    const { attempt } = createUpload(call, endpoint, deps.broken, `${endpoint.base}/${path}@${source.digest}`, source, options);
    await withRetries({ tries: 5, delay: deps.retryDelay, ...options }, attempt);
  };

  const putManifest: RemoteRepository["putManifest"] = async (version, bytes, mediaType, { signal } = {}) => {
    const endpoint = await own(signal);
    const digest = digestOf(bytes);
    await withRetries({ ...briefly, ...(signal && { signal }) }, async () => {
      const request: Call = { method: "PUT", path: `manifests/${version}`, headers: { "content-type": mediaType }, body: () => bytes, accept: [200, 201, 202] };
      using exchange = await call(endpoint, { ...request, ...(signal && { signal }) });
      const said = exchange.headers.get("docker-content-digest");
      if (said?.startsWith("sha256:") && said !== digest) {
        throw misbehaviour(`the registry stored the manifest of ${formatReference(reference)} as ${said.slice(0, 80)}, but its digest is ${digest}`);
      }
    });
    return digest;
  };

  const tags: RemoteRepository["tags"] = async ({ signal } = {}) =>
    await anywhere(signal, async (endpoint) => {
      const found = new Set<string>();
      let next: string | undefined = "tags/list?n=1000";
      while (next !== undefined && found.size < maxTags) {
        using exchange: Exchange = await call(endpoint, { method: "GET", path: next, accept: [200], ...(signal && { signal }) });
        const before = found.size;
        for (const tag of parseTags(await exchange.bytes(maxManifestSize), reference)) found.add(tag);
        // A registry that ignores `last` would page for ever.
        next = found.size > before ? nextPage(exchange) : undefined;
      }
      return [...found];
    });

  return { reference, manifest, head, download, blob, hasBlob, mount, upload, putManifest, tags };
}

function withNamespace(url: string, { namespace }: Endpoint): string {
  return namespace === undefined ? url : `${url}${url.includes("?") ? "&" : "?"}ns=${encodeURIComponent(namespace)}`;
}

/** The registry's own failure, with those of the mirrors that were asked before. */
function withMirrors(failure: RegistryError, mirrors: readonly string[]): RegistryError {
  if (mirrors.length === 0) return failure;
  return new RegistryError(failure.kind, `${failure.message} (${mirrors.join("; ")})`, failure);
}

function checkManifest(bytes: Uint8Array, headers: Headers, version: string, reference: Reference): RemoteManifest {
  const where = repositoryOf(reference) + (isDigest(version) ? `@${version}` : `:${version}`);
  const said = headers.get("docker-content-digest");
  for (const digest of [version, said ?? ""]) {
    if (!isDigest(digest)) continue;
    const actual = digestLike(bytes, digest);
    if (actual !== digest) throw misbehaviour(`manifest verification failed for digest ${digest}: the registry sent ${actual}`);
  }
  const { mediaType, document } = parseManifest(bytes, headers.get("content-type"), where);
  const digest = isDigest(version) ? version : digestOf(bytes);
  return { descriptor: { mediaType, digest, size: bytes.length }, bytes, document };
}

/** Sends one request to an endpoint, answering a challenge once. */
export type Caller = (endpoint: Endpoint, call: Call) => Promise<Exchange>;

function parseTags(bytes: Uint8Array, reference: Reference): string[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (error) {
    throw misbehaviour(`the list of tags of ${repositoryOf(reference)} is no JSON`, error);
  }
  const tags = (parsed as { tags?: unknown } | null)?.tags ?? [];
  if (!Array.isArray(tags)) throw misbehaviour(`the list of tags of ${repositoryOf(reference)} is no list`);
  return tags.filter((tag): tag is string => typeof tag === "string" && isTag(tag));
}

/** The `Link: <…>; rel="next"` of a paged list, on the same host only. */
function nextPage(exchange: Exchange): string | undefined {
  const link = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(exchange.headers.get("link") ?? "")?.[1];
  if (link === undefined || !URL.canParse(link, exchange.url)) return undefined;
  const target = new URL(link, exchange.url);
  return target.origin === new URL(exchange.url).origin ? target.href : undefined;
}
