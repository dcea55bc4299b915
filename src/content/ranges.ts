/** Bytes [start, end). */
export interface Range {
  start: number;
  end: number;
}

/** `ranges` (in order, apart from each other) with one more, joined with what it touches. */
export function withRange(ranges: readonly Range[], added: Range): Range[] {
  if (added.start >= added.end) return [...ranges];
  const before = ranges.filter(({ end }) => end < added.start);
  const after = ranges.filter(({ start }) => start > added.end);
  const touching = ranges.slice(before.length, ranges.length - after.length);
  const start = Math.min(added.start, touching[0]?.start ?? added.start);
  const end = Math.max(added.end, touching.at(-1)?.end ?? added.end);
  return [...before, { start, end }, ...after];
}

/** What is missing of the first `size` bytes. */
export function gapsOf(ranges: readonly Range[], size: number): Range[] {
  const gaps: Range[] = [];
  let at = 0;
  for (const { start, end } of ranges) {
    if (start >= size) break;
    if (start > at) gaps.push({ start: at, end: start });
    at = end;
  }
  if (at < size) gaps.push({ start: at, end: size });
  return gaps;
}

/** Ranges read from a file that anything may stand in: in order, within `size`, or none at all. */
export function checkedRanges(value: unknown, size: number): Range[] {
  if (!Array.isArray(value)) return [];
  let ranges: Range[] = [];
  for (const item of value as unknown[]) {
    const [start, end] = Array.isArray(item) ? (item as unknown[]) : [];
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || (start as number) < 0 || (start as number) >= (end as number)) return [];
    ranges = withRange(ranges, { start: Math.min(start as number, size), end: Math.min(end as number, size) });
  }
  return ranges;
}
