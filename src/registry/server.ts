import type { Server } from "bun";
import type { ContentStore } from "../content/types.ts";
import type { RegistryClient } from "../distribution/types.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { expositionType, type Exposition } from "../lib/metrics.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import type { Digest } from "../oci/digest.ts";
import type { AccessConfig, Action } from "./access.ts";
import { deleteBlob, getBlob } from "./blobs.ts";
import { createCache, type CacheConfig } from "./cache.ts";
import { createCollector, type CollectConfig } from "./collect.ts";
import { Fault, toFault } from "./faults.ts";
import { createGuard, tokenPath, type Auth, type Caller } from "./guard.ts";
import { bodyOf, toResponse, type Answer, type Call } from "./http.ts";
import { listRepositories, listTags } from "./lists.ts";
import { deleteManifest, getManifest, listReferrers, putManifest } from "./manifests.ts";
import { createRegistryMetrics } from "./metrics.ts";
import { createQuota, type QuotaConfig } from "./quota.ts";
import type { Records } from "./records.ts";
import { parseRoute, type Route } from "./routes.ts";
import { createUploads } from "./uploads.ts";

/** What can change while the registry runs. */
export interface RegistrySettings {
  auth: Auth;
  /** Undefined: whoever may come in may do everything. */
  access?: AccessConfig;
  readOnly: boolean;
  gc: CollectConfig;
  quota: QuotaConfig;
  cache: CacheConfig;
}

/** Open to all, without limits; nothing is collected by itself. */
export const openToAll: RegistrySettings = {
  auth: { kind: "none" },
  readOnly: false,
  gc: { interval: 0, grace: 24 * 60 * 60_000, untagged: false },
  quota: { repositories: {} },
  cache: { upstreams: [], revalidate: 60_000 },
};

export interface RegistryServer {
  /** Default 127.0.0.1:5000; port 0 takes any free one. Answers the address it listens on. @throws EngineError invalidArgument */
  listen(address?: { host?: string; port?: number }): Promise<{ host: string; port: number }>;
  /** Puts other settings into force, for requests that begin later. */
  configure(settings: RegistrySettings): void;
  /** Removes what no manifest names. */
  collect(): Promise<{ blobs: number; manifests: number }>;
  writeMetrics(out: Exposition): void;
  /** Stops taking requests, cuts those running, forgets unfinished uploads. */
  close(): Promise<void>;
}

const metricsPath = "/metrics";
/** Seconds without a byte in either direction after which a connection is cut; Bun's largest. */
const idleTimeout = 255;

/**
 * A registry by the OCI distribution-spec 1.1. `content` lies on the same store as `records`, which are one of its owners; there may be others.
 */
