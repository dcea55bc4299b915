import { clientPattern, hasLabel } from "../lib/match.ts";

/** Docker's name filters are regular expressions that may match anywhere; what is none is looked for literally. */
export function matchesPattern(pattern: string, text: string): boolean {
  if (pattern === text) return true;
  const matches = clientPattern(pattern);
  return matches === undefined ? text.includes(pattern) : matches(text);
}

/** `label=key` or `label=key=value`: all must fit. */
export function matchesLabels(labels: Record<string, string>, filters: readonly string[] | undefined): boolean {
  return (filters ?? []).every((filter) => hasLabel(labels, filter));
}
