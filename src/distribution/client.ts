import type { Logger } from "../lib/log.ts";
import { invalidArgument } from "../lib/errors.ts";
import { createAuthorizer, type Authorizer } from "./auth.ts";
import { createEndpoints, type Endpoint, type Endpoints } from "./endpoints.ts";
import { answerError } from "./errors.ts";
import { createRepository } from "./repository.ts";
import { searchRegistry } from "./search.ts";
import { send } from "./transport.ts";
import type { Credentials, RegistryClient, RegistryPlaces } from "./types.ts";
import type { BrokenUploads } from "./upload.ts";

export interface RegistryClientOptions extends RegistryPlaces {
  /** Folders with a registry's certificates; default Docker's and ours. */
  certificates?: readonly string[];
  /** Milliseconds without a byte after which an exchange is given up. */
  stallTimeout?: number;
  /** Milliseconds before the first repeated try. */
  retryDelay?: number;
  /** Times that a failed download is tried again; asked at each download. Docker's 5 unless told. */
  downloadRetries?: () => number;
  log: Logger;
}

/** @throws EngineError invalidArgument for a mirror or an insecure registry that doesn't parse */
export function createRegistryClient(options: RegistryClientOptions): RegistryClient {
  const { log, stallTimeout = 30_000, retryDelay = 500, downloadRetries = () => 5 } = options;
  const certificates = options.certificates ?? ["/etc/berth/certs.d", "/etc/docker/certs.d"];
  const prepare = ({ insecure, mirrors, mirrorsOf = {} }: RegistryPlaces): Endpoints =>
    createEndpoints({ insecure, mirrors, mirrorsOf, certificates, stallTimeout, log });
  let endpoints = prepare(options);
  const broken: BrokenUploads = new Map();

  const authorizers = (credentials: Credentials, offline = false): ((endpoint: Endpoint) => Authorizer) => {
    const known = new Map<string, Authorizer>();
    return (endpoint) => {
      const found = known.get(endpoint.base);
      if (found !== undefined) return found;
      // A mirror is another's host: it gets no password for the registry that it mirrors.
      const plain = endpoint.base.startsWith("http:");
      const authorizer = createAuthorizer({ credentials: endpoint.mirror ? {} : credentials, tls: endpoint.tls, plain, stallTimeout, offline });
      known.set(endpoint.base, authorizer);
      return authorizer;
    };
  };

  return {
    configure: (places) => {
      const next = prepare(places);
      return () => {
        endpoints = next;
      };
    },
    repository: (reference, { credentials = {}, push = false } = {}) => {
      const { domain } = reference;
      let own: Promise<Endpoint> | undefined;
      let mirrors: Promise<Endpoint[]> | undefined;
      return createRepository({
        reference,
        push,
        mirrors: () => (mirrors ??= push ? Promise.resolve([]) : endpoints.mirrors(domain)),
        own: (signal) =>
          (own ??= endpoints.own(domain, signal).catch((error: unknown) => {
            own = undefined;
            throw error;
          })),
        authorizer: authorizers(credentials),
        forget: (endpoint) => endpoints.forget(endpoint),
        stallTimeout,
        retryDelay,
        downloadRetries,
        broken,
      });
    },
    login: async (server, credentials, { signal } = {}) => {
      const endpoint = await endpoints.own(loginHost(server), signal);
      const authorizer = authorizers(credentials, true)(endpoint);
      const url = `${endpoint.base}/v2/`;
      for (let tries = 0; ; tries++) {
        const used = authorizer.headers([]);
        using exchange = await send({ method: "GET", url, secret: used, tls: endpoint.tls, stallTimeout, ...(signal && { signal }) });
        if (exchange.status === 200) {
          log.debug("registry login", { host: endpoint.base });
          return authorizer.identityToken === undefined ? {} : { identityToken: authorizer.identityToken };
        }
        const { status, headers } = exchange;
        const body = Buffer.from(await exchange.bytes(64 * 1024)).toString("utf8");
        const challenge = status === 401 ? headers.get("www-authenticate") : null;
        if (tries > 0 || challenge === null || !(await authorizer.answer(challenge, used, [], signal))) {
          throw answerError({ method: "GET", url, status, headers, body });
        }
      }
    },
    search: async (term, limit, { credentials = {}, signal } = {}) => {
      const endpointOf = async (host: string, stop?: AbortSignal): Promise<Endpoint> => await endpoints.own(host, stop);
      return await searchRegistry({ endpointOf, authorizer: authorizers(credentials), stallTimeout }, term, limit, signal);
    },
    isInsecure: (host) => endpoints.isInsecure(host),
  };
}

/** `https://index.docker.io/v1/`, `localhost:5000`, `https://host/`: what clients send as server address. */
function loginHost(server: string): string {
  const host = server.replace(/^https?:\/\//, "").split("/", 1)[0]!;
  if (host === "" || host === "index.docker.io" || host === "docker.io" || host === "registry-1.docker.io") return "docker.io";
  if (!/^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?$/.test(host)) throw invalidArgument(`invalid registry address ${JSON.stringify(server.slice(0, 200))}`);
  return host;
}
