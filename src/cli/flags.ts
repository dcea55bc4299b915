import { parseBytes, parseSignedBytes } from "../lib/bytes.ts";
import { UsageError } from "./errors.ts";

/**
 * Flags as data, read as pflag (and so Docker) reads them. What a type gives its command:
 * bool → boolean · string → string ("" without) · int → number · list (each value as it stands) and csv (values split at commas) → string[] ·
 * map (`key=value`) → Record · bytes (`512m`) → number of bytes · swap (bytes, or -1) → number · duration (`1m30s`) → nanoseconds ·
 * decimal (`1.5`) → billionths
 */
export type FlagType = "bool" | "string" | "int" | "list" | "csv" | "map" | "bytes" | "swap" | "duration" | "decimal";

export interface FlagDefinition {
  readonly type: FlagType;
  readonly short?: string;
  /** Before the first use: given as a user would write it, for help and parsing alike. */
  readonly default?: string;
  /** One sentence without a full stop. A line of its own for each value is allowed. */
  readonly help: string;
  /** What help calls the value, where the type's name says too little (`filter`). */
  readonly value?: string;
  readonly hidden?: boolean;
  /** Another name for this flag: it sets that one, and is hidden. */
  readonly aliasOf?: string;
  /** Values for shell completion. */
  readonly choices?: readonly string[];
}

export type FlagSet = Readonly<Record<string, FlagDefinition>>;

interface Values {
  bool: boolean;
  string: string;
  int: number;
  list: string[];
  csv: string[];
  map: Record<string, string>;
  bytes: number;
  swap: number;
  duration: number;
  decimal: number;
}

export type FlagValues<F extends FlagSet> = { [Name in keyof F]: Values[F[Name]["type"]] };

export interface ParsedFlags<F extends FlagSet> {
  values: FlagValues<F>;
  /** Arguments that are no flags. */
  positional: string[];
  /** Names of the flags that were given. */
  given: ReadonlySet<string>;
}

/** Help exists for every command and shows no short form where a command uses -h itself. */
export const helpFlag = { type: "bool", help: "Print usage" } as const satisfies FlagDefinition;

/**
 * Reads arguments. `interspersed` false stops at the first positional, so that a container's own flags stay its own.
 * @throws UsageError in pflag's words
 */
export function parseFlags<F extends FlagSet>(definitions: F, args: readonly string[], options: { interspersed?: boolean } = {}): ParsedFlags<F> {
  const shorts = new Map(Object.entries(definitions).flatMap(([name, flag]) => (flag.short === undefined ? [] : [[flag.short, name] as const])));
  const values: Record<string, unknown> = {};
  const given = new Set<string>();
  const positional: string[] = [];
  for (const [name, flag] of Object.entries(definitions)) values[name] = initial(flag, name);

  const set = (typed: string, text: string): void => {
    const name = definitions[typed]?.aliasOf ?? typed;
    const flag = definitions[name] as FlagDefinition;
    assign(values, name, flag, text, given.has(name));
    given.add(name);
  };

  for (let index = 0; index < args.length; index++) {
    const arg = args[index] as string;
    if (arg === "--") {
      positional.push(...args.slice(index + 1));
      break;
    }
    if (!arg.startsWith("-") || arg === "-") {
      if (options.interspersed === false) {
        positional.push(...args.slice(index));
        break;
      }
      positional.push(arg);
      continue;
    }
    if (arg.startsWith("--")) {
      const equals = arg.indexOf("=");
      const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
      if (name === "" || name.startsWith("-")) throw new UsageError(`bad flag syntax: ${arg}`);
      const flag = definitions[name];
      if (flag === undefined) throw new UsageError(`unknown flag: --${name}`);
      if (equals >= 0) set(name, arg.slice(equals + 1));
      else if (flag.type === "bool") set(name, "true");
      else if (index + 1 < args.length) set(name, args[++index] as string);
      else throw new UsageError(`flag needs an argument: --${name}`);
      continue;
    }
    // A group of short flags; the first that takes a value takes the rest.
    for (let letters = arg.slice(1); letters !== "";) {
      const letter = [...letters][0] as string;
      const rest = letters.slice(letter.length);
      const name = shorts.get(letter);
      if (name === undefined) throw new UsageError(`unknown shorthand flag: '${letter}' in -${letters}`);
      if (rest.startsWith("=")) {
        set(name, rest.slice(1));
        break;
      }
      if ((definitions[name] as FlagDefinition).type === "bool") {
        set(name, "true");
        letters = rest;
        continue;
      }
      if (rest !== "") set(name, rest);
      else if (index + 1 < args.length) set(name, args[++index] as string);
      else throw new UsageError(`flag needs an argument: '${letter}' in -${letters}`);
      break;
    }
  }
  return { values: values as FlagValues<F>, positional, given };
}

function initial(flag: FlagDefinition, name: string): unknown {
  if (flag.type === "list" || flag.type === "csv") return [];
  if (flag.type === "map") return {};
  if (flag.default !== undefined) return parseValue(flag, name, flag.default);
  if (flag.type === "bool") return false;
  return flag.type === "string" ? "" : 0;
}

function assign(values: Record<string, unknown>, name: string, flag: FlagDefinition, text: string, again: boolean): void {
  switch (flag.type) {
    case "list":
      (values[name] as string[]).push(text);
      return;
    case "csv":
      (values[name] as string[]).push(...text.split(","));
      return;
    case "map": {
      const equals = text.indexOf("=");
      if (!again) values[name] = {};
      (values[name] as Record<string, string>)[equals < 0 ? text : text.slice(0, equals)] = equals < 0 ? "" : text.slice(equals + 1);
      return;
    }
    default:
      values[name] = parseValue(flag, name, text);
  }
}

function parseValue(flag: FlagDefinition, name: string, text: string): unknown {
  const parsed = convert(flag.type, text);
  if (typeof parsed === "object") {
    const shown = flag.short === undefined ? `--${name}` : `-${flag.short}, --${name}`;
    throw new UsageError(`invalid argument ${JSON.stringify(text)} for "${shown}" flag: ${parsed.problem}`);
  }
  return parsed;
}

function convert(type: FlagType, text: string): string | number | boolean | { problem: string } {
  switch (type) {
    case "bool":
      if (/^(?:1|t|T|true|TRUE|True)$/.test(text)) return true;
      if (/^(?:0|f|F|false|FALSE|False)$/.test(text)) return false;
      return { problem: `strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax` };
    case "int": {
      const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
      if (!Number.isSafeInteger(value)) return { problem: `strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax` };
      return value;
    }
    case "bytes":
    case "swap": {
      const bytes = type === "bytes" ? parseBytes(text) : parseSignedBytes(text);
      return bytes ?? { problem: `invalid size: '${text}'` };
    }
    case "duration": {
      const nanoseconds = goDuration(text);
      return nanoseconds ?? { problem: `time: invalid duration ${JSON.stringify(text)}` };
    }
    case "decimal":
      if (!/^[+-]?(?:\d+(?:\.\d*)?|\.\d+)$/.test(text)) return { problem: `failed to parse ${text} as a rational number` };
      // Rounding takes care of what binary fractions leave: 0.1 is 100000000.
      return Math.round(Number(text) * 1e9);
    default:
      return text;
  }
}

const durationUnits: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Nanoseconds of Go's notation (`1h30m`, `500ms`, `0`). */
function goDuration(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  if (!/^[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g)) total += Number(amount) * (durationUnits[unit as string] as number);
  return Math.round(text.startsWith("-") ? -total : total);
}
