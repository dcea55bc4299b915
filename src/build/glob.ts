/** True where a pattern of COPY or ADD has `*`, `?` or `[` that isn't escaped. */
export function hasWildcards(pattern: string): boolean {
  return /(?<!\\)(?:\\\\)*[*?[]/.test(pattern);
}
