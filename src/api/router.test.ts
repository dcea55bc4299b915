import { describe, expect, test } from "bun:test";
import { kindOf } from "../lib/errors.ts";
import { endpoint } from "./endpoint.ts";
import { endpoints } from "./endpoints.ts";
import { createRouter } from "./router.ts";
import { parseMinimum } from "./versions.ts";

const route = createRouter(endpoints);

describe("routing", () => {
  const cases: [string, string, string, Record<string, string>][] = [
    ["GET", "/_ping", "/_ping", {}],
    ["HEAD", "/v1.30/_ping", "/_ping", {}],
    ["GET", "/containers/json", "/containers/json", {}],
    ["GET", "/v1.41/containers/web/json", "/containers/{id}/json", { id: "web" }],
    ["GET", "/containers//web/json", "/containers/{id}/json", { id: "web" }],
    ["GET", "/containers/%2Fweb/json", "/containers/{id}/json", { id: "/web" }],
    ["DELETE", "/containers/web", "/containers/{id}", { id: "web" }],
    ["POST", "/containers/create", "/containers/create", {}],
    ["POST", "/containers/prune", "/containers/prune", {}],
    ["GET", "/images/json", "/images/json", {}],
    ["GET", "/images/localhost:5000/a/b:1/json", "/images/{name*}/json", { name: "localhost:5000/a/b:1" }],
    ["GET", "/images/localhost%3A5000%2Fa%2Fb/history", "/images/{name*}/history", { name: "localhost:5000/a/b" }],
    ["GET", "/images/get", "/images/get", {}],
    ["GET", "/images/a/b/get", "/images/{name*}/get", { name: "a/b" }],
    ["POST", "/images/a/b/push", "/images/{name*}/push", { name: "a/b" }],
    ["DELETE", "/images/a/b@sha256:00", "/images/{name*}", { name: "a/b@sha256:00" }],
    ["GET", "/networks/", "/networks/", {}],
    ["GET", "/networks/bridge", "/networks/{id}", { id: "bridge" }],
    ["POST", "/v1.44/services/x/update", "/services/{rest*}", { rest: "x/update" }],
  ];
  for (const [method, path, pattern, params] of cases) {
    test(`${method} ${path}`, () => {
      const match = route(method, path);
      expect(match.endpoint.path).toBe(pattern);
      expect(match.params).toEqual(params);
    });
  }

  for (const [method, path] of [
    ["GET", "/nothing"],
    ["GET", "/"],
    ["PATCH", "/info"],
    ["POST", "/info"],
    ["GET", "/v1.41"],
    ["GET", "/v1.41x/info"],
    ["GET", "/containers/web"],
    ["GET", "/../info"],
  ] as const) {
    test(`${method} ${path} isn't there`, () => expect(() => route(method, path)).toThrow("page not found"));
  }

  test("a bad escape is the client's error", () => {
    expect(() => route("GET", "/containers/%zz/json")).toThrow("malformed escape");
  });

  test("every endpoint is found under its own path", () => {
    for (const each of endpoints) {
      const path = each.path.replace(/\{(\w+)\*?\}/g, "x");
      expect(route(each.method, path === "*" ? "*" : path).endpoint.method).toBe(each.method);
    }
  });
});

test("OPTIONS is answered on every path", () => {
  const router = createRouter([endpoint({ method: "OPTIONS", path: "*", handler: () => {} })]);
  for (const path of ["*", "/info", "/v1.45/containers/json"]) expect(router("OPTIONS", path).endpoint.path).toBe("*");
});

describe("versions", () => {
  test("unversioned is the newest", () => expect(route("GET", "/info").api).toBe(55));
  test("a version is its minor number", () => expect(route("GET", "/v1.24/info").api).toBe(24));

  test("too old and too new, in dockerd's words", () => {
    const old = "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version";
    expect(() => route("GET", "/v1.23/info")).toThrow(old);
    expect(() => route("GET", "/v1.56/info")).toThrow("client version 1.56 is too new. Maximum supported API version is 1.55");
    expect(() => route("GET", "/v2.0/info")).toThrow("too new");
    expect(() => route("GET", "/v0.9/info")).toThrow("too old");
  });

  test("the administrator's own minimum holds for every version that is named", () => {
    const router = createRouter(endpoints, parseMinimum("1.40"));
    const old = "client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version";
    expect(() => router("GET", "/v1.39/_ping")).toThrow(old);
    expect([router("GET", "/v1.40/_ping").api, router("GET", "/_ping").api]).toEqual([40, 55]);
  });

  test("an endpoint that is younger than the client is refused", () => {
    const router = createRouter([endpoint({ method: "GET", path: "/new", since: 30, handler: () => {} })]);
    expect(router("GET", "/v1.30/new").api).toBe(30);
    let error: unknown;
    try {
      router("GET", "/v1.29/new");
    } catch (caught) {
      error = caught;
    }
    expect(kindOf(error)).toBe("invalidArgument");
  });
});
