import type { Filters } from "../../client/types.ts";
import { CliError } from "../errors.ts";

/** `-f name=value` values. @throws CliError */
export function parseFilters(values: readonly string[]): Filters {
  const filters: Record<string, string[]> = {};
  for (const value of values) {
    if (value === "") continue;
    const equals = value.indexOf("=");
    if (equals < 0) throw new CliError(`invalid argument "${value}" for "-f, --filter" flag: invalid filter '${value}'`);
    const name = value.slice(0, equals).trim().toLowerCase();
    (filters[name] ??= []).push(value.slice(equals + 1).trim());
  }
  return filters;
}
