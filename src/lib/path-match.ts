import { invalidArgument } from "./errors.ts";

/** One character's test, or any number of characters. */
type Token = "star" | ((char: string) => boolean);

/**
 * Go's path.Match: `*` and `?` don't cross a slash, `[a-z]` and `[^a-z]` are classes, `\` takes the next character as it is. No regular expression is
 * made of the pattern: a client's could keep the matcher busy for ever.
 * @throws EngineError invalidArgument for a malformed pattern
 */
export function matchPath(pattern: string, text: string): boolean {
  return pathMatcher(pattern)(text);
}

/** The same for many texts. @throws EngineError invalidArgument for a malformed pattern */
export function pathMatcher(pattern: string): (text: string) => boolean {
  const patterns = tokensOf(pattern);
  return (text) => {
    const parts = text.split("/").map((part) => [...part]);
    return patterns.length === parts.length && patterns.every((tokens, i) => matchPart(tokens, parts[i]!));
  };
}

/** Tokens of each part between slashes. */
function tokensOf(pattern: string): Token[][] {
  const bad = (): Error => invalidArgument(`syntax error in pattern: ${JSON.stringify(pattern)}`);
  const parts: Token[][] = [[]];
  const add = (token: Token): void => void parts.at(-1)!.push(token);
  const chars = [...pattern];
  let at = 0;
  const escaped = (): string => {
    const char = chars[at++];
    if (char !== "\\") return char ?? "";
    const next = chars[at++];
    if (next === undefined) throw bad();
    return next;
  };
  const characterClass = (): Token => {
    const negated = chars[at] === "^";
    if (negated) at++;
    const ranges: [string, string][] = [];
    while (at < chars.length && chars[at] !== "]") {
      const low = escaped();
      let high = low;
      if (chars[at] === "-" && chars[at + 1] !== "]" && at + 1 < chars.length) {
        at++;
        high = escaped();
      }
      if (low > high) throw bad();
      ranges.push([low, high]);
    }
    if (ranges.length === 0 || chars[at++] !== "]") throw bad();
    return (char) => ranges.some(([low, high]) => low <= char && char <= high) !== negated;
  };
  while (at < chars.length) {
    const char = chars[at]!;
    if (char === "/") {
      parts.push([]);
      at++;
    } else if (char === "*") {
      add("star");
      at++;
    } else if (char === "?") {
      add(() => true);
      at++;
    } else if (char === "[") {
      at++;
      add(characterClass());
    } else {
      const literal = escaped();
      add((other) => other === literal);
    }
  }
  return parts;
}

/** Goes back to the last star only, which is enough: what an earlier one could take, this one can. */
function matchPart(tokens: readonly Token[], chars: readonly string[]): boolean {
  let [t, c] = [0, 0];
  let star = -1;
  let from = 0;
  while (c < chars.length) {
    const token = tokens[t];
    if (token === "star") {
      star = t++;
      from = c;
    } else if (token?.(chars[c]!)) {
      t++;
      c++;
    } else if (star >= 0) {
      t = star + 1;
      c = ++from;
    } else return false;
  }
  while (tokens[t] === "star") t++;
  return t === tokens.length;
}
