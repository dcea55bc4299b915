import { withoutPrompt } from "../../distribution/errors.ts";
import { booleanFilter } from "../../images/list.ts";
import { invalidArgument } from "../../lib/errors.ts";
import { registryAuth } from "../auth.ts";
import { endpoint, json } from "../endpoint.ts";
import type { SearchResultItem } from "../types/images.ts";

const defaultLimit = 25;
const maxLimit = 100;

/** At Docker Hub, or at the registry that the term begins with. */
export const searchImages = endpoint({
  method: "GET",
  path: "/images/search",
  handler: async ({ services, query, exchange, signal }) => {
    const limit = limitOf(query.text("limit"));
    const filters = query.filters(["is-automated", "is-official", "stars"]);
    const official = filters["is-official"] === undefined ? undefined : booleanFilter("is-official", filters["is-official"], false);
    // no image is, for years, and clients that ask for those get none
    if (booleanFilter("is-automated", filters["is-automated"], false)) return json([]);
    const stars = Math.max(0, ...(filters.stars ?? []).map(starsOf));
    const credentials = registryAuth(exchange.head.headers);
    const found = await services.registry.search(query.text("term"), limit, { signal, ...(credentials && { credentials }) }).catch((error: unknown) => {
      throw withoutPrompt(error);
    });
    const fitting = found.filter((each) => (official === undefined || each.official === official) && each.stars >= stars);
    return json(
      fitting.map((each): SearchResultItem => ({
        star_count: each.stars,
        is_official: each.official,
        name: each.name,
        is_automated: false,
        description: each.description,
      })),
    );
  },
});

function limitOf(text: string): number {
  if (text === "") return defaultLimit;
  if (!/^\d{1,9}$/.test(text)) throw invalidArgument(`invalid limit specified: ${JSON.stringify(text)}`);
  const limit = Number(text) || defaultLimit;
  if (limit > maxLimit) throw invalidArgument(`limit ${limit} is outside the range of [1, ${maxLimit}]`);
  return limit;
}

function starsOf(text: string): number {
  if (!/^[+-]?\d{1,9}$/.test(text)) throw invalidArgument(`invalid filter 'stars=${text}'`);
  return Number(text);
}
