import { matchEnd, matchEnds, type Step } from "../lib/wildcards.ts";

/**
 * Variable expansion and quoting in a Dockerfile's words, by the rules of its reference
 * (docs.docker.com/reference/dockerfile/#environment-replacement): `$x`, `${x}`, `${x:-d}`, `${x-d}`, `${x:+d}`, `${x+d}`, `${x:?e}`, `${x?e}`,
 * `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`, `${x/p/r}`, `${x//p/r}`; single quotes keep everything, double quotes keep all but `$` and escapes.
 */
export interface Expansion {
  /** The word with variables put in, quotes and escapes gone. */
  text: string;
  /** The same split at blanks that were neither quoted nor escaped: what EXPOSE takes. */
  words: string[];
}

export interface ExpandOptions {
  /** The file's escape character: `\` or a backtick. */
  escape?: string;
  /** Quotes are ordinary characters: for the text of a here-document. */
  keepQuotes?: boolean;
}

/** @throws Error with Docker's text for bad syntax */
export function expand(word: string, variables: ReadonlyMap<string, string>, options: ExpandOptions = {}): Expansion {
  try {
    return new Expander(word, variables, options.escape ?? "\\", options.keepQuotes ?? false).run();
  } catch (error) {
    throw new Error(`failed to process ${JSON.stringify(word)}: ${(error as Error).message}`, { cause: error });
  }
}

/** Only the text of `expand`. */
export function expandText(word: string, variables: ReadonlyMap<string, string>, options: ExpandOptions = {}): string {
  // Most words hold nothing to expand.
  if (!word.includes("$") && !word.includes("'") && !word.includes('"') && !word.includes(options.escape ?? "\\")) return word;
  return expand(word, variables, options).text;
}

/** Longest result of an expansion: variables that double at each line would fill the memory. The kernel takes 128 KiB a variable. */
const longest = 1 << 20;
/** Steps of a pattern times characters of a value. */
const mostEffort = 20_000_000;

function checkLength(length: number): void {
  if (length > longest) throw new Error(`the result is longer than ${longest} characters`);
}

const digit = /\p{Nd}/u;
const nameCharacter = /[\p{L}\p{Nd}_]/u;
const blank = /\s/u;
/** POSIX's special parameters: they are never set here, so that they expand to nothing. */
const specialParameters = "@*#?-$!0";

class Words {
  readonly list: string[] = [];
  #word = "";
  #inWord = false;

  /** From unquoted text: blanks separate. */
  add(text: string): void {
    for (const character of text) {
      if (!blank.test(character)) this.addRaw(character);
      else if (this.#inWord) this.end();
    }
  }

  addRaw(text: string): void {
    checkLength(this.#word.length + text.length);
    this.#word += text;
    this.#inWord = true;
  }

  end(): void {
    if (this.#word !== "") this.list.push(this.#word);
    this.#word = "";
    this.#inWord = false;
  }
}

class Expander {
  readonly #characters: string[];
  readonly #variables: ReadonlyMap<string, string>;
  readonly #escape: string;
  readonly #keepQuotes: boolean;
  #at = 0;

  constructor(word: string, variables: ReadonlyMap<string, string>, escape: string, keepQuotes: boolean) {
    this.#characters = [...word];
    this.#variables = variables;
    this.#escape = escape;
    this.#keepQuotes = keepQuotes;
  }

  run(): Expansion {
    return this.#until(undefined, false);
  }

  get #next(): string | undefined {
    return this.#characters[this.#at];
  }

  /** Reads up to `stop` (taken, not part of the result) or the end of the word. `rawEscapes` keeps escape characters, for patterns. */
  #until(stop: string | undefined, rawEscapes: boolean): Expansion {
    let text = "";
    const words = new Words();
    for (;;) {
      const character = this.#next;
      if (character === undefined) break;
      if (character === stop) {
        this.#at++;
        words.end();
        return { text, words: words.list };
      }
      if (character === "$") {
        const value = this.#dollar();
        text += value;
        words.add(value);
      } else if (!this.#keepQuotes && (character === "'" || character === '"')) {
        const value = character === "'" ? this.#singleQuoted() : this.#doubleQuoted(rawEscapes);
        text += value;
        words.addRaw(value);
      } else if (character === this.#escape) {
        this.#at++;
        if (rawEscapes) {
          text += character;
          words.addRaw(character);
        }
        const escaped = this.#next;
        if (escaped === undefined) break;
        this.#at++;
        text += escaped;
        words.addRaw(escaped);
      } else {
        this.#at++;
        text += character;
        words.add(character);
      }
    }
    if (stop !== undefined) throw new Error(stop === "}" ? "syntax error: missing '}'" : `syntax error: missing '${stop}' in \${}`);
    words.end();
    return { text, words: words.list };
  }

  #singleQuoted(): string {
    const end = this.#characters.indexOf("'", this.#at + 1);
    if (end === -1) throw new Error("unexpected end of statement while looking for matching single-quote");
    const text = this.#characters.slice(this.#at + 1, end).join("");
    this.#at = end + 1;
    return text;
  }

