import { CliError } from "../errors.ts";

type Environment = Record<string, string | undefined>;

/**
 * `--env-file` files, then `-e` values: `NAME=value`, or `NAME` alone, which takes the value it has here (and is left out where it has none).
 * @throws CliError
 */
export async function readEnvironment(files: readonly string[], values: readonly string[], env: Environment): Promise<string[]> {
  const lines: string[] = [];
  for (const file of files) lines.push(...parseLines(await readText(file), file, env));
  for (const value of values) {
    if (value === "" || value.startsWith("=")) throw new CliError(`invalid environment variable: ${value}`);
    lines.push(...resolved(value, env));
  }
  return lines;
}

/** `--label-file` files, then `-l` values. */
export async function readLabels(files: readonly string[], values: readonly string[]): Promise<Record<string, string>> {
  const lines = [...values];
  for (const file of files) lines.unshift(...parseLines(await readText(file), file, undefined));
  return keyValues(lines);
}

/** `key=value` pairs; a key alone has the empty value. */
export function keyValues(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const equals = pair.indexOf("=");
      return equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
    }),
  );
}

/** Lines of a file as Docker reads them: `#` comments, no quoting, no blanks in names. `env` undefined keeps bare names as they are. */
export function parseLines(text: string, file: string, env: Environment | undefined): string[] {
  const lines: string[] = [];
  for (const raw of text.replace(/^\uFEFF/, "").split(/\r?\n/)) {
    const line = raw.trimStart();
    if (line === "" || line.startsWith("#")) continue;
    const name = line.split("=", 1)[0] as string;
    if (name === "") throw new CliError(`invalid env file (${file}): no variable name on line '${line}'`);
    if (/[\t\v\f ]/.test(name.trimEnd()) || name !== name.trimEnd()) throw new CliError(`invalid env file (${file}): variable '${name}' contains whitespaces`);
    lines.push(...(env === undefined ? [line] : resolved(line, env)));
  }
  return lines;
}

function resolved(line: string, env: Environment): string[] {
  if (line.includes("=")) return [line];
  const value = env[line];
  return value === undefined ? [] : [`${line}=${value}`];
}

async function readText(path: string): Promise<string> {
  try {
    return await Bun.file(path === "-" ? "/dev/stdin" : path).text();
  } catch (error) {
    throw new CliError(`open ${path}: ${(error as { code?: string }).code === "ENOENT" ? "no such file or directory" : String((error as Error).message)}`);
  }
}