export function createRegistryServer(deps: {
  content: ContentStore;
  records: Records;
  /** For the registries that it keeps copies of. */
  client: Pick<RegistryClient, "repository">;
  log: Logger;
  settings?: RegistrySettings;
  /** PEM; without it the registry speaks plain http. */
  tls?: { cert: string; key: string };
}): RegistryServer {
  const { content, records, log, tls } = deps;
  let settings = deps.settings ?? openToAll;
  let guard = createGuard(settings);
  const digests = new KeyedMutex();
  const release = (digest: Digest): Promise<void> =>
    digests.run(digest, async () => {
      await content.collect([digest]);
    });
  const quota = createQuota(records, settings.quota);
  const uploads = createUploads({ content, records, digests, quota });
  const cache = createCache({ content, records, digests, release, client: deps.client, config: settings.cache, log });
  const collector = createCollector({ records, release, tidy: [uploads.dropIdle, cache.evict, () => content.collectDownloads()], config: settings.gc, log });
  const metrics = createRegistryMetrics({
    uploads: uploads.figures,
    cache: cache.figures,
    collector: collector.figures,
    bytes: () => records.totalBytes,
  });
  const parts = { content, records, digests, quota, cache, release };
  let server: Server<undefined> | undefined;

  const serve = async (route: Route, call: Call, caller: Caller): Promise<Answer> => {
    const get = call.method === "GET" || call.method === "HEAD";
    switch (route.kind) {
      case "root":
        guard.requireIdentity(call, caller);
        if (get) return { status: 200, headers: { "content-type": "application/json" }, body: "{}" };
        break;
      case "catalog":
        guard.requireCatalog(call, caller);
        if (get) return listRepositories(records, call, (name) => guard.sees(caller, name));
        break;
      case "tags":
        if (get) return await listTags(records, cache, route.name, call);
        break;
      case "referrers":
        if (get) return listReferrers(parts, route.name, route.digest, call);
        break;
      case "blob":
        if (get) return await getBlob(parts, route.name, route.digest, call);
        if (call.method === "DELETE") return await deleteBlob(parts, route.name, route.digest);
        break;
      case "manifest":
        if (get) return await getManifest(parts, route, call);
        if (call.method === "PUT") return await putManifest(parts, route, call);
        if (call.method === "DELETE") return await deleteManifest(parts, route);
        break;
      case "uploads":
        if (call.method === "POST") return await uploads.start(route.name, call, (name) => guard.allows(caller, name, "pull"));
        break;
      case "upload":
        if (get) return await uploads.status(route.name, route.id);
        if (call.method === "PATCH") return await uploads.append(route.name, route.id, call);
        if (call.method === "PUT") return await uploads.finish(route.name, route.id, call);
        if (call.method === "DELETE") return await uploads.cancel(route.name, route.id);
        break;
    }
    throw new Fault("UNSUPPORTED", `${call.method} is not supported here`);
  };

  const answer = async (path: string, call: Call, onRoute: (kind: string) => void): Promise<Answer> => {
    if (path === metricsPath) {
      onRoute("metrics");
      guard.requireIdentity(call, await guard.identify(call));
      if (call.method === "GET") return { status: 200, headers: { "content-type": expositionType }, body: metrics.text() };
      throw new Fault("UNSUPPORTED", `${call.method} is not supported here`);
    }
    if (path === tokenPath && guard.issueToken !== undefined) {
      onRoute("token");
      if (call.method === "GET") return await guard.issueToken(call);
      throw new Fault("UNSUPPORTED", `${call.method} is not supported here`);
    }
    const route = parseRoute(path);
    if (route === undefined) throw new Fault("UNSUPPORTED", "no such path", { status: 404 });
    onRoute(route.kind);
    const caller = await guard.identify(call);
    const action = actionOf(route, call.method);
    if (action !== undefined && "name" in route) guard.require(call, caller, route.name, action);
    const copied = action === "push" && "name" in route ? cache.registryOf(route.name) : undefined;
    if (copied !== undefined && "name" in route) throw new Fault("UNSUPPORTED", `${route.name} is a copy of what ${copied} has: push it there`);
    if (settings.readOnly && (action === "push" || action === "delete")) throw new Fault("UNSUPPORTED", "the registry is read-only");
    return await serve(route, call, caller);
  };

  const handle = async (request: Request): Promise<Response> => {
    const { method, url } = request;
    const body = bodyOf(request);
    const target = url.slice(url.indexOf("/", url.indexOf("://") + 3));
    const question = target.indexOf("?");
    const path = question < 0 ? target : target.slice(0, question);
    const start = performance.now();
    let kind = "other";
    let result: Answer;
    try {
      const query = new URLSearchParams(question < 0 ? "" : target.slice(question + 1));
      result = await answer(path, { method, secure: tls !== undefined, headers: request.headers, query, body: body.chunks }, (known) => (kind = known));
    } catch (error) {
      const fault = toFault(error);
      if (fault.status >= 500) log.error("registry request failed", { method, path, error });
      result = { status: fault.status, headers: { "content-type": "application/json", ...fault.headers }, body: fault.body };
    }
    const lingering = body.refuse();
    metrics.observe({ route: kind, method, status: result.status, seconds: (performance.now() - start) / 1000 });
    log.debug("registry request", { method, path, status: result.status });
    return toResponse(method, result, lingering);
  };

  return {
    configure: (next) => {
      settings = next;
      guard = createGuard(next);
      quota.configure(next.quota);
      collector.configure(next.gc);
      cache.configure(next.cache);
    },
    collect: collector.collect,
    writeMetrics: metrics.write,
    listen: async ({ host = "127.0.0.1", port = 5000 } = {}) => {
      try {
        server = Bun.serve({
          hostname: host,
          port,
          idleTimeout,
          maxRequestBodySize: Number.MAX_SAFE_INTEGER,
          development: false,
          // Without `development` it would be true (measured, Bun 1.4.5): another registry could listen on the same port, and get half of the clients.
          reusePort: false,
          ...(tls === undefined ? {} : { tls }),
          fetch: handle,
          // What was to be sent was deleted between the look and the sending.
          error: (error) => {
            log.warn("registry answer failed", { error });
            return new Response(null, { status: 500 });
          },
        });
      } catch (error) {
        throw invalidArgument(`can't listen on ${host}:${port}: ${messageOf(error)}`, error);
      }
      const bound = { host: server.hostname ?? host, port: server.port ?? port };
      log.info("registry listens", bound);
      const isLocal = bound.host === "localhost" || bound.host === "::1" || bound.host.startsWith("127.");
      if (settings.auth.kind === "none" && settings.access === undefined && !settings.readOnly && !isLocal) {
        log.warn("the registry has no users: whoever can reach it may push and delete", bound);
      }
      return bound;
    },
    close: async () => {
      collector[Symbol.dispose]();
      await server?.stop(true);
      await uploads[Symbol.asyncDispose]();
    },
  };
}

/** The right that a request needs; undefined where it isn't about one repository. */
function actionOf(route: Route, method: string): Action | undefined {
  switch (route.kind) {
    case "uploads":
    case "upload":
      return "push";
    case "root":
    case "catalog":
      return undefined;
    default:
      return method === "GET" || method === "HEAD" ? "pull" : method === "DELETE" ? "delete" : "push";
  }
}
