/** One line of the result: what was measured, and what each engine took. */
export interface Row {
  name: string;
  unit: "ms" | "MB";
  /** By target; none where the row doesn't apply. */
  samples: ReadonlyMap<string, readonly number[]>;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/** Medians side by side; every target but the first (the reference) with how many times more it takes. */
export function formatTable(targets: readonly string[], rows: readonly Row[]): string {
  const [reference = ""] = targets;
  const cells = rows.map((row) => {
    const base = row.samples.get(reference);
    return [
      row.name,
      ...targets.map((target) => {
        const samples = row.samples.get(target);
        if (samples === undefined || samples.length === 0) return "–";
        const value = `${round(median(samples))} ${row.unit}`;
        if (target === reference || base === undefined || base.length === 0) return value;
        return `${value}  ${round(median(samples) / median(base))}×`;
      }),
    ];
  });
  const table = [["", ...targets], ...cells];
  const widths = table[0]?.map((_, column) => Math.max(...table.map((line) => (line[column] ?? "").length))) ?? [];
  return table
    .map((line) =>
      line
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join("   ")
        .trimEnd(),
    )
    .join("\n");
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}
