import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { ContentStore } from "../content/types.ts";
import type { Logger } from "../lib/log.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import type { Store } from "../store/store.ts";
import { deleteBlob, getBlob } from "./blobs.ts";
import { Fault, toFault } from "./faults.ts";
import { bodyOf, writeAnswer, type Answer, type Call } from "./http.ts";
import { listRepositories, listTags } from "./lists.ts";
import { deleteManifest, getManifest, listReferrers, putManifest } from "./manifests.ts";
import { createRecords } from "./records.ts";
import { parseRoute, type Route } from "./routes.ts";
import { createUploads } from "./uploads.ts";

export interface RegistryServer {
  /** Default 127.0.0.1:5000; port 0 takes any free one. Answers the address it listens on. */
  listen(address?: { host?: string; port?: number }): Promise<{ host: string; port: number }>;
  /** Stops taking requests, cuts those running, forgets unfinished uploads. */
  close(): Promise<void>;
}

/** How long a client may go on sending a body that was refused, in milliseconds. */
const lingerTime = 2000;

/**
 * A registry by the OCI distribution-spec 1.1. `store` is opened with `registryMigrations`; `content` lies on the same store, for the
 * registry alone: what no repository holds is deleted from it.
 * There is no authentication: listen on loopback, or behind a proxy that has it.
 */
export function createRegistryServer(deps: {
  content: ContentStore;
  store: Store;
  log: Logger;
  /** PEM; without it the registry speaks plain http. */
  tls?: { cert: string; key: string };
}): RegistryServer {
  const { content, store, log } = deps;
  const records = createRecords(store);
  const digests = new KeyedMutex();
  const uploads = createUploads({ content, records, digests });
  const parts = { content, records, digests };

  const answer = async (route: Route, call: Call): Promise<Answer> => {
    const get = call.method === "GET" || call.method === "HEAD";
    switch (route.kind) {
      case "root":
        if (get) return { status: 200, headers: { "content-type": "application/json" }, body: "{}" };
        break;
      case "catalog":
        if (get) return listRepositories(records, call);
        break;
      case "tags":
        if (get) return listTags(records, route.name, call);
        break;
      case "referrers":
        if (get) return listReferrers(parts, route.name, route.digest, call);
        break;
      case "blob":
        if (get) return getBlob(parts, route.name, route.digest, call);
        if (call.method === "DELETE") return await deleteBlob(parts, route.name, route.digest);
        break;
      case "manifest":
        if (get) return await getManifest(parts, route, call);
        if (call.method === "PUT") return await putManifest(parts, route, call);
        if (call.method === "DELETE") return await deleteManifest(parts, route);
        break;
      case "uploads":
        if (call.method === "POST") return await uploads.start(route.name, call);
        break;
      case "upload":
        if (get) return uploads.status(route.name, route.id);
        if (call.method === "PATCH") return await uploads.append(route.name, route.id, call);
        if (call.method === "PUT") return await uploads.finish(route.name, route.id, call);
        if (call.method === "DELETE") return await uploads.cancel(route.name, route.id);
        break;
    }
    throw new Fault("UNSUPPORTED", `${call.method} is not supported here`);
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const target = request.url ?? "/";
    const question = target.indexOf("?");
    const path = question < 0 ? target : target.slice(0, question);
    let result: Answer;
    try {
      const call: Call = {
        method: request.method ?? "GET",
        headers: request.headers,
        query: new URLSearchParams(question < 0 ? "" : target.slice(question + 1)),
        body: () => bodyOf(request),
      };
      const route = parseRoute(path);
      if (route === undefined) throw new Fault("UNSUPPORTED", "no such path", { status: 404 });
      result = await answer(route, call);
    } catch (error) {
      const fault = toFault(error);
      if (fault.status >= 500) log.error("registry request failed", { method: request.method, path, error });
      result = { status: fault.status, headers: { "content-type": "application/json", ...fault.headers }, body: fault.body };
    }
    log.debug("registry request", { method: request.method, path, status: result.status });
    await writeAnswer(request, response, result);
    if (!request.complete) linger(request);
  };

  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    handle(request, response).catch((error: unknown) => {
      log.warn("registry answer was cut off", { path: request.url, error });
      response.destroy();
    });
  };
  const limits = { maxHeaderSize: 64 * 1024 };
  const server = deps.tls === undefined ? createServer(limits, listener) : createTlsServer({ ...limits, ...deps.tls, minVersion: "TLSv1.2" }, listener);
  // Uploads take as long as they take; a silent client is noticed in bodyOf.
  server.requestTimeout = 0;
  server.timeout = 0;

  return {
    listen: async ({ host = "127.0.0.1", port = 5000 } = {}) => {
      for (const digest of records.unused()) await content.remove(digest);
      server.listen(port, host);
      await once(server, "listening");
      const bound = server.address() as AddressInfo;
      log.info("registry listens", { host: bound.address, port: bound.port });
      return { host: bound.address, port: bound.port };
    },
    close: async () => {
      const closed = server.listening ? once(server, "close") : undefined;
      server.close();
      server.closeAllConnections();
      await closed;
      await uploads[Symbol.asyncDispose]();
    },
  };
}

/** Reads on for a moment, so that a client that is still sending gets to see its answer, then cuts it off. */
function linger(request: IncomingMessage): void {
  request.resume();
  const timer = setTimeout(() => request.destroy(), lingerTime);
  timer.unref();
  request.once("close", () => clearTimeout(timer));
}
