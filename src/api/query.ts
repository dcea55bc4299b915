import { invalidArgument } from "../lib/errors.ts";

/** Docker's readings of query parameters. */
export class Query {
  readonly #text: string;
  readonly #params: URLSearchParams;

  constructor(text: string) {
    this.#text = text;
    this.#params = new URLSearchParams(text);
  }

  has(name: string): boolean {
    return this.#params.has(name);
  }

  /** "" where absent. */
  text(name: string): string {
    return this.#params.get(name) ?? "";
  }

  /** As `text`, with one character a byte (latin1): for names of files, which needn't be UTF-8. */
  bytes(name: string): string {
    const pair = this.#text.split("&").find((each) => each.startsWith(`${name}=`));
    if (pair === undefined) return "";
    const value = Buffer.from(pair.slice(name.length + 1).replaceAll("+", " "), "utf8").toString("latin1");
    return value.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }

  /** undefined where absent or empty. */
  optional(name: string): string | undefined {
    return this.#params.get(name) || undefined;
  }

  all(name: string): string[] {
    return this.#params.getAll(name);
  }

  /** Anything but "", 0, no, false and none is true. */
  bool(name: string, absent = false): boolean {
    const value = this.#params.get(name);
    return value === null ? absent : !["", "0", "no", "false", "none"].includes(value.trim().toLowerCase());
  }

  /** @throws EngineError invalidArgument */
  int(name: string): number | undefined {
    const value = this.optional(name);
    if (value === undefined) return undefined;
    if (!/^[+-]?\d{1,18}$/.test(value)) throw invalidArgument(`invalid value ${JSON.stringify(value)} of parameter ${name}: want an integer`);
    return Number(value);
  }

  /** A parameter that is JSON. @throws EngineError invalidArgument */
  json(name: string): unknown {
    const value = this.optional(name);
    if (value === undefined) return undefined;
    try {
      return JSON.parse(value);
    } catch (error) {
      throw invalidArgument(`invalid value of parameter ${name}: not JSON`, error);
    }
  }

  /**
   * `filters`, as a map of lists or (older clients) a map of maps. Names are checked against `known`.
   * @throws EngineError invalidArgument
   */
  filters(known: readonly string[]): Record<string, string[]> {
    const value = this.json("filters");
    const filters: Record<string, string[]> = {};
    if (value === undefined || value === null) return filters;
    if (typeof value !== "object" || Array.isArray(value)) throw invalidArgument("invalid filters: want a map of lists");
    for (const [name, values] of Object.entries(value)) {
      if (!known.includes(name)) throw invalidArgument(`invalid filter '${name}'`);
      if (values === null) continue;
      const list: unknown[] = Array.isArray(values) ? values : typeof values === "object" ? Object.keys(values) : [undefined];
      if (!list.every((each) => typeof each === "string")) throw invalidArgument(`invalid filter '${name}': want a list of strings`);
      if (list.length > 0) filters[name] = list;
    }
    return filters;
  }
}
