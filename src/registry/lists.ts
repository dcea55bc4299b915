import { Fault } from "./faults.ts";
import type { Answer, Call } from "./http.ts";
import type { Records } from "./records.ts";

/** Entries of a page where the client names no number, and the most it may ask for. */
const pageSize = 1000;

export function listTags(records: Records, name: string, call: Call): Answer {
  if (!records.hasRepository(name)) throw new Fault("NAME_UNKNOWN", "repository name not known to registry", { detail: { name } });
  const { entries, link } = page(call, `/v2/${name}/tags/list`, (last, limit) => records.tags(name, last, limit));
  return list({ name, tags: entries }, link);
}

export function listRepositories(records: Records, call: Call): Answer {
  const { entries, link } = page(call, "/v2/_catalog", (last, limit) => records.repositories(last, limit));
  return list({ repositories: entries }, link);
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
