import type { HealthConfig } from "../oci/image.ts";
import { parseDuration } from "../lib/time.ts";
import type { ArgInstruction, CommandLine, Dockerfile, Instruction, KeyValue, Stage } from "./instructions.ts";
import { DockerfileError, splitLines, type LogicalLine } from "./lines.ts";
import { jsonWords, leadingFlags, plainWords, quotedWords } from "./words.ts";

/** The text of a Dockerfile to its stages. Nothing is expanded or looked up. @throws DockerfileError */
export function parseDockerfile(source: string): Dockerfile {
  const { lines, escape, warnings } = splitLines(source);
  if (lines.length === 0) throw new DockerfileError(1, "file with no instructions");
  const metaArgs: ArgInstruction[] = [];
  const stages: Stage[] = [];
  for (const line of lines) {
    const parsed = located(line, () => parseLine(line, escape));
    if (parsed.kind === "from") {
      stages.push(parsed.stage);
      continue;
    }
    const stage = stages.at(-1);
    if (stage !== undefined) stage.instructions.push(parsed);
    else if (parsed.kind === "arg") metaArgs.push(parsed);
    else throw new DockerfileError(line.line, "no build stage in current context");
  }
  return { metaArgs, stages, escape, warnings };
}

/** One instruction by itself, as ONBUILD triggers and the changes of commit and import are. @throws DockerfileError */
export function parseInstruction(source: string): Instruction {
  const { lines, escape } = splitLines(source);
  const [line] = lines;
  if (line === undefined || lines.length !== 1) throw new DockerfileError(line?.line ?? 1, "want exactly one instruction");
  const parsed = located(line, () => parseLine(line, escape));
  if (parsed.kind === "from") throw new DockerfileError(line.line, "FROM is not allowed here");
  return parsed;
}

function located<T>(line: LogicalLine, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof DockerfileError) throw error;
    throw new DockerfileError(line.line, (error as Error).message);
  }
}

/** What a parser of one instruction is given. */
interface Request {
  /** In capitals, for messages. */
  name: string;
  /** After the keyword and its flags, trimmed. */
  rest: string;
  flags: string[];
  escape: string;
  line: LogicalLine;
  base: { line: number; code: string };
}

type Parsed = Instruction | { kind: "from"; stage: Stage };

const parsers: Record<string, (request: Request) => Parsed> = {
  FROM: parseFrom,
  RUN: (request) => {
    refuseFlags(request, ["mount", "network", "security", "device"]);
    return { ...request.base, kind: "run", command: commandLine(request), heredocs: request.line.heredocs };
  },
  CMD: (request) => ({ ...plain(request), kind: "cmd", command: commandLine(request) }),
  ENTRYPOINT: (request) => ({ ...plain(request), kind: "entrypoint", command: commandLine(request) }),
  ENV: (request) => ({ ...plain(request), kind: "env", pairs: keyValues(request) }),
  LABEL: (request) => ({ ...plain(request), kind: "label", pairs: keyValues(request), literal: false }),
  MAINTAINER: (request) => ({ ...plain(request), kind: "maintainer", name: exactlyOne(request) }),
  EXPOSE: (request) => ({ ...plain(request), kind: "expose", ports: atLeastOne(request, plainWords(request.rest)).sort() }),
  VOLUME: parseVolume,
  USER: (request) => ({ ...plain(request), kind: "user", user: exactlyOne(request) }),
  WORKDIR: (request) => ({ ...plain(request), kind: "workdir", path: exactlyOne(request) }),
  STOPSIGNAL: (request) => ({ ...plain(request), kind: "stopsignal", signal: exactlyOne(request) }),
  SHELL: parseShell,
  ARG: parseArg,
  ADD: (request) => parseCopy(request, "add"),
  COPY: (request) => parseCopy(request, "copy"),
  HEALTHCHECK: parseHealthcheck,
  ONBUILD: parseOnbuild,
};

function parseLine(line: LogicalLine, escape: string): Parsed {
  const [, keyword = "", tail = ""] = /^(\S+)\s*(.*)$/su.exec(line.text.trim()) ?? [];
  const parse = parsers[keyword.toUpperCase()];
  if (parse === undefined) throw new Error(`unknown instruction: ${keyword}${suggestion(keyword)}`);
  const { flags, rest } = leadingFlags(tail);
  const base = { line: line.line, code: line.text.trim() };
  return parse({ name: keyword.toUpperCase(), rest, flags, escape, line, base });
}

