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
  const classes = /\[(\^?)((?:\\.|[^\]\\])+)\]/sy;
  let source = "";
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    if (char === "*") source += "[^/]*";
    else if (char === "?") source += "[^/]";
    else if (char === "\\") {
      if (++i >= pattern.length) throw bad();
      source += quote(pattern[i]!);
    } else if (char === "[") {
      classes.lastIndex = i;
      const match = classes.exec(pattern);
      if (match === null) throw bad();
      const [all, negation, body] = match as unknown as [string, string, string];
      const ranges = body.match(/(?:\\.|[^\\])-(?:\\.|[^\\])|\\.|[^\\]/gs)!;
      source += `[${negation}${ranges.map(quoteRange).join("")}]`;
      i += all.length - 1;
    } else source += quote(char);
  }
  return new RegExp(`^(?:${collapse(source)})$`, "s");

  function quoteRange(range: string): string {
    const plain = range.replace(/\\(.)/gs, "$1");
    if (plain.length !== 3) return [...plain].map(quote).join("");
    if (plain[0]! > plain[2]!) throw bad();
    return `${quote(plain[0]!)}-${quote(plain[2]!)}`;
  }
}

/** Runs of `*` are one: otherwise a hostile pattern could keep the matcher busy for ever. */
function collapse(source: string): string {
  return source.replace(/(?:\[\^\/\]\*)+/g, "[^/]*");
}
