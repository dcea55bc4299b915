import { builtins, TemplateError, truth } from "./template-functions.ts";

/**
 * The part of Go's text/template that people use with Docker's --format and in log tags: fields, pipelines, variables, if / else if / with / range / break /
 * continue, trim markers, comments, Go's comparison and printf functions, and Docker's own (json, split, join, title, lower, upper, pad, truncate,
 * println). Data are JSON values; a function among them is a method, called with the arguments that follow it (`{{.Label "x"}}`).
 */
export interface Template {
  /** `missing` is what to print for fields by that name where they aren't there. @throws TemplateError where the data has no such field, or a function gets the wrong kind of value */
  execute(data: unknown, missing?: Readonly<Record<string, string>>): string;
}

type Expression =
  | { kind: "literal"; value: unknown }
  | { kind: "dot" }
  | { kind: "chain"; base: Expression; names: string[] }
  | { kind: "variable"; name: string }
  | { kind: "call"; name: string; args: Expression[] }
  | { kind: "method"; target: Expression; args: Expression[] };

interface Pipeline {
  /** `$x :=`, `$x =`, or `$i, $x :=` in range. */
  variables: string[];
  declares: boolean;
  commands: Expression[];
}

type Node =
  | { kind: "text"; text: string }
  | { kind: "print"; pipeline: Pipeline }
  | { kind: "if"; pipeline: Pipeline; body: Node[]; otherwise: Node[] }
  | { kind: "with"; pipeline: Pipeline; body: Node[]; otherwise: Node[] }
  | { kind: "range"; pipeline: Pipeline; body: Node[]; otherwise: Node[] }
  | { kind: "break" }
  | { kind: "continue" };

/**
 * `most` bounds the work of one execution where the template is somebody else's: each step counts as one, and each character and list item that a step
 * handles. @throws TemplateError that says what is wrong where
 */
export function parseTemplate(source: string, most = Infinity): Template {
  const nodes = withinRange(() => new Parser(source).parse());
  return {
    execute: (data, missing = {}) =>
      withinRange(() => {
        const out: string[] = [];
        new Evaluator(out, missing, new Budget(most)).run(nodes, data, new Scope(undefined, [["$", data]]));
        return out.join("");
      }),
  };
}

class Budget {
  #left: number;

  constructor(most: number) {
    this.#left = most;
  }

  spend(work: number): void {
    this.#left -= work;
    if (this.#left < 0) throw failure("it takes too many steps, or makes too much text");
  }
}

/** Of what is handed to a function, or comes from one. */
function sizeOf(value: unknown): number {
  if (typeof value === "string" || Array.isArray(value)) return value.length;
  return typeof value === "object" && value !== null ? Object.keys(value).length : 0;
}

/** What is too deep, or too large a number for JavaScript, is the template's fault. */
function withinRange<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof RangeError) throw failure(error.message);
    throw error;
  }
}

function failure(message: string): TemplateError {
  return new TemplateError(`template parsing error: template: ${message}`);
}

interface Token {
  kind: "name" | "field" | "variable" | "literal" | "symbol";
  text: string;
  value?: unknown;
  /** Directly after the token before it, without a space: `(x).Field` and `$x.Field` are chains. */
  glued: boolean;
}

const tokenPattern =
  /\s*(?:(\.[\p{L}_][\p{L}\p{N}_]*)|(\$[\p{L}\p{N}_]*)|("(?:[^"\\\n]|\\.)*")|(`[^`]*`)|('(?:[^'\\]|\\.)')|([+-]?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?))|([\p{L}_][\p{L}\p{N}_]*)|(:=|=|[|(),.]))/uy;

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  const source = text.trimEnd();
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < source.length) {
    const start = tokenPattern.lastIndex;
    const match = tokenPattern.exec(source);
    if (match === null) throw failure(`unexpected ${JSON.stringify(source.slice(start).trim().slice(0, 20))} in {{${text}}}`);
    const glued = !/^\s/.test(match[0]) && start > 0;
    const [, field, variable, quoted, raw, character, number, name, symbol] = match;
    if (field !== undefined) tokens.push({ kind: "field", text: field.slice(1), glued });
    else if (variable !== undefined) tokens.push({ kind: "variable", text: variable, glued });
    else if (quoted !== undefined) tokens.push({ kind: "literal", text: quoted, value: unquote(quoted), glued });
    else if (raw !== undefined) tokens.push({ kind: "literal", text: raw, value: raw.slice(1, -1), glued });
    else if (character !== undefined) tokens.push({ kind: "literal", text: character, value: unquote(`"${character.slice(1, -1)}"`).codePointAt(0), glued });
    else if (number !== undefined) tokens.push({ kind: "literal", text: number, value: Number(number), glued });
    else if (name !== undefined) tokens.push({ kind: "name", text: name, glued });
    else tokens.push({ kind: "symbol", text: symbol as string, glued });
  }
  return tokens;
}