/** ` (did you mean RUN?)` for a keyword of which less than half is off. */
function suggestion(keyword: string): string {
  const near = Object.keys(parsers)
    .map((name) => ({ name, distance: editDistance(name, keyword.toUpperCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  return near !== undefined && near.distance * 2 < keyword.length ? ` (did you mean ${near.name}?)` : "";
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] as number) + 1, (next[j - 1] as number) + 1, substitution));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** The flags an instruction takes, each at most once. @throws Error with Docker's texts */
function readFlags(request: Request, strings: readonly string[], booleans: readonly string[] = []): Map<string, string> {
  const values = new Map<string, string>();
  for (const flag of request.flags) {
    const [, name = "", value] = /^--([^=]*)(?:=(.*))?$/su.exec(flag) ?? [];
    if (!strings.includes(name) && !booleans.includes(name)) throw new Error(`Unknown flag: ${name}`);
    if (values.has(name)) throw new Error(`Duplicate flag specified: ${name}`);
    if (strings.includes(name)) {
      if (value === undefined) throw new Error(`Missing a value on flag: ${name}`);
      values.set(name, value);
      continue;
    }
    const lower = value?.toLowerCase() ?? "true";
    if (lower === "") throw new Error(`Missing a value on flag: ${name}`);
    if (lower !== "true" && lower !== "false") throw new Error(`Expecting boolean value for flag ${name}, not: ${value}`);
    values.set(name, lower);
  }
  return values;
}

function plain(request: Request): Request["base"] {
  readFlags(request, []);
  return request.base;
}

/** Flags that only BuildKit's front end knows. */
function refuseFlags(request: Request, names: readonly string[]): void {
  for (const flag of request.flags) {
    const name = /^--([^=]*)/.exec(flag)?.[1] ?? "";
    if (!names.includes(name)) throw new Error(`Unknown flag: ${name}`);
    throw new Error(`the --${name} option requires BuildKit, whose features Berth does not serve yet`);
  }
}

function atLeastOne(request: Request, words: string[]): string[] {
  if (words.length === 0) throw new Error(`${request.name} requires at least one argument`);
  return words;
}

function exactlyOne(request: Request): string {
  if (request.rest === "") throw new Error(`${request.name} requires exactly one argument`);
  return request.rest;
}

function commandLine(request: Request): CommandLine {
  const json = jsonWords(request.rest);
  if (json !== undefined) return { form: "json", words: json };
  return { form: "shell", words: request.rest === "" ? [] : [request.rest] };
}

/** `KEY value` (old) or `key=value key2=value2`, told by the first word. */
function keyValues(request: Request): KeyValue[] {
  const words = atLeastOne(request, quotedWords(request.rest, request.escape));
  if (!(words[0] as string).includes("=")) {
    const [, key = "", value] = /^(\S+)[\t\v\f\r ]+(.*)$/su.exec(request.rest) ?? [];
    if (value === undefined) throw new Error(`${request.name} must have two arguments`);
    return [{ key, value }];
  }
  return words.map((word) => {
    const at = word.indexOf("=");
    if (at === -1) throw new Error(`Syntax error - can't find = in ${JSON.stringify(word)}. Must be of the form: name=value`);
    if (at === 0) throw new Error(`${request.name} names can not be blank`);
    return { key: word.slice(0, at), value: word.slice(at + 1) };
  });
}

function parseFrom(request: Request): Parsed {
  const platform = readFlags(request, ["platform"]).get("platform");
  const [base = "", as, alias, ...more] = plainWords(request.rest);
  if (base === "" || more.length > 0 || (as !== undefined && (as.toLowerCase() !== "as" || alias === undefined))) {
    throw new Error("FROM requires either one or three arguments");
  }
  const name = alias?.toLowerCase();
  if (name !== undefined && !/^[a-z][a-z0-9-_.]*$/.test(name)) {
    throw new Error(`invalid name for build stage: ${JSON.stringify(alias)}, name can't start with a number or contain symbols`);
  }
  return { kind: "from", stage: { ...request.base, base, name, platform, instructions: [] } };
}

function parseVolume(request: Request): Instruction {
  const paths = atLeastOne(request, jsonWords(request.rest) ?? plainWords(request.rest)).map((path) => path.trim());
  if (paths.includes("")) throw new Error("VOLUME specified can not be an empty string");
  return { ...plain(request), kind: "volume", paths };
}

function parseShell(request: Request): Instruction {
  const shell = jsonWords(request.rest);
  if (shell === undefined && request.rest !== "") throw new Error(`SHELL requires the arguments to be in JSON form, not ${JSON.stringify(request.rest)}`);
  return { ...plain(request), kind: "shell", shell: atLeastOne(request, shell ?? []) };
}

function parseArg(request: Request): Instruction {
  const args = atLeastOne(request, quotedWords(request.rest, request.escape)).map((word) => {
    const at = word.indexOf("=");
    if (at === 0) throw new Error("ARG names can not be blank");
    return at === -1 ? { key: word } : { key: word.slice(0, at), value: word.slice(at + 1) };
  });
  return { ...plain(request), kind: "arg", args };
}

function parseCopy(request: Request, kind: "copy" | "add"): Instruction {
  const words = jsonWords(request.rest) ?? plainWords(request.rest);
  if (words.length < 2) {
    throw new Error(`${request.name} requires at least two arguments, but only one was provided. Destination could not be determined`);
  }
  const buildkit = kind === "copy" ? ["parents", "exclude"] : ["keep-git-dir", "unpack", "exclude"];
  const only = request.flags.filter((flag) => buildkit.includes(/^--([^=]*)/.exec(flag)?.[1] ?? ""));
  if (only.length > 0) refuseFlags({ ...request, flags: only }, buildkit);
  // --link changes how BuildKit stores the layer, not what is in it.
  const flags = readFlags(request, kind === "copy" ? ["from", "chown", "chmod"] : ["chown", "chmod", "checksum"], ["link"]);
  const destination = words.pop() as string;
  const { heredocs } = request.line;
  const isHeredoc = (word: string): boolean =>
    heredocs.some((heredoc) => word.replace(/^\d*<<-?/, "").replace(/^(["'])(.*)\1$/, "$2") === heredoc.name && word.includes("<<"));
  if (isHeredoc(destination)) throw new Error(`${request.name} cannot accept a heredoc as a destination`);
  return {
    ...request.base,
    kind,
    sources: words.filter((word) => !isHeredoc(word)),
    inline: heredocs,
    destination,
    from: flags.get("from"),
    chown: flags.get("chown"),
    chmod: flags.get("chmod"),
    checksum: flags.get("checksum"),
  };
}

function parseHealthcheck(request: Request): Instruction {
  const [, type = "", rest = ""] = /^(\S+)\s*(.*)$/su.exec(request.rest) ?? [];
  if (type === "") throw new Error("HEALTHCHECK requires at least one argument");
  if (type.toUpperCase() === "NONE") {
    if (rest !== "") throw new Error("HEALTHCHECK NONE takes no arguments");
    return { ...plain(request), kind: "healthcheck", health: { Test: ["NONE"] } };
  }
  const flags = readFlags(request, ["interval", "timeout", "start-period", "start-interval", "retries"]);
  if (type.toUpperCase() !== "CMD") throw new Error(`Unknown type ${JSON.stringify(type.toUpperCase())} in HEALTHCHECK (try CMD)`);
  const { form, words } = commandLine({ ...request, rest });
  if (words.length === 0) throw new Error("Missing command after HEALTHCHECK CMD");
  const health: HealthConfig = { Test: [form === "json" ? "CMD" : "CMD-SHELL", ...words] };
  const set = (key: "Interval" | "Timeout" | "StartPeriod" | "StartInterval", flag: string): void => {
    const value = healthDuration(flag, flags.get(flag));
    if (value !== undefined) health[key] = value;
  };
  set("Interval", "interval");
  set("Timeout", "timeout");
  set("StartPeriod", "start-period");
  set("StartInterval", "start-interval");
  const retries = flags.get("retries");
  if (retries !== undefined && retries !== "") {
    if (!/^[+-]?\d+$/.test(retries)) throw new Error(`strconv.ParseInt: parsing ${JSON.stringify(retries)}: invalid syntax`);
    if (Number(retries) < 0) throw new Error(`--retries cannot be negative (${Number(retries)})`);
    health.Retries = Number(retries);
  }
  return { ...request.base, kind: "healthcheck", health };
}

/** Nanoseconds; undefined where not given or zero. Docker takes nothing between 0 and 1 ms. */
function healthDuration(flag: string, text: string | undefined): number | undefined {
  if (text === undefined || text === "" || text === "0") return undefined;
  const nano = parseDuration(text);
  if (nano === undefined) throw new Error(`time: invalid duration ${JSON.stringify(text)}`);
  if (nano === 0n) return undefined;
  if (nano < 1_000_000n) throw new Error(`Interval ${JSON.stringify(flag)} cannot be less than 1ms`);
  return Number(nano);
}

function parseOnbuild(request: Request): Instruction {
  const trigger = /^\S*/.exec(request.rest)?.[0].toUpperCase() ?? "";
  if (trigger === "") throw new Error("ONBUILD requires at least one argument");
  if (trigger === "ONBUILD") throw new Error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (trigger === "MAINTAINER" || trigger === "FROM") throw new Error(`${trigger} isn't allowed as an ONBUILD trigger`);
  // Checked now, so that a mistake is told to whoever wrote it; evaluated when an image is built on this one.
  const { kind } = parseLine({ ...request.line, text: request.rest }, request.escape);
  if (kind === "from") throw new Error("FROM isn't allowed as an ONBUILD trigger");
  const documents = request.line.heredocs.map((heredoc) => `\n${heredoc.content}${heredoc.name}`).join("");
  return { ...plain(request), kind: "onbuild", expression: request.rest + documents };
}
