import { invalidArgument, notFound } from "../lib/errors.ts";
import type { Endpoint } from "./endpoint.ts";
import { maxApi, minApi, parseApiVersion, type ApiVersion } from "./versions.ts";

export interface Match {
  endpoint: Endpoint;
  params: Record<string, string>;
  api: ApiVersion;
}

/** Finds the endpoint for a method and a raw path (without query). @throws EngineError notFound, invalidArgument */
export type Router = (method: string, path: string) => Match;

interface Pattern {
  endpoint: Endpoint;
  expression: RegExp;
  names: string[];
}

const noParams: Record<string, string> = Object.freeze({});

/**
 * Endpoints without parameters are found by one look-up, the others by trying those of the same method and first segment, in the list's order. Clients of a
 * version below `lowest` are refused.
 */
export function createRouter(endpoints: readonly Endpoint[], lowest: ApiVersion = minApi): Router {
  const fixed = new Map<string, Endpoint>();
  const patterns = new Map<string, Pattern[]>();
  for (const endpoint of endpoints) {
    if (!endpoint.path.includes("{")) {
      fixed.set(`${endpoint.method} ${endpoint.path}`, endpoint);
      continue;
    }
    const key = `${endpoint.method} ${firstSegment(endpoint.path)}`;
    const before = patterns.get(key);
    if (before === undefined) patterns.set(key, [compile(endpoint)]);
    else before.push(compile(endpoint));
  }

  const find = (method: string, path: string): { endpoint: Endpoint; params: Record<string, string> } | undefined => {
    // `OPTIONS *` stands for every path, as in dockerd
    const exact = fixed.get(method === "OPTIONS" ? "OPTIONS *" : `${method} ${path}`);
    if (exact !== undefined) return { endpoint: exact, params: noParams };
    for (const { endpoint, expression, names } of patterns.get(`${method} ${firstSegment(path)}`) ?? []) {
      const found = expression.exec(path);
      if (found === null) continue;
      const params: Record<string, string> = {};
      for (const [index, name] of names.entries()) params[name] = decode(found[index + 1]!);
      return { endpoint, params };
    }
    return undefined;
  };

  return (method, fullPath) => {
    const { version, path } = splitVersion(fullPath);
    const found = find(method, path);
    // dockerd answers a wrong method as it does an unknown path
    if (found === undefined) throw notFound("page not found");
    const api = version === undefined ? maxApi : parseApiVersion(version, lowest);
    const { since } = found.endpoint;
    if (since !== undefined && api < since) throw invalidArgument(`${method} ${path} requires minimum API version 1.${since}`);
    return { ...found, api };
  };
}

/** `/v1.41/info` → 1.41 and `/info`. */
function splitVersion(path: string): { version?: string; path: string } {
  if (path[1] !== "v") return { path };
  const found = /^\/v([0-9.]+)(\/.*)$/.exec(path);
  return found === null ? { path } : { version: found[1]!, path: found[2]! };
}

function firstSegment(path: string): string {
  const end = path.indexOf("/", 1);
  return end < 0 ? path : path.slice(0, end);
}

function compile(endpoint: Endpoint): Pattern {
  const names: string[] = [];
  const source = endpoint.path.replace(/\/\{(\w+)(\*?)\}/g, (_, name: string, many: string) => {
    names.push(name);
    // names of containers are also sent with their leading slash: `/containers//web/json`
    return many === "*" ? "/+(.+)" : "/+([^/]+)";
  });
  return { endpoint, names, expression: new RegExp(`^${source}$`) };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (error) {
    throw invalidArgument(`malformed escape in path: ${JSON.stringify(segment)}`, error);
  }
}
