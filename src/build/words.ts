/**
 * The three ways a Dockerfile's arguments are cut into words. Which instruction uses which is the Dockerfile reference's business (instructions.ts).
 */

const blank = /\s/u;

/** Words at blanks outside quotes; quotes and escapes stay in, for `expand` to take out later. Used by ENV, LABEL and ARG. */
export function quotedWords(text: string, escape: string): string[] {
  const words: string[] = [];
  let word = "";
  let started = false;
  let quote: string | undefined;
  const characters = [...text];
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i] as string;
    if (quote === undefined && blank.test(character)) {
      if (started) words.push(word);
      word = "";
      started = false;
      continue;
    }
    if (character === escape && quote !== "'") {
      // An escape character at the very end is dropped.
      const escaped = characters[++i];
      if (escaped === undefined) break;
      word += character + escaped;
      started = true;
      continue;
    }
    if (quote === undefined && (character === "'" || character === '"')) quote = character;
    else if (character === quote) quote = undefined;
    word += character;
    started = true;
  }
  if (started) words.push(word);
  return words;
}

/** Plain words at blanks. */
export function plainWords(text: string): string[] {
  return text === "" ? [] : text.split(/[\t\v\f\r ]+/);
}

/** The strings of a JSON array, or undefined where the text is none (then it is the shell form). @throws Error for an array of other things */
export function jsonWords(text: string): string[] | undefined {
  if (!text.trimStart().startsWith("[")) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // `RUN [ -f x ] && …` is a shell command
  }
  if (!Array.isArray(value)) return undefined;
  if (!value.every((item) => typeof item === "string")) throw new Error("when using JSON array syntax, arrays must be comprised of strings only");
  return value;
}

/** `--name=value` words at the start; values may be quoted. `rest` is what follows, trimmed. */
export function leadingFlags(text: string): { flags: string[]; rest: string } {
  const flags: string[] = [];
  let at = 0;
  for (;;) {
    while (at < text.length && blank.test(text[at] as string)) at++;
    if (!text.startsWith("--", at)) break;
    const word = flagWord(text, at);
    at = word.end;
    if (word.text === "--") break; // ends the flags, as everywhere
    flags.push(word.text);
  }
  return { flags, rest: text.slice(at).trim() };
}

function flagWord(text: string, from: number): { text: string; end: number } {
  let word = "";
  let quote: string | undefined;
  let at = from;
  for (; at < text.length; at++) {
    let character = text[at] as string;
    if (quote === undefined && blank.test(character)) break;
    if (quote === undefined && (character === "'" || character === '"')) quote = character;
    else if (character === quote) quote = undefined;
    else {
      if (character === "\\" && at + 1 < text.length) character = text[++at] as string;
      word += character;
    }
  }
  return { text: word, end: at };
}
