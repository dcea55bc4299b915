import { invalidArgument } from "./errors.ts";

/**
 * Go's path.Match: `*` and `?` don't cross a slash, `[a-z]` and `[^a-z]` are classes, `\` takes the next character as it is.
 * @throws EngineError invalidArgument for a malformed pattern
 */
export function matchPath(pattern: string, text: string): boolean {
  return compile(pattern).test(text);
}

function compile(pattern: string): RegExp {
  const bad = (): Error => invalidArgument(`syntax error in pattern: ${JSON.stringify(pattern)}`);
  const quote = (char: string): string => char.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
  let source = "";
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    if (char === "*") source += "[^/]*";
    else if (char === "?") source += "[^/]";
    else if (char === "\\") {
      if (++i >= pattern.length) throw bad();
      source += quote(pattern[i]!);
    } else if (char === "[") {
      const end = pattern.indexOf("]", i + 2);
      if (end < 0) throw bad();
      const negated = pattern[i + 1] === "^";
      const body = pattern.slice(i + (negated ? 2 : 1), end);
      const ranges = body.match(/(?:\\.|[^\\])-(?:\\.|[^\\])|\\.|[^\\]/gs);
      if (ranges === null || ranges.join("") !== body) throw bad();
      source += `[${negated ? "^" : ""}${ranges.map(quoteRange).join("")}]`;
      i = end;
    } else source += quote(char);
  }
  return new RegExp(`^(?:${collapse(source)})$`, "s");

  function quoteRange(range: string): string {
    const plain = range.replace(/\\(.)/gs, "$1");
    if (plain.length !== 3 || plain[1] !== "-") return [...plain].map(quote).join("");
    if (plain[0]! > plain[2]!) throw bad();
    return `${quote(plain[0]!)}-${quote(plain[2]!)}`;
  }
}

/** Runs of `*` are one: otherwise a hostile pattern could keep the matcher busy for ever. */
function collapse(source: string): string {
  return source.replace(/(?:\[\^\/\]\*)+/g, "[^/]*");
}
