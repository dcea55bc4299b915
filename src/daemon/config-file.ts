import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { invalidArgument, messageOf } from "../lib/errors.ts";

/** Objects that are settings themselves; any other object only groups keys (`proxies`), as in dockerd. */
const flat = new Set(["log-opts", "mirrors", "runtimes", "default-ulimits", "features", "builder", "nri-opts", "default-network-opts"]);

/**
 * The settings of `path` and then of `path.d/*.json` in lexical order, as one map. A later file adds to a list, adds or replaces entries of a map, and
 * replaces everything else. Missing files count as empty, except for `path` itself where it was asked for by name.
 * @throws EngineError invalidArgument naming the file that can't be read, or isn't a JSON object
 */
export function readConfigFile(path: string, wanted: boolean): Record<string, unknown> {
  const merged: Record<string, unknown> = {};
  merge(merged, read(path, wanted, ""));
  for (const name of dropIns(`${path}.d`)) merge(merged, read(join(`${path}.d`, name), true, `${name}: `));
  return merged;
}

function dropIns(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(".json") && !name.startsWith("."))
      .sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw invalidArgument(`${folder}: ${messageOf(error)}`, error);
  }
}

function merge(into: Record<string, unknown>, from: Record<string, unknown>): void {
  for (const [key, value] of Object.entries(from)) {
    // as in Go: null leaves a setting as it is
    if (value === null) continue;
    const before = into[key];
    if (isMap(value) && !flat.has(key)) merge(into, value);
    else if (Array.isArray(before) && Array.isArray(value)) into[key] = [...before, ...value];
    else if (isMap(before) && isMap(value)) into[key] = { ...before, ...value };
    else into[key] = value;
  }
}

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** `prefix` tells a drop-in's name. */
function read(path: string, wanted: boolean, prefix: string): Record<string, unknown> {
  let text: string;
  try {
    // a byte order mark, as Windows' editors write it, is no part of the JSON
    text = readFileSync(path, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    if (!wanted && (error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw invalidArgument(prefix + messageOf(error), error);
  }
  if (text.trim() === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalidArgument(`${prefix}invalid JSON: ${messageOf(error)}`, error);
  }
  if (!isMap(value)) throw invalidArgument(`${prefix}invalid JSON: want an object`);
  return value;
}
