import type { Sink } from "../io.ts";
import { formatTable } from "./table.ts";

/** A column of a list command: its heading and its cell, by the name templates use. */
export interface ListFormat {
  /** Heading by field name. */
  headings: Record<string, string>;
  /** Fields of the plain table, in order. */
  columns: readonly string[];
  /** Those that may be cut to fit a terminal, first to be cut first. */
  shrinkable?: readonly string[];
  /** What -q prints. */
  quiet?: string;
}

/** One object as a template sees it: fields, and methods (functions) such as Label. */
export type Row = Record<string, unknown>;

export interface ListOptions {
  format: string;
  quiet?: boolean;
  /** Never cut cells (--no-trunc). */
  whole?: boolean;
}

/**
 * Prints rows as a list command does: `table` (default), `table TEMPLATE`, `json`, or a template for each row. Templates know `\t` and `\n`.
 * @throws CliError for a bad template
 */
export async function writeList(out: Sink, rows: readonly Row[], spec: ListFormat, options: ListOptions): Promise<void> {
  const { format, quiet = false } = options;
  if (quiet && spec.quiet !== undefined && (format === "" || format === "table")) {
    await out.write(rows.map((row) => `${String(row[spec.quiet as string])}\n`).join(""));
    return;
  }
  if (format === "" || format === "table") {
    const table = [
      spec.columns.map((name) => spec.headings[name] ?? name.toUpperCase()),
      ...rows.map((row) => spec.columns.map((name) => String(row[name] ?? ""))),
    ];
    const shrinkable = options.whole ? [] : (spec.shrinkable ?? []).map((name) => spec.columns.indexOf(name)).filter((at) => at >= 0);
    await out.write(formatTable(table, { width: out.isTty ? out.columns() : 0, shrinkable }));
    return;
  }
  if (format === "json" || format === "{{json .}}") {
    await out.write(rows.map((row) => `${JSON.stringify(plain(row, spec))}\n`).join(""));
    return;
  }
  const { parseTemplate } = await import("./template.ts");
  const source = unescape(format);
  const isTable = /^table(?:\s|$)/.test(source);
  const template = parseTemplate(isTable ? source.replace(/^table\s*/, "") : source);
  const lines = rows.map((row) => template.execute(withPlain(row, spec)));
  if (!isTable) {
    await out.write(lines.map((line) => `${line}\n`).join(""));
    return;
  }
  const heading = template.execute(new Proxy({}, headingHandler(spec)));
  await out.write(formatTable([heading, ...lines].map((line) => line.split("\t"))));
}

/** The heading of `table {{.ID}}`: the template run over the headings' names, methods included. */
function headingHandler(spec: ListFormat): ProxyHandler<object> {
  const heading = (name: string): unknown => {
    if (name === "Label") return (label: string) => (label.split(".").pop() as string).replace(/[-_]/g, " ");
    return spec.headings[name];
  };
  return {
    get: (_, name) => heading(String(name)),
    has: (_, name) => heading(String(name)) !== undefined,
    getOwnPropertyDescriptor: (_, name) => {
      const value = heading(String(name));
      return value === undefined ? undefined : { value, configurable: true, enumerable: true };
    },
    ownKeys: () => Object.keys(spec.headings),
  };
}

/** Only the values, in the order of their names, as Docker marshals a row. */
function plain(row: Row, spec: ListFormat): Row {
  const names = Object.keys(row).filter((name) => name in spec.headings && typeof row[name] !== "function");
  return Object.fromEntries(names.sort().map((name) => [name, row[name]]));
}

/** `{{json .}}` inside a longer template sees what `json` alone prints. */
function withPlain(row: Row, spec: ListFormat): Row {
  return Object.defineProperty(row, "toJSON", { value: () => plain(row, spec), configurable: true });
}

/** Docker reads `\t` and `\n` in --format as the characters. */
export function unescape(format: string): string {
  return format.replaceAll("\\t", "\t").replaceAll("\\n", "\n");
}
