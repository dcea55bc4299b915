import { invalidArgument } from "../lib/errors.ts";

/**
 * The minor number of an API version `1.x`: all that differs between versions is asked as `api < 44`. Facts per version:
 * docs.docker.com/reference/api/engine/version-history.
 */
export type ApiVersion = number;

export const minApi: ApiVersion = 24;
export const maxApi: ApiVersion = 55;
export const minApiText = `1.${minApi}`;
export const maxApiText = `1.${maxApi}`;

/** The administrator's own minimum: `1.40`. @throws EngineError invalidArgument, in dockerd's words */
export function parseMinimum(text: string): ApiVersion {
  const minor = Number(/^1\.(\d{1,3})$/.exec(text)?.[1]);
  if (minor >= minApi && minor <= maxApi) return minor;
  throw invalidArgument(`invalid minimum API version (${text}): must be between ${minApiText} and ${maxApiText}`);
}

/** The version in a path's prefix (`1.41` of `/v1.41/…`). @throws EngineError invalidArgument, in dockerd's words */
export function parseApiVersion(text: string, lowest: ApiVersion): ApiVersion {
  const [major = 0, minor = 0] = text.split(".").map(Number);
  if (major < 1 || (major === 1 && minor < lowest)) {
    throw invalidArgument(`client version ${text} is too old. Minimum supported API version is 1.${lowest}, please upgrade your client to a newer version`);
  }
  if (major > 1 || minor > maxApi) throw invalidArgument(`client version ${text} is too new. Maximum supported API version is ${maxApiText}`);
  return minor;
}

/** A field of an answer and the versions that have it. */
export interface FieldGate {
  /** Dotted path; `*` stands for every element of a list or value of a map. */
  path: string;
  /** First version with the field. */
  since?: ApiVersion;
  /** First version without it. */
  until?: ApiVersion;
}

/** Takes out of `value` what the client's version doesn't know, or no longer knows. Changes `value`. */
export function gateFields<T>(value: T, gates: readonly FieldGate[], api: ApiVersion): T {
  for (const gate of gates) {
    if ((gate.since !== undefined && api < gate.since) || (gate.until !== undefined && api >= gate.until)) drop(value, gate.path.split("."), 0);
  }
  return value;
}

function drop(value: unknown, path: readonly string[], at: number): void {
  if (typeof value !== "object" || value === null) return;
  const key = path[at]!;
  const record = value as Record<string, unknown>;
  if (key === "*") for (const child of Object.values(record)) drop(child, path, at + 1);
  else if (at === path.length - 1) delete record[key];
  else drop(record[key], path, at + 1);
}
