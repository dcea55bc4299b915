import { ellipsis } from "./human.ts";

/** Docker's tables: columns that far apart, and at least this wide unless told. */
const padding = 3;
const usualMinimum = 10;

export interface TableOptions {
  /** Width of the terminal; 0 leaves the table as wide as it is. */
  width?: number;
  /** Indices of columns that may be cut when the table is too wide, those cut first in front. */
  shrinkable?: readonly number[];
  /** Least width of a column with its padding. */
  minimum?: number;
}

/** Lays rows out, the heading being the first; ends with a newline. */
export function formatTable(rows: readonly (readonly string[])[], options: TableOptions = {}): string {
  const { minimum = usualMinimum } = options;
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const content = Array.from({ length: columns }, (_, index) => Math.max(0, ...rows.map((row) => displayWidth(row[index] ?? ""))));
  const caps = fit(content, options);
  const widths = caps.map((cap) => Math.max(minimum, cap + padding));
  let text = "";
  for (const row of rows) {
    let line = "";
    row.forEach((cell, index) => {
      const shown = displayWidth(cell) > (caps[index] as number) ? ellipsis(cell, caps[index] as number) : cell;
      line += index === row.length - 1 ? shown : shown + " ".repeat((widths[index] as number) - displayWidth(shown));
    });
    text += `${line}\n`;
  }
  return text;
}

/** Narrows shrinkable columns, each down to its heading's usual width, until the table fits. */
function fit(content: readonly number[], { width = 0, shrinkable = [], minimum = usualMinimum }: TableOptions): number[] {
  const caps = [...content];
  if (width <= 0) return caps;
  const total = (): number => caps.reduce((sum, cap, index) => sum + (index === caps.length - 1 ? cap : Math.max(minimum, cap + padding)), 0);
  for (const index of shrinkable) {
    const over = total() - width;
    if (over <= 0) break;
    const cap = caps[index];
    if (cap !== undefined) caps[index] = Math.min(cap, Math.max(minimum - padding, cap - over));
  }
  return caps;
}

/** Cells of a terminal that text takes. */
function displayWidth(text: string): number {
  return Bun.stringWidth(text);
}
