import { isNotFound } from "../client/errors.ts";
import { describe } from "./describe.ts";
import { unescape } from "./format/output.ts";
import type { Streams } from "./io.ts";

/** Fields that engines leave out where they are empty, and what Docker's own types print for them. */
const leftOut: Record<string, string> = {
  Health: "<nil>",
  Healthcheck: "<nil>",
  StopTimeout: "<nil>",
  StopSignal: "",
  Shell: "[]",
  ExposedPorts: "map[]",
  Options: "map[]",
  Labels: "map[]",
};

/**
 * Prints what `get` gives for each name: a JSON array of all, or the template's text for each. Names that can't be found are reported after the
 * others, and make the exit code 1.
 */
export async function inspectAll(io: Streams, names: readonly string[], format: string, get: (name: string) => Promise<unknown>): Promise<number> {
  const template = format === "" || format === "json" ? undefined : (await import("./format/template.ts")).parseTemplate(unescape(format));
  const results = await Promise.allSettled(names.map(get));
  const found = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  if (template !== undefined) {
    for (const value of found) await io.out.write(`${template.execute(value, leftOut)}\n`);
  } else if (format === "json") {
    for (const value of found) await io.out.write(`${JSON.stringify(value)}\n`);
  } else await io.out.write(found.length === 0 ? "[]\n" : `${JSON.stringify(found, null, 4)}\n`);
  const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
  for (const failure of failures) await io.err.write(`${describe(failure)}\n`);
  return failures.length > 0 ? 1 : 0;
}

/** Tries kinds of objects in turn until one knows the name. */
export async function firstFound(name: string, gets: readonly ((name: string) => Promise<unknown>)[]): Promise<unknown> {
  for (const get of gets) {
    try {
      return await get(name);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  const { CliError } = await import("./errors.ts");
  throw new CliError(`Error: No such object: ${name}`);
}
