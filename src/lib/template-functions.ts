/** A template that is none, or that doesn't fit what it is used on. */
export class TemplateError extends Error {}

function wrong(message: string): TemplateError {
  return new TemplateError(`template parsing error: template: ${message}`);
}

/** Go's truth: false, 0, "", nil and what is empty are false. */
export function truth(value: unknown): boolean {
  if (value === null || value === undefined || value === false || value === 0 || value === "") return false;
  if (Array.isArray(value)) return value.length > 0;
  // An empty struct is true in Go, an empty map false; JSON objects of Docker that users test are maps.
  if (typeof value === "object") return Object.keys(value).length > 0;
  return true;
}

/** As Go's fmt.Print shows a value: `[a b]`, `map[k:v]` in the order of keys. */
export function show(value: unknown): string {
  if (value === undefined) return "<no value>";
  if (value === null) return "<nil>";
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  if (typeof value === "object") {
    const entries = Object.entries(value).filter(([, field]) => typeof field !== "function");
    return `map[${entries
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, field]) => `${key}:${show(field)}`)
      .join(" ")}]`;
  }
  return String(value);
}

/** JSON as Docker's `json` function: no HTML escapes, no newline. */
function json(value: unknown): string {
  return JSON.stringify(value === undefined ? null : value);
}

function length(value: unknown): number {
  if (typeof value === "string") return Buffer.byteLength(value);
  if (Array.isArray(value)) return value.length;
  if (typeof value === "object" && value !== null) return Object.keys(value).length;
  if (value === null || value === undefined) return 0;
  throw wrong(`len of type ${typeof value}`);
}

function index(value: unknown, ...keys: unknown[]): unknown {
  let current = value;
  for (const key of keys) {
    if (current === null || current === undefined) throw wrong("index of untyped nil");
    if (Array.isArray(current) || typeof current === "string") {
      const at = Number(key);
      if (!Number.isInteger(at) || at < 0 || at >= current.length) throw wrong(`error calling index: index out of range: ${String(key)}`);
      current = typeof current === "string" ? current.charCodeAt(at) : current[at];
    } else if (typeof current === "object") current = Object.hasOwn(current, String(key)) ? (current as Record<string, unknown>)[String(key)] : undefined;
    else throw wrong(`error calling index: can't index item of type ${typeof current}`);
  }
  return current;
}

function slice(value: unknown, from: unknown = 0, to?: unknown): unknown {
  if (typeof value !== "string" && !Array.isArray(value)) throw wrong("error calling slice: can't slice item");
  return value.slice(Number(from), to === undefined ? undefined : Number(to));
}

function text(value: unknown, name: string): string {
  if (typeof value !== "string")
    throw wrong(`wrong type for value in ${name}; expected string; got ${value === null || value === undefined ? "nil" : typeof value}`);
  return value;
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
  throw wrong("incompatible types for comparison");
}

/** Go's Print puts a space between operands when neither is a string. */
function print(...values: unknown[]): string {
  let out = "";
  values.forEach((value, at) => {
    if (at > 0 && typeof value !== "string" && typeof values[at - 1] !== "string") out += " ";
    out += show(value);
  });
  return out;
}

/** No terminal is wider; Go takes more than a million for a mistake. */
const widest = 10_000;

function width(value: unknown, name: string): number {
  if (Number(value) > widest) throw wrong(`error calling ${name}: a width of ${String(value)}, at most ${widest} is allowed`);
  return Number(value);
}

/** %s %v %d %q %t %x %X %f %g %c %% with width, precision, `-` and `0`. */
function printf(format: unknown, ...values: unknown[]): string {
  let next = 0;
  const shown = text(format, "printf").replace(
    /%([-+0 #]*)(\d*)(?:\.(\d+))?([a-zA-Z%])/g,
    (_, flags: string, wide: string, precision: string | undefined, verb: string) => {
      if (verb === "%") return "%";
      if (next >= values.length) return `%!${verb}(MISSING)`;
      const value = values[next++];
      const body = verbText(verb, value, precision);
      const columns = width(wide, "printf");
      if (flags.includes("-")) return body.padEnd(columns);
      return body.padStart(columns, flags.includes("0") && typeof value === "number" ? "0" : " ");
    },
  );
  return next < values.length
    ? `${shown}%!(EXTRA ${values
        .slice(next)
        .map((value) => `${typeof value}=${show(value)}`)
        .join(", ")})`
    : shown;
}

function verbText(verb: string, value: unknown, precision: string | undefined): string {
  const digits = precision === undefined ? undefined : Number(precision);
  switch (verb) {
    case "s":
    case "v":
      return digits === undefined ? show(value) : [...show(value)].slice(0, digits).join("");
    case "d":
      return typeof value === "number" ? String(Math.trunc(value)) : `%!d(${typeof value}=${show(value)})`;
    case "q":
      return JSON.stringify(show(value));
    case "t":
      return typeof value === "boolean" ? String(value) : `%!t(${typeof value}=${show(value)})`;
    case "x":
    case "X": {
      const hex = typeof value === "number" ? Math.trunc(value).toString(16) : Buffer.from(show(value)).toString("hex");
      return verb === "x" ? hex : hex.toUpperCase();
    }
    case "f":
      return Number(value).toFixed(digits ?? 6);
    case "g":
      return digits === undefined ? String(Number(value)) : String(Number(Number(value).toPrecision(digits)));
    case "c":
      return String.fromCodePoint(Number(value));
    default:
      return `%!${verb}(${typeof value}=${show(value)})`;
  }
}

export const builtins: Record<string, (...values: unknown[]) => unknown> = {
  // Go's own
  not: (value) => !truth(value),
  eq: (first, ...others) => others.some((other) => first === other),
  ne: (a, b) => a !== b,
  lt: (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
  len: length,
  index,
  slice,
  print,
  println: (...values) => `${values.map(show).join(" ")}\n`,
  printf,
  html: (value) => show(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`),
  urlquery: (value) => encodeURIComponent(show(value)).replaceAll("%20", "+"),
  // Docker's
  json,
  split: (value, separator) => text(value, "split").split(text(separator, "split")),
  join: (values, separator) => {
    if (!Array.isArray(values)) throw wrong("wrong type for value in join; expected a list");
    return values.map(show).join(text(separator, "join"));
  },
  title: (value) => text(value, "title").replace(/(^|[\s\p{P}])(\p{L})/gu, (_, before: string, letter: string) => before + letter.toUpperCase()),
  lower: (value) => text(value, "lower").toLowerCase(),
  upper: (value) => text(value, "upper").toUpperCase(),
  pad: (value, before, after) => " ".repeat(width(before, "pad")) + text(value, "pad") + " ".repeat(width(after, "pad")),
  truncate: (value, width) => [...text(value, "truncate")].slice(0, Number(width)).join(""),
};
