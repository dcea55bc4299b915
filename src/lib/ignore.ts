import { matchesWhole, type Step } from "./wildcards.ts";

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
      return { exception, steps: stepsOf(pattern) };
    });
  return {
    ignores: (path) => {
      const parts = path.split("/");
      const candidates = parts.map((_, index) => parts.slice(0, index + 1).join("/"));
      let ignored = false;
      for (const { exception, steps } of rules) if (candidates.some((candidate) => matchesWhole(steps, candidate))) ignored = !exception;
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

const any = (): boolean => true;
const inPart = (char: string): boolean => char !== "/";

/** @throws Error for a class without an end */
function stepsOf(pattern: string): Step[] {
  const steps: Step[] = [];
  const literal = (text: string): void => void steps.push({ one: (char) => char === text });
  const characters = [...pattern];
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i]!;
    if (character === "*" && characters[i + 1] === "*") {
      i++;
      // `**/` also stands for no directory at all.
      if (characters[i + 1] === "/") i++;
      if (i + 1 === characters.length) steps.push({ many: any });
      else steps.push({ skip: 2 }, { many: any }, { one: (char) => char === "/" });
    } else if (character === "*") steps.push({ many: inPart });
    else if (character === "?") steps.push({ one: inPart });
    else if (character === "[") {
      const end = characters.indexOf("]", i + 2);
      if (end === -1) throw new Error(`syntax error in .dockerignore pattern ${JSON.stringify(pattern)}`);
      const body = characters
        .slice(i + 1, end)
        .join("")
        .replace(/[[\\]/g, "\\$&");
      const members = new RegExp(`^[${body}]$`, "su");
      steps.push({ one: (char) => members.test(char) });
      i = end;
    } else if (character === "\\" && i + 1 < characters.length) literal(characters[++i]!);
    else literal(character);
  }
  return steps;
}