  #doubleQuoted(rawEscapes: boolean): string {
    let text = "";
    this.#at++;
    for (;;) {
      const character = this.#next;
      if (character === undefined) throw new Error("unexpected end of statement while looking for matching double-quote");
      if (character === "$") {
        text += this.#dollar();
        continue;
      }
      this.#at++;
      if (character === '"') return text;
      if (character !== this.#escape) {
        text += character;
        continue;
      }
      if (rawEscapes) text += character;
      const escaped = this.#next;
      if (escaped === undefined) continue;
      // Before anything but these three the escape character stands for itself, as in sh.
      if (escaped === '"' || escaped === "$" || escaped === this.#escape) {
        text += escaped;
        this.#at++;
      } else {
        text += character;
      }
    }
  }

  #dollar(): string {
    this.#at++;
    if (this.#next !== "{") {
      const name = this.#name();
      return name === "" ? "$" : (this.#variables.get(name) ?? "");
    }
    this.#at++;
    if (this.#next === undefined) throw new Error("syntax error: missing '}'");
    if (this.#next === "{" || this.#next === "}" || this.#next === ":") throw new Error("syntax error: bad substitution");
    const name = this.#name();
    let modifier = this.#take();
    if (modifier === "}") return this.#variables.get(name) ?? "";
    if (modifier === "/") return this.#replace(name);
    const shown = modifier;
    const emptyIsUnset = modifier === ":";
    if (emptyIsUnset) modifier = this.#take();
    if (!"+-?#%".includes(modifier)) throw new Error(`unsupported modifier (${emptyIsUnset ? shown + modifier : shown}) in substitution`);
    const word = this.#until("}", modifier === "#" || modifier === "%").text;
    return this.#modified(name, modifier, word, emptyIsUnset);
  }

  #modified(name: string, modifier: string, word: string, emptyIsUnset: boolean): string {
    const value = this.#variables.get(name);
    const missing = value === undefined || (emptyIsUnset && value === "");
    switch (modifier) {
      case "-":
        return missing ? word : value;
      case "+":
        return missing ? "" : word;
      case "?":
        if (!missing) return value;
        throw new Error(`${name}: ${word !== "" ? word : `is not allowed to be ${value === undefined ? "unset" : "empty"}`}`);
      default:
        return trim(value ?? "", modifier, word);
    }
  }

  #replace(name: string): string {
    const all = this.#next === "/";
    if (all) this.#at++;
    const pattern = this.#until("/", true).text;
    const replacement = this.#until("}", true).text;
    return substitute(this.#variables.get(name) ?? "", pattern, replacement, all);
  }

  #take(): string {
    const character = this.#next;
    if (character === undefined) throw new Error("syntax error: missing '}'");
    this.#at++;
    return character;
  }

  #name(): string {
    const first = this.#next;
    if (first === undefined) return "";
    if (digit.test(first)) return this.#run(digit);
    if (specialParameters.includes(first)) return this.#take();
    return this.#run(nameCharacter);
  }

  #run(kind: RegExp): string {
    const from = this.#at;
    while (this.#next !== undefined && kind.test(this.#next)) this.#at++;
    return this.#characters.slice(from, this.#at).join("");
  }
}

/** A shell pattern: `*`, `?`, escapes. */
function stepsOf(pattern: string): Step[] {
  const steps: Step[] = [];
  const characters = [...pattern];
  for (let i = 0; i < characters.length; i++) {
    let character = characters[i] as string;
    if (character === "*") steps.push({ many: () => true });
    else if (character === "?") steps.push({ one: () => true });
    else {
      if (character === "\\") {
        const escaped = characters[++i];
        // `}` and `/` are escaped only to get them past the expansion's own syntax.
        if (escaped === undefined || !"}/*?\\".includes(escaped))
          throw new Error(`invalid pattern (${pattern}) in substitution: invalid escape '\\${escaped ?? ""}'`);
        character = escaped;
      }
      const literal = character;
      steps.push({ one: (other) => other === literal });
    }
  }
  return steps;
}

function checkEffort(steps: readonly Step[], characters: readonly string[]): void {
  if (steps.length * characters.length > mostEffort) throw new Error("pattern and value of the substitution are too long");
}

/** `#` and `##` cut the shortest and longest match at the start, `%` and `%%` at the end. */
function trim(value: string, modifier: string, word: string): string {
  const isLongest = word.startsWith(modifier);
  const steps = stepsOf(isLongest ? word.slice(1) : word);
  const characters = [...value];
  checkEffort(steps, characters);
  const prefer = isLongest ? "longest" : "shortest";
  if (modifier === "#") return characters.slice(matchEnd(steps, characters, { prefer }) ?? 0).join("");
  // from the end: the pattern backwards on the value backwards
  const cut = matchEnd(steps.toReversed(), characters.toReversed(), { prefer }) ?? 0;
  return characters.slice(0, characters.length - cut).join("");
}

/** The leftmost match, each as long as it can be; all of them, one after another, with `all`. */
function substitute(value: string, pattern: string, replacement: string, all: boolean): string {
  const steps = stepsOf(pattern);
  const characters = [...value];
  checkEffort(steps, characters);
  const starts = matchStarts(steps, characters);
  let text = "";
  let at = 0;
  for (let start = 0; start <= characters.length; start++) {
    if (start < at || !starts.has(start)) continue;
    const end = matchEnd(steps, characters, { from: start, prefer: "longest" }) as number;
    text += characters.slice(at, start).join("") + replacement;
    checkLength(text.length);
    // an empty match stands between two characters
    at = end;
    if (end === start) {
      text += characters[start] ?? "";
      at = start + 1;
    }
    if (!all) break;
  }
  return text + characters.slice(at).join("");
}

/** Positions at which a match begins: the pattern backwards, begun anew at each character, so that no position is tried by itself. */
function matchStarts(steps: readonly Step[], characters: readonly string[]): Set<number> {
  const backwards: Step[] = [{ many: () => true }, ...steps.toReversed()];
  const ends = matchEnds(backwards, characters.toReversed());
  return new Set(ends.map((end) => characters.length - end));
}
