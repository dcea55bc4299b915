/**
 * Docker's name filters are regular expressions that may match anywhere. Patterns that could take exponential time (a repeated group)
 * are taken literally: a filter must never stop the engine.
 */
export function matchesPattern(pattern: string, text: string): boolean {
  if (pattern === text) return true;
  if (!/[\\^$.|?*+()[\]{}]/.test(pattern)) return text.includes(pattern);
  if (pattern.length > 256 || /\)[*+?{]|[*+}?][*+{]/.test(pattern)) return text.includes(pattern);
  try {
    return new RegExp(pattern).test(text);
  } catch {
    return text.includes(pattern);
  }
}

/** `label=key` or `label=key=value`: all must fit. */
export function matchesLabels(labels: Record<string, string>, filters: readonly string[] | undefined): boolean {
  return (filters ?? []).every((filter) => hasLabel(labels, filter));
}

export function hasLabel(labels: Record<string, string>, filter: string): boolean {
  const at = filter.indexOf("=");
  return at < 0 ? Object.hasOwn(labels, filter) : Object.hasOwn(labels, filter.slice(0, at)) && labels[filter.slice(0, at)] === filter.slice(at + 1);
}
