/**
 * .dockerignore as moby's patternmatcher reads it: `#` comments, `!` exceptions, `**` for any number of directories; the last pattern that matches
 * a path or one of its parents decides.
 */
export interface IgnoreRules {
  ignores(path: string): boolean;
}

/** @throws Error for a pattern that is none */
export function parseIgnore(text: string): IgnoreRules {
  const rules = text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .filter((line) => !line.startsWith("#"))
    .map((line) => line.trim())
    .filter((line) => line !== "" && line !== "!")
    .map((line) => {
      const exception = line.startsWith("!");
      const pattern = clean(exception ? line.slice(1).trim() : line);
      return { exception, expression: expressionOf(pattern) };
    });
  return {
    ignores: (path) => {
      const parts = path.split("/");
      const candidates = parts.map((_, index) => parts.slice(0, index + 1).join("/"));
      let ignored = false;
      for (const { exception, expression } of rules) if (candidates.some((candidate) => expression.test(candidate))) ignored = !exception;
      return ignored;
    },
  };
}

/** Go's filepath.Clean, and no leading slash: patterns are relative to the context. */
function clean(pattern: string): string {
  const parts: string[] = [];
  for (const part of pattern.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else if (part !== ".." || !pattern.startsWith("/")) parts.push(part);
  }
  return parts.length === 0 ? "." : parts.join("/");
}

function expressionOf(pattern: string): RegExp {
  let source = "";
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i] as string;
    if (pattern.startsWith("**", i)) {
      i++;
      // `**/` also stands for no directory at all.
      if (pattern[i + 1] === "/") i++;
      source += i + 1 === pattern.length ? ".*" : "(?:.*/)?";
    } else if (character === "*") source += "[^/]*";
    else if (character === "?") source += "[^/]";
    else if (character === "[") {
      const end = pattern.indexOf("]", i + 2);
      if (end === -1) throw new Error(`syntax error in .dockerignore pattern ${JSON.stringify(pattern)}`);
      source += `[${pattern.slice(i + 1, end).replace(/[[\\]/g, "\\$&")}]`;
      i = end;
    } else if (character === "\\" && i + 1 < pattern.length) source += RegExp.escape(pattern[++i] as string);
    else source += RegExp.escape(character);
  }
  return new RegExp(`^${source}$`, "su");
}
