/** A here-document of RUN, COPY or ADD: `<<NAME`, `<<-NAME` (leading tabs go), `<<"NAME"` (nothing is expanded). */
export interface Heredoc {
  name: string;
  content: string;
  expand: boolean;
  stripTabs: boolean;
}

/** One instruction with its continuation lines joined. */
export interface LogicalLine {
  text: string;
  /** Of the first line, from 1. */
  line: number;
  heredocs: Heredoc[];
}

export interface SplitFile {
  lines: LogicalLine[];
  /** `\` unless the escape directive says otherwise. */
  escape: string;
  warnings: string[];
}

/** Something is wrong on a line of a Dockerfile. The message has Docker's prefix. */
export class DockerfileError extends Error {
  readonly line: number;

  constructor(line: number, message: string) {
    super(`dockerfile parse error on line ${line}: ${message}`);
    this.name = "DockerfileError";
    this.line = line;
  }
}

/** Docker reads lines through a scanner with this limit. */
const maximumLine = 65535;
const directive = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$/;
const directives = new Set(["escape", "syntax", "check"]);

/** Directives, comments, continuations and here-documents: a file's text to its instructions, one text each. @throws DockerfileError */
export function splitLines(source: string): SplitFile {
  const physical = source.replace(/^\uFEFF/, "").split(/\r?\n/);
  if (physical.at(-1) === "") physical.pop();
  physical.forEach((text, index) => {
    if (text.length > maximumLine) throw new DockerfileError(index + 1, `dockerfile line greater than max allowed size of ${maximumLine}`);
  });
  const escape = readDirectives(physical);
  const continuation = new RegExp(`${RegExp.escape(escape)}[ \\t]*$`);
  const lines: LogicalLine[] = [];
  const warnings: string[] = [];
  for (let i = 0; i < physical.length; i++) {
    const line = i + 1;
    let text = (physical[i] as string).trimStart();
    if (text === "" || text.startsWith("#")) continue;
    let hasEmptyLine = false;
    while (continuation.test(text)) {
      text = text.replace(continuation, "");
      i++;
      // Comments and (deprecated) empty lines within an instruction are left out.
      while (i < physical.length && /^\s*(?:#.*)?$/.test(physical[i] as string)) {
        if ((physical[i] as string).trim() === "") hasEmptyLine = true;
        i++;
      }
      if (i >= physical.length) break;
      text += physical[i] as string;
    }
    if (text.trim() === "") continue;
    if (hasEmptyLine) warnings.push(`[WARNING]: Empty continuation line found in:\n    ${text}`);
    const heredocs = openedHeredocs(text);
    for (const heredoc of heredocs) i = readHeredoc(heredoc, physical, i + 1, line);
    lines.push({ text, line, heredocs });
  }
  if (warnings.length > 0) warnings.push("[WARNING]: Empty continuation lines will become errors in a future release.");
  return { lines, escape, warnings };
}

/** Directives stand before everything else, each at most once. Unknown ones are comments. */
function readDirectives(physical: readonly string[]): string {
  const seen = new Set<string>();
  let escape = "\\";
  for (const [index, text] of physical.entries()) {
    const match = directive.exec(text.trimStart());
    const key = match?.[1]?.toLowerCase() ?? "";
    if (match === null || !directives.has(key)) break;
    if (seen.has(key)) throw new DockerfileError(index + 1, `only one ${key} parser directive can be used`);
    seen.add(key);
    if (key !== "escape") continue;
    escape = match[2] as string;
    if (escape !== "\\" && escape !== "`") throw new DockerfileError(index + 1, `invalid escape token '${escape}' does not match \` or \\`);
  }
  return escape;
}

const takesHeredocs = /^\s*(?:onbuild\s+)?(?:run|copy|add)\s/i;
const opening = /^\d*<<(-?)(?:"([^"<\s]+)"|'([^'<\s]+)'|([^"'<\s]+))$/;

/** The `<<NAME` words of a line, outside quotes. */
function openedHeredocs(text: string): Heredoc[] {
  if (!text.includes("<<") || !takesHeredocs.test(text)) return [];
  const found: Heredoc[] = [];
  for (const word of text.match(/(?:"[^"]*"|'[^']*'|\\.|[^\s"'\\])+/g) ?? []) {
    const match = opening.exec(word);
    if (match === null) continue;
    const quoted = match[2] ?? match[3];
    found.push({ name: quoted ?? (match[4] as string), content: "", expand: quoted === undefined, stripTabs: match[1] === "-" });
  }
  return found;
}

/** Fills in the content; returns the index of the line with the delimiter. */
function readHeredoc(heredoc: Heredoc, physical: readonly string[], from: number, line: number): number {
  for (let i = from; i < physical.length; i++) {
    const text = physical[i] as string;
    const candidate = heredoc.stripTabs ? text.replace(/^\t+/, "") : text;
    if (candidate === heredoc.name) return i;
    heredoc.content += `${candidate}\n`;
  }
  throw new DockerfileError(line, "unterminated heredoc");
}
