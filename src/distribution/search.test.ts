import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { kindOf, messageOf } from "../lib/errors.ts";
import { silent } from "../lib/log.ts";
import { createRegistryClient } from "./client.ts";
import type { RegistryClient } from "./types.ts";

type Answers = Record<string, (request: Request, url: URL) => Response>;

describe("search", () => {
  let answers: Answers = {};
  let seen: string[] = [];
  let server: ReturnType<typeof Bun.serve>;
  let client: RegistryClient;
  beforeEach(() => {
    seen = [];
    server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) => {
        const url = new URL(request.url);
        seen.push(`${url.pathname}${url.search}`);
        return answers[url.pathname]?.(request, url) ?? new Response("no such page", { status: 404 });
      },
    });
    client = createRegistryClient({ insecure: [], mirrors: [], certificates: [], log: silent });
  });
  afterEach(async () => {
    await server.stop(true);
  });
  const host = (): string => `127.0.0.1:${server.port}`;
  const failure = async (term: string): Promise<string> =>
    await client.search(term, 25).then(
      () => "",
      (error: unknown) => `${kindOf(error)}: ${messageOf(error)}`,
    );
  const ping = { "/v2/": () => new Response("{}") };

  test("by a registry's own search, with the credentials given", async () => {
    answers = {
      ...ping,
      "/v1/search": (request) =>
        request.headers.get("authorization") === `Basic ${btoa("me:secret")}`
          ? Response.json({ results: [{ name: "team/app", description: "An app", star_count: 3, is_official: true }, { name: 1 }, null, { name: "bare" }] })
          : new Response("{}", { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }),
    };
    expect(await client.search(`${host()}/a b&c`, 7, { credentials: { username: "me", password: "secret" } })).toEqual([
      { name: "team/app", description: "An app", stars: 3, official: true },
      { name: "bare", description: "", stars: 0, official: false },
    ]);
    expect(seen.at(-1)).toBe("/v1/search?q=a%20b%26c&n=7");
    expect(await failure(`${host()}/x`)).toMatch(/^unauthorized: /);
  });

  test("by the catalog of a registry without a search, page for page", async () => {
    const all = ["team/app", "team/other", "library/apple", "x"];
    answers = {
      ...ping,
      "/v2/_catalog": (_, url) => {
        const at = Number(url.searchParams.get("last") ?? 0);
        const link = { link: `</v2/_catalog?n=2&last=${at + 2}>; rel="next"` };
        return Response.json({ repositories: [...all.slice(at, at + 2), 7, "Bad Name app"] }, at + 2 < all.length ? { headers: link } : {});
      },
    };
    expect((await client.search(`${host()}/app`, 25)).map(({ name }) => name)).toEqual([`${host()}/team/app`, `${host()}/library/apple`]);
    expect(await client.search(`${host()}/app`, 1)).toHaveLength(1);
  });

  test("what can't be searched", async () => {
    answers = ping;
    expect(await failure(`${host()}/app`)).toBe(`unavailable: ${host()} has neither a search nor a catalog of its repositories`);
    expect(await failure("https://example.com/x")).toContain("should not have a scheme");
    answers = { ...ping, "/v1/search": () => new Response("<html>") };
    expect(await failure(`${host()}/app`)).toContain("the answer is no JSON");
    answers = { ...ping, "/v1/search": () => Response.json({ results: {} }) };
    expect(await failure(`${host()}/app`)).toContain("no list of results");
    answers = { ...ping, "/v1/search": () => new Response("busy", { status: 429 }) };
    expect(await failure(`${host()}/app`)).toContain("too many requests");
  });
});
