import { invalidArgument } from "../lib/errors.ts";
import { isRepositoryPath } from "../oci/reference.ts";
import type { Authorizer } from "./auth.ts";
import type { Endpoint } from "./endpoints.ts";
import { answerError, misbehaviour } from "./errors.ts";
import { send } from "./transport.ts";
import type { SearchResult } from "./types.ts";

const hub = "docker.io";
/** Docker Hub searches at another host than it serves images from. */
const hubIndex = "https://index.docker.io";
const maxAnswer = 4 << 20;
/** Pages of a catalog that are read for one search. */
const maxPages = 50;

export interface SearchDeps {
  endpointOf: (host: string, signal?: AbortSignal) => Promise<Endpoint>;
  authorizer: (endpoint: Endpoint) => Authorizer;
  stallTimeout: number;
}

/**
 * Repositories whose name fits `term`, which may begin with a registry's host: by the search that Docker Hub and others have (`/v1/search`), or where a
 * registry has none by its catalog. @throws RegistryError, EngineError invalidArgument
 */
export async function searchRegistry(deps: SearchDeps, term: string, limit: number, signal?: AbortSignal): Promise<SearchResult[]> {
  if (term.includes("://")) throw invalidArgument(`invalid repository name: repository name (${term}) should not have a scheme`);
  const { host, name } = splitTerm(term);
  const found = await deps.endpointOf(host, signal);
  const endpoint = host === hub ? { ...found, base: hubIndex } : found;
  const query = `q=${encodeURIComponent(host === hub ? name.replace(/^library\//, "") : name)}&n=${limit}`;
  const answer = await get(deps, endpoint, `/v1/search?${query}`, "registry:catalog:search", signal);
  if (answer !== undefined) return readResults(answer.json).slice(0, limit);
  if (host === hub) throw misbehaviour("Docker Hub doesn't answer searches");
  return await searchCatalog(deps, endpoint, host, name, limit, signal);
}

/** As for images: what stands before the first slash is a host if it can't be a user's name. */
function splitTerm(term: string): { host: string; name: string } {
  const slash = term.indexOf("/");
  const first = term.slice(0, Math.max(slash, 0));
  if (slash < 0 || (!/[.:]/.test(first) && first !== "localhost")) return { host: hub, name: term };
  if (!/^(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?$/.test(first)) throw invalidArgument(`invalid registry address ${JSON.stringify(first.slice(0, 200))}`);
  return first === "index.docker.io" || first === hub ? { host: hub, name: term.slice(slash + 1) } : { host: first, name: term.slice(slash + 1) };
}

function readResults(value: unknown): SearchResult[] {
  const { results } = (value ?? {}) as { results?: unknown };
  if (!Array.isArray(results)) throw misbehaviour("the registry's answer to a search has no list of results");
  return results.flatMap((item: unknown): SearchResult[] => {
    const { name, description, star_count: stars, is_official: official } = (item ?? {}) as Record<string, unknown>;
    if (typeof name !== "string") return [];
    return [
      {
        name,
        description: typeof description === "string" ? description : "",
        stars: Number.isSafeInteger(stars) ? (stars as number) : 0,
        official: official === true,
      },
    ];
  });
}

/** A catalog knows names alone: they are told with their host, as one pulls them. */
async function searchCatalog(deps: SearchDeps, endpoint: Endpoint, host: string, name: string, limit: number, signal?: AbortSignal): Promise<SearchResult[]> {
  const found: SearchResult[] = [];
  let path: string | undefined = "/v2/_catalog?n=1000";
  for (let page = 0; page < maxPages && path !== undefined && found.length < limit; page++) {
    const answer = await get(deps, endpoint, path, "registry:catalog:*", signal);
    const names = (answer?.json as { repositories?: unknown } | null | undefined)?.repositories;
    if (answer === undefined || !Array.isArray(names)) throw misbehaviour(`${host} has neither a search nor a catalog of its repositories`);
    for (const repository of names as unknown[]) {
      if (typeof repository !== "string" || !isRepositoryPath(repository) || !repository.includes(name)) continue;
      found.push({ name: `${host}/${repository}`, description: "", stars: 0, official: false });
    }
    const next: string | undefined = /<([^>]+)>;\s*rel="?next"?/.exec(answer.link)?.[1];
    const url: URL | undefined = next === undefined || !URL.canParse(next, endpoint.base) ? undefined : new URL(next, endpoint.base);
    path = url === undefined || url.origin !== new URL(endpoint.base).origin ? undefined : `${url.pathname}${url.search}`;
  }
  return found.slice(0, limit);
}

/** undefined where there is no such page. */
async function get(
  deps: SearchDeps,
  endpoint: Endpoint,
  path: string,
  scope: string,
  signal?: AbortSignal,
): Promise<{ json: unknown; link: string } | undefined> {
  const authorizer = deps.authorizer(endpoint);
  const url = `${endpoint.base}${path}`;
  for (let again = false; ; again = true) {
    const used = authorizer.headers([scope]);
    using exchange = await send({ method: "GET", url, secret: used, tls: endpoint.tls, stallTimeout: deps.stallTimeout, ...(signal && { signal }) });
    const { status, headers } = exchange;
    const body = Buffer.from(await exchange.bytes(maxAnswer)).toString("utf8");
    if (status === 404) return undefined;
    if (status === 200) {
      try {
        return { json: JSON.parse(body) as unknown, link: headers.get("link") ?? "" };
      } catch (error) {
        throw misbehaviour(`Get "${url}": the answer is no JSON`, error);
      }
    }
    const challenge = status === 401 ? headers.get("www-authenticate") : null;
    if (again || challenge === null || !(await authorizer.answer(challenge, used, [scope], signal)))
      throw answerError({ method: "GET", url, status, headers, body });
  }
}
