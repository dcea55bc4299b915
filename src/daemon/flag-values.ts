import { parseArgs } from "node:util";
import { invalidArgument } from "../lib/errors.ts";
import { daemonFlags, type Flag, type Kind } from "./flags.ts";

/** Values by flag name. Booleans take `--x`, `--x=true` and `--x=false`. */
export function flagsGiven(argv: readonly string[]): Map<string, unknown> {
  const { tokens, positionals } = parseArgs({
    args: [...argv],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(
      daemonFlags.map((flag) => [
        flag.name,
        { type: flag.kind === "bool" ? ("boolean" as const) : ("string" as const), ...(flag.short === undefined ? {} : { short: flag.short }) },
      ]),
    ),
  });
  if (positionals.length > 0) throw invalidArgument(`unexpected argument ${JSON.stringify(positionals[0])}. See 'berthd --help'`);
  const given = new Map<string, unknown>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const flag = daemonFlags.find(({ name }) => name === token.name);
    if (flag === undefined) throw invalidArgument(`unknown flag ${token.rawName}. See 'berthd --help'`);
    if (flag.kind !== "bool" && token.value === undefined) throw invalidArgument(`flag needs an argument: ${token.rawName}`);
    given.set(flag.name, fromText(flag, token.value ?? "true", given.get(flag.name)));
  }
  return given;
}

function fromText(flag: Flag, text: string, before: unknown): unknown {
  switch (flag.kind) {
    case "bool":
      if (!/^(true|false|1|0|t|f)$/i.test(text)) throw invalidArgument(`--${flag.name}: want true or false, not ${JSON.stringify(text)}`);
      return /^(true|1|t)$/i.test(text);
    case "int":
      if (!/^-?\d+$/.test(text)) throw invalidArgument(`--${flag.name}: want a whole number, not ${JSON.stringify(text)}`);
      return Number(text);
    case "size":
      return bytesOf(flag, text);
    case "list":
      return [...((before as string[] | undefined) ?? []), text];
    case "map": {
      const at = text.indexOf("=");
      if (at < 1) throw invalidArgument(`--${flag.name}: want NAME=VALUE, not ${JSON.stringify(text)}`);
      return { ...(before as Record<string, string> | undefined), [text.slice(0, at)]: text.slice(at + 1) };
    }
    case "maps": {
      const [, outer, inner, value] = /^([^=]+)=([^=]+)=(.*)$/s.exec(text) ?? [];
      if (outer === undefined || inner === undefined) throw invalidArgument(`--${flag.name}: want NAME=OPTION=VALUE, not ${JSON.stringify(text)}`);
      const all = (before as Record<string, Record<string, string>> | undefined) ?? {};
      return { ...all, [outer]: { ...all[outer], [inner]: value } };
    }
    default:
      return text;
  }
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null && !Array.isArray(value);

/** A value of daemon.json as the same flag of the command line would have it. @throws EngineError invalidArgument */
export function fromJson(flag: Flag, value: unknown): unknown {
  const isKind: Record<Kind, boolean> = {
    bool: typeof value === "boolean",
    string: typeof value === "string",
    int: Number.isInteger(value),
    size: Number.isInteger(value) || typeof value === "string",
    list: Array.isArray(value) || flag.name === "default-ulimit",
    map: isObject(value),
    maps: isObject(value) && Object.values(value).every((each) => isObject(each) && Object.values(each).every((text) => typeof text === "string")),
  };
  if (!isKind[flag.kind]) throw invalidArgument(`${flag.key}: want ${flag.kind}, not ${JSON.stringify(value)}`);
  if (flag.kind === "size") return bytesOf(flag, String(value));
  if (flag.name === "log-opt" && Object.values(value as object).some((each) => typeof each !== "string")) {
    throw invalidArgument(`${flag.key}: want texts as values, not ${JSON.stringify(value)}`);
  }
  if (flag.kind === "list" && flag.name !== "default-address-pool" && Array.isArray(value) && !value.every((each) => typeof each === "string")) {
    throw invalidArgument(`${flag.key}: want a list of texts, not ${JSON.stringify(value)}`);
  }
  if (flag.name === "default-ulimit" && !Array.isArray(value)) {
    return Object.entries(value as Record<string, { Soft?: unknown; Hard?: unknown } | null>).map(([name, limit]) => {
      if (!Number.isInteger(limit?.Soft) || !Number.isInteger(limit?.Hard))
        throw invalidArgument(`${flag.key}.${name}: want {"Name": "${name}", "Soft": N, "Hard": N}`);
      return `${name}=${String(limit?.Soft)}:${String(limit?.Hard)}`;
    });
  }
  return value;
}

/** The list that stands for the one text of an older key; an empty one is none, as in Go. @throws EngineError invalidArgument */
export function fromOldJson(key: string, value: unknown): string[] {
  if (typeof value !== "string") throw invalidArgument(`${key}: want string, not ${JSON.stringify(value)}`);
  return value === "" ? [] : [value];
}

/** `64M`, `1g`, `1048576`: binary units, as Docker has it. */
function bytesOf(flag: Flag, text: string): number {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?) ?([kmgt]?)i?b?$/i.exec(text) ?? [];
  if (number === undefined) throw invalidArgument(`--${flag.name}: invalid size: '${text}'`);
  return Math.floor(Number(number) * 1024 ** " kmgt".indexOf(unit.toLowerCase() || " "));
}
