import type { Cache } from "./cache.ts";
import { Fault } from "./faults.ts";
import type { Answer, Call } from "./http.ts";
import type { Records } from "./records.ts";

/** Entries of a page where the client names no number, and the most it may ask for. */
const pageSize = 1000;

export async function listTags(records: Records, cache: Cache, name: string, call: Call): Promise<Answer> {
  const there = cache.registryOf(name) === undefined ? undefined : await cache.tags(name);
  if (there !== undefined) {
    const { entries, link } = page(call, `/v2/${name}/tags/list`, (last, limit) => there.filter((tag) => tag > last).slice(0, limit));
    return list({ name, tags: entries }, link);
  }
  if (!records.hasRepository(name)) throw new Fault("NAME_UNKNOWN", "repository name not known to registry", { detail: { name } });
  const { entries, link } = page(call, `/v2/${name}/tags/list`, (last, limit) => records.tags(name, last, limit));
  return list({ name, tags: entries }, link);
}

/** Those that the caller `sees`. */
export function listRepositories(records: Records, call: Call, sees: (name: string) => boolean): Answer {
  const { entries, link } = page(call, "/v2/_catalog", (last, limit) => visible(records, last, limit, sees));
  return list({ repositories: entries }, link);
}

function visible(records: Records, last: string, limit: number, sees: (name: string) => boolean): string[] {
  const found: string[] = [];
  for (let after = last; found.length < limit;) {
    const names = records.repositories(after, pageSize);
    found.push(...names.filter(sees));
    if (names.length < pageSize) break;
    after = names.at(-1)!;
  }
  return found.slice(0, limit);
}

function list(document: object, link: string | undefined): Answer {
  return { status: 200, headers: { "content-type": "application/json", ...(link !== undefined && { link }) }, body: JSON.stringify(document) };
}

function page({ query }: Call, path: string, read: (last: string, limit: number) => string[]): { entries: string[]; link?: string } {
  const asked = query.get("n");
  if (asked !== null && !/^\d{1,9}$/.test(asked))
    throw new Fault("PAGINATION_NUMBER_INVALID", "invalid number of results requested", { detail: { n: asked.slice(0, 20) } });
  const n = asked === null ? pageSize : Math.min(Number(asked), pageSize);
  if (n === 0) return { entries: [] };
  const found = read(query.get("last") ?? "", n + 1);
  if (found.length <= n) return { entries: found };
  const entries = found.slice(0, n);
  const next = new URLSearchParams({ last: entries.at(-1)!, n: String(n) });
  return { entries, link: `<${path}?${next}>; rel="next"` };
}
