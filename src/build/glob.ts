import { invalidArgument } from "../lib/errors.ts";

/** True where a pattern has `*`, `?` or `[` that isn't escaped. */
export function hasWildcards(pattern: string): boolean {
  return /(?<!\\)(?:\\\\)*[*?[]/.test(pattern);
}

/** Go's filepath.Match, by which Docker picks the sources of COPY and ADD: `*` and `?` stop at slashes. @throws EngineError for a bad pattern */
export function globExpression(pattern: string): RegExp {
  let source = "";
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i] as string;
    if (character === "*") source += "[^/]*";
    else if (character === "?") source += "[^/]";
    else if (character === "[") {
      const end = classEnd(pattern, i);
      if (end === undefined) throw invalidArgument(`syntax error in pattern ${JSON.stringify(pattern)}`);
      const negated = pattern[i + 1] === "^";
      const body = pattern.slice(i + (negated ? 2 : 1), end);
      source += `[${negated ? "^" : ""}${body.replace(/[[^]/g, "\\$&")}]`;
      i = end;
    } else {
      const literal = character === "\\" && i + 1 < pattern.length ? (pattern[++i] as string) : character;
      source += RegExp.escape(literal);
    }
  }
  try {
    return new RegExp(`^${source}$`, "su");
  } catch (error) {
    throw invalidArgument(`syntax error in pattern ${JSON.stringify(pattern)}`, error);
  }
}

/** Index of the `]` that ends the class at `start`. */
function classEnd(pattern: string, start: number): number | undefined {
  const first = start + (pattern[start + 1] === "^" ? 2 : 1);
  for (let i = first; i < pattern.length; i++) {
    if (pattern[i] === "\\") i++;
    else if (pattern[i] === "]" && i > first) return i;
  }
  return undefined;
}