function unquote(text: string): string {
  try {
    return JSON.parse(
      text
        .replace(/\\'/g, "'")
        .replace(/\\x([0-9a-fA-F]{2})/g, "\\u00$1")
        .replace(/\\a/g, "\\u0007")
        .replace(/\\v/g, "\\u000b"),
    ) as string;
  } catch {
    throw failure(`invalid syntax in string ${text}`);
  }
}

class Parser {
  readonly #pieces: ({ text: string } | { action: string })[] = [];
  #at = 0;
  #rangeDepth = 0;

  constructor(source: string) {
    let rest = source;
    while (rest !== "") {
      const open = rest.indexOf("{{");
      if (open < 0) {
        this.#pieces.push({ text: rest });
        return;
      }
      const close = actionEnd(rest, open + 2);
      if (close < 0) throw failure("unclosed action");
      let action = rest.slice(open + 2, close);
      let text = rest.slice(0, open);
      rest = rest.slice(close + 2);
      if (/^-\s/.test(action)) {
        text = text.trimEnd();
        action = action.slice(1);
      }
      if (/\s-$/.test(action)) {
        rest = rest.trimStart();
        action = action.slice(0, -1);
      }
      if (text !== "") this.#pieces.push({ text });
      if (!/^\s*\/\*[\s\S]*\*\/\s*$/.test(action)) this.#pieces.push({ action: action.trim() });
    }
  }

  parse(): Node[] {
    const { nodes, stop } = this.#block();
    if (stop !== undefined) throw failure(`unexpected {{${stop}}}`);
    return nodes;
  }

  /** Nodes up to `end`, `else …` or the end of the text. */
  #block(): { nodes: Node[]; stop?: string } {
    const nodes: Node[] = [];
    while (this.#at < this.#pieces.length) {
      const piece = this.#pieces[this.#at++] as { text: string } | { action: string };
      if ("text" in piece) {
        nodes.push({ kind: "text", text: piece.text });
        continue;
      }
      const [, word = "", rest = ""] = /^(\p{L}*)\s*([\s\S]*)$/u.exec(piece.action) ?? [];
      if (word === "end" || word === "else") return { nodes, stop: piece.action };
      if (word === "if" || word === "with" || word === "range") nodes.push(this.#control(word, rest));
      else if ((word === "break" || word === "continue") && rest === "") {
        if (this.#rangeDepth === 0) throw failure(`{{${word}}} outside {{range}}`);
        nodes.push({ kind: word });
      } else if (["define", "template", "block"].includes(word)) throw failure(`{{${word}}} is not supported in --format`);
      else nodes.push({ kind: "print", pipeline: this.#pipeline(piece.action) });
    }
    return { nodes };
  }

  #control(kind: "if" | "with" | "range", condition: string): Node {
    const pipeline = this.#pipeline(condition);
    if (kind === "range") this.#rangeDepth++;
    const { nodes: body, stop } = this.#block();
    if (kind === "range") this.#rangeDepth--;
    if (stop === undefined) throw failure(`unexpected end of template in {{${kind}}}: {{end}} is missing`);
    return { kind, pipeline, body, otherwise: this.#otherwise(kind, stop) };
  }

  #otherwise(kind: "if" | "with" | "range", stop: string): Node[] {
    if (stop === "end") return [];
    const chained = /^else\s+(if|with)\s+([\s\S]+)$/.exec(stop);
    if (chained !== null && chained[1] === kind) return [this.#control(kind, chained[2] as string)];
    if (stop !== "else") throw failure(`unexpected {{${stop}}}`);
    const { nodes, stop: last } = this.#block();
    if (last !== "end") throw failure(`unexpected ${last === undefined ? "end of template" : `{{${last}}}`} after {{else}}`);
    return nodes;
  }

  #pipeline(text: string): Pipeline {
    const tokens = tokenize(text);
    const variables: string[] = [];
    let declares = false;
    const assignment = tokens.findIndex(({ kind, text: symbol }) => kind === "symbol" && (symbol === ":=" || symbol === "="));
    if (assignment > 0) {
      declares = tokens[assignment]?.text === ":=";
      for (const token of tokens.splice(0, assignment + 1)) if (token.kind === "variable") variables.push(token.text);
    }
    const cursor = { tokens, at: 0 };
    const commands = this.#commands(cursor, text);
    if (cursor.at < tokens.length) throw failure(`unexpected ${JSON.stringify(tokens[cursor.at]?.text)} in {{${text}}}`);
    return { variables, declares, commands };
  }

  #commands(cursor: { tokens: Token[]; at: number }, source: string): Expression[] {
    const commands: Expression[] = [];
    for (;;) {
      const operands: Expression[] = [];
      for (
        let token = cursor.tokens[cursor.at];
        token !== undefined && token.text !== "|" && !(token.kind === "symbol" && token.text === ")");
        token = cursor.tokens[cursor.at]
      ) {
        operands.push(this.#operand(cursor, source));
      }
      const [head, ...args] = operands;
      if (head === undefined) throw failure(`missing value for command in {{${source}}}`);
      if (head.kind === "call") commands.push({ ...head, args });
      else if (args.length > 0 && head.kind === "chain") commands.push({ kind: "method", target: head, args });
      else if (args.length > 0) throw failure(`can't give argument to a value that is no function in {{${source}}}`);
      else commands.push(head);
      if (cursor.tokens[cursor.at]?.text !== "|") return commands;
      cursor.at++;
    }
  }

  #operand(cursor: { tokens: Token[]; at: number }, source: string): Expression {
    const token = cursor.tokens[cursor.at++] as Token;
    let expression: Expression;
    if (token.kind === "field") expression = { kind: "chain", base: { kind: "dot" }, names: [token.text] };
    else if (token.kind === "variable") expression = { kind: "variable", name: token.text };
    else if (token.kind === "literal") expression = { kind: "literal", value: token.value };
    else if (token.kind === "symbol" && token.text === ".") expression = { kind: "dot" };
    else if (token.kind === "symbol" && token.text === "(") {
      const commands = this.#commands(cursor, source);
      if (cursor.tokens[cursor.at++]?.text !== ")") throw failure(`unclosed left paren in {{${source}}}`);
      expression = commands.reduce((piped, command) => withPiped(command, piped));
    } else if (token.kind === "name") expression = nameExpression(token.text);
    else throw failure(`unexpected ${JSON.stringify(token.text)} in {{${source}}}`);

    const names: string[] = [];
    for (let next = cursor.tokens[cursor.at]; next?.kind === "field" && next.glued; next = cursor.tokens[cursor.at]) {
      names.push(next.text);
      cursor.at++;
    }
    if (names.length === 0) return expression;
    return expression.kind === "chain" ? { ...expression, names: [...expression.names, ...names] } : { kind: "chain", base: expression, names };
  }
}

/** Where an action ends: `}}` inside its quotes doesn't count. */
function actionEnd(text: string, from: number): number {
  let quote = "";
  for (let at = from; at < text.length; at++) {
    const character = text[at] as string;
    if (quote !== "") {
      if (character === "\\" && quote !== "`") at++;
      else if (character === quote) quote = "";
    } else if (character === '"' || character === "`" || character === "'") quote = character;
    else if (character === "}" && text[at + 1] === "}") return at;
  }
  return -1;
}

function nameExpression(name: string): Expression {
  if (name === "true" || name === "false") return { kind: "literal", value: name === "true" };
  if (name === "nil") return { kind: "literal", value: null };
  if (!Object.hasOwn(builtins, name) && name !== "and" && name !== "or") throw failure(`function ${JSON.stringify(name)} not defined`);
  return { kind: "call", name, args: [] };
}

/** The value piped in is the last argument. */
function withPiped(command: Expression, piped: Expression): Expression {
  if (command.kind === "call") return { ...command, args: [...command.args, piped] };
  if (command.kind === "method") return { ...command, args: [...command.args, piped] };
  if (command.kind === "chain") return { kind: "method", target: command, args: [piped] };
  throw failure("non executable command in pipeline");
}

class Scope {
  readonly #parent: Scope | undefined;
  readonly #values: Map<string, unknown>;

  constructor(parent: Scope | undefined, values: [string, unknown][] = []) {
    this.#parent = parent;
    this.#values = new Map(values);
  }

  declare(name: string, value: unknown): void {
    this.#values.set(name, value);
  }

  get(name: string): unknown {
    if (this.#values.has(name)) return this.#values.get(name);
    if (this.#parent === undefined) throw failure(`undefined variable ${JSON.stringify(name)}`);
    return this.#parent.get(name);
  }

  set(name: string, value: unknown): void {
    if (this.#values.has(name)) this.#values.set(name, value);
    else if (this.#parent === undefined) throw failure(`undefined variable ${JSON.stringify(name)}`);
    else this.#parent.set(name, value);
  }
}

/** A field that isn't there. Falsy in conditions; printing it is an error, so that a misspelt name is found. */
class Missing {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** What ended a run of nodes before its end: for the innermost range. */
type LoopExit = "break" | "continue";

class Evaluator {
  readonly #out: string[];
  readonly #missing: Readonly<Record<string, string>>;
  readonly #budget: Budget;

  constructor(out: string[], missing: Readonly<Record<string, string>>, budget: Budget) {
    this.#out = out;
    this.#missing = missing;
    this.#budget = budget;
  }

  #write(text: string): void {
    this.#budget.spend(text.length);
    this.#out.push(text);
  }

  run(nodes: readonly Node[], dot: unknown, scope: Scope): LoopExit | undefined {
    for (const node of nodes) {
      this.#budget.spend(1);
      if (node.kind === "text") this.#write(node.text);
      else if (node.kind === "print") this.#print(node.pipeline, dot, scope);
      else if (node.kind === "break" || node.kind === "continue") return node.kind;
      else if (node.kind === "range") {
        const exit = this.#range(node, dot, scope);
        if (exit !== undefined) return exit;
      } else {
        const inner = new Scope(scope);
        const value = present(this.#pipeline(node.pipeline, dot, inner));
        const exit = truth(value) ? this.run(node.body, node.kind === "with" ? value : dot, inner) : this.run(node.otherwise, dot, inner);
        if (exit !== undefined) return exit;
      }
    }
    return undefined;
  }

  #print(pipeline: Pipeline, dot: unknown, scope: Scope): void {
    const value = this.#pipeline(pipeline, dot, scope);
    if (pipeline.variables.length > 0) return;
    if (value instanceof Missing && Object.hasOwn(this.#missing, value.name)) {
      this.#write(this.#missing[value.name] as string);
      return;
    }
    if (value instanceof Missing) throw failure(`:1: executing "" at <.${value.name}>: map has no entry for key ${JSON.stringify(value.name)}`);
    this.#write(builtins.print!(value) as string);
  }

  #range(node: { pipeline: Pipeline; body: Node[]; otherwise: Node[] }, dot: unknown, scope: Scope): LoopExit | undefined {
    const inner = new Scope(scope);
    const value = present(this.#commands(node.pipeline.commands, dot, inner));
    this.#budget.spend(sizeOf(value));
    const [first, second] = node.pipeline.variables;
    let rounds = 0;
    for (const [key, item] of iterate(value)) {
      rounds++;
      this.#budget.spend(1);
      const round = new Scope(inner);
      if (second !== undefined) {
        round.declare(first as string, key);
        round.declare(second, item);
      } else if (first !== undefined) round.declare(first, item);
      if (this.run(node.body, item, round) === "break") break;
    }
    return rounds === 0 ? this.run(node.otherwise, dot, inner) : undefined;
  }

  #pipeline(pipeline: Pipeline, dot: unknown, scope: Scope): unknown {
    const value = this.#commands(pipeline.commands, dot, scope);
    const [name] = pipeline.variables;
    if (name !== undefined) {
      if (pipeline.declares) scope.declare(name, value);
      else scope.set(name, value);
    }
    return value;
  }

  #commands(commands: readonly Expression[], dot: unknown, scope: Scope): unknown {
    const whole = commands.reduce((piped, command) => withPiped(command, piped));
    return this.#evaluate(whole, dot, scope);
  }

  #evaluate(expression: Expression, dot: unknown, scope: Scope): unknown {
    switch (expression.kind) {
      case "literal":
        return expression.value;
      case "dot":
        return dot;
      case "variable":
        return scope.get(expression.name);
      case "chain":
        return expression.names.reduce((value, name) => fieldOf(value, name), this.#evaluate(expression.base, dot, scope));
      case "method":
        return this.#method(expression, dot, scope);
      case "call":
        return this.#call(expression, dot, scope);
    }
  }

  #method({ target, args }: { target: Expression; args: Expression[] }, dot: unknown, scope: Scope): unknown {
    if (target.kind !== "chain") throw failure("can't give argument to a value that is no function");
    const names = [...target.names];
    const last = names.pop() as string;
    const owner = names.reduce((value, name) => fieldOf(value, name), this.#evaluate(target.base, dot, scope));
    // its own alone: what JavaScript gives every value (`constructor`) would let a template run any code
    const method = Object.hasOwn(owner ?? {}, last) ? (owner as Record<string, unknown>)[last] : undefined;
    if (typeof method !== "function") throw failure(`${last} is not a method but has arguments`);
    const values = args.map((arg) => present(this.#evaluate(arg, dot, scope)));
    return this.#charged(values, method(...values));
  }

  #call({ name, args }: { name: string; args: Expression[] }, dot: unknown, scope: Scope): unknown {
    if (name === "and" || name === "or") {
      let value: unknown;
      for (const arg of args) {
        value = present(this.#evaluate(arg, dot, scope));
        if (truth(value) === (name === "or")) return value;
      }
      return value;
    }
    const values = args.map((arg) => this.#evaluate(arg, dot, scope));
    const missing = values.find((value) => value instanceof Missing);
    if (missing !== undefined && !["not", "eq", "ne", "json", "len", "print", "println", "printf"].includes(name)) {
      throw failure(`:1: executing "" at <.${missing.name}>: map has no entry for key ${JSON.stringify(missing.name)}`);
    }
    const given = values.map(present);
    return this.#charged(given, (builtins[name] as (...values: unknown[]) => unknown)(...given));
  }

  /** The result of a function. One call makes at most a known multiple of what it was given, so that it's early enough to count afterwards. */
  #charged(given: readonly unknown[], result: unknown): unknown {
    this.#budget.spend(given.reduce<number>((sum, value) => sum + sizeOf(value), 1 + sizeOf(result)));
    return result;
  }
}

function present(value: unknown): unknown {
  return value instanceof Missing ? undefined : value;
}

function fieldOf(value: unknown, name: string): unknown {
  if (value instanceof Missing) throw failure(`:1: executing "" at <.${value.name}.${name}>: map has no entry for key ${JSON.stringify(value.name)}`);
  if (value === null || value === undefined) throw failure(`:1: executing "" at <.${name}>: nil data; no entry for key ${JSON.stringify(name)}`);
  if (typeof value !== "object" || Array.isArray(value)) {
    throw failure(`:1: executing "" at <.${name}>: can't evaluate field ${name} in ${Array.isArray(value) ? "a list" : `a ${typeof value}`}`);
  }
  if (!Object.hasOwn(value, name)) return new Missing(name);
  const field = (value as Record<string, unknown>)[name];
  return typeof field === "function" ? (field as () => unknown)() : field;
}

/** Maps go in the order of their keys, as Go's do. */
function* iterate(value: unknown): Generator<[key: unknown, item: unknown], void, undefined> {
  if (value === null || value === undefined) return;
  if (Array.isArray(value)) yield* value.entries();
  else if (typeof value === "number") for (let count = 0; count < value; count++) yield [count, count];
  else if (typeof value === "object") yield* Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  else throw failure(`range can't iterate over ${String(value)}`);
}
