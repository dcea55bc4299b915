import type { AuthConfig, Filters } from "./types.ts";

/** The `filters` parameter: a JSON map of map (what engines of every version take). Undefined where there is none. */
export function filtersParam(filters: Filters | undefined): string | undefined {
  const entries = Object.entries(filters ?? {});
  if (entries.length === 0) return undefined;
  return JSON.stringify(Object.fromEntries(entries.map(([name, values]) => [name, Object.fromEntries(values.map((value) => [value, true]))])));
}

/** A JSON value as Docker's headers carry it: base64 in the URL alphabet, padded. */
export function headerJson(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
}

/** `X-Registry-Auth`; an empty object where there are no credentials, as Docker's client sends it. */
export function registryAuth(auth: AuthConfig | undefined): Record<string, string> {
  return { "X-Registry-Auth": headerJson(auth ?? {}) };
}
