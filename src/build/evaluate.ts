import { posix } from "node:path";
import { parseSignal } from "../lib/signals.ts";
import { formatDuration } from "../lib/time.ts";
import type { Digest } from "../oci/digest.ts";
import type { HealthConfig, ImageRunConfig } from "../oci/image.ts";
import type { BuildArgs } from "./args.ts";
import { expand, expandText } from "./expand.ts";
import type { CommandLine, CopyInstruction, Instruction, KeyValue, RunInstruction } from "./instructions.ts";

/** What a stage is at one of its steps. */
export interface StageState {
  config: ImageRunConfig;
  author: string;
  /** CMD was given in this stage: ENTRYPOINT then leaves it alone. */
  cmdSet: boolean;
  args: BuildArgs;
}

export interface CopyOperation {
  kind: "copy";
  /** Tars are unpacked and URLs fetched. */
  add: boolean;
  sources: string[];
  inline: { name: string; content: string }[];
  /** Absolute; ends with a slash where a directory is meant. */
  destination: string;
  chown?: string;
  chmod?: number;
  checksum?: string;
  /** Owners stay as they are in the source: COPY --from without --chown. */
  keepOwners: boolean;
}

export interface RunOperation {
  kind: "run";
  args: string[];
  env: string[];
  /** A here-document with a `#!` line: a file bound into the container at this path, and run. */
  script?: { path: string; content: string };
}

/** What a step does besides changing the configuration. */
export type Operation = { kind: "metadata" } | { kind: "workdir"; path: string } | CopyOperation | RunOperation;

export interface Evaluation {
  state: StageState;
  operation: Operation;
  /** The history entry: what the step did, in Docker's words. A copy's holds the hash of its files (`contents`), known only later. */
  describe(contents?: string): string;
  /** Told to the user. */
  note?: string;
}

export const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** The state at the start of a stage on an image's configuration (none: scratch), and the triggers its ONBUILD left. */
export function beginStage(base: ImageRunConfig | undefined, args: BuildArgs): { state: StageState; triggers: string[] } {
  const { OnBuild: triggers, ...rest } = structuredClone(base ?? {});
  const env = rest.Env ?? [];
  const hasPath = env.some((entry) => entry.startsWith("PATH="));
  return {
    state: { config: { ...rest, Env: hasPath ? env : [...env, defaultPath] }, author: "", cmdSet: false, args: args.forStage() },
    triggers: triggers ?? [],
  };
}

/** One instruction on a state: the state after it and what is to be done. Pure. @throws Error with Docker's text */
export function evaluate(before: StageState, instruction: Instruction, escape: string): Evaluation {
  const config = structuredClone(before.config);
  const state: StageState = { ...before, config };
  const variables = state.args.variables(config.Env ?? []);
  const word = (text: string): string => expandText(text, variables, { escape });
  const shell = config.Shell != null && config.Shell.length > 0 ? config.Shell : ["/bin/sh", "-c"];
  const metadata = (comment: string, note?: string): Evaluation => ({
    state,
    operation: { kind: "metadata" },
    describe: () => `${shell.join(" ")} #(nop)  ${comment}`,
    note,
  });
  switch (instruction.kind) {
    case "env": {
      const pairs = expandPairs(instruction.pairs, word);
      config.Env = pairs.reduce(setEnv, config.Env ?? []);
      return metadata(`ENV ${formatPairs(pairs)}`);
    }
    case "label": {
      const pairs = instruction.literal ? instruction.pairs : expandPairs(instruction.pairs, word);
      config.Labels = { ...config.Labels, ...Object.fromEntries(pairs.map(({ key, value }) => [key, value])) };
      return metadata(`LABEL ${formatPairs(pairs)}`);
    }
    case "maintainer":
      state.author = instruction.name;
      return metadata(`MAINTAINER ${instruction.name}`);
    case "expose": {
      const ports = instruction.ports.flatMap((port) => expand(port, variables, { escape }).words);
      config.ExposedPorts = { ...config.ExposedPorts };
      for (const port of ports.flatMap(parsePorts)) config.ExposedPorts[port] = {};
      return metadata(`EXPOSE ${ports.join(" ")}`);
    }
    case "volume": {
      const paths = instruction.paths.map(word);
      if (paths.includes("")) throw new Error("VOLUME specified can not be an empty string");
      config.Volumes = { ...config.Volumes, ...Object.fromEntries(paths.map((path) => [path, {}])) };
      return metadata(`VOLUME [${paths.join(" ")}]`);
    }
    case "user":
      config.User = word(instruction.user);
      return metadata(`USER ${config.User}`);
    case "arg": {
      const args = instruction.args.map(({ key, value }) => ({ key: word(key), value: value === undefined ? undefined : word(value) }));
      state.args = state.args.copy();
      for (const { key, value } of args) state.args.declare(key, value);
      return metadata(`ARG ${args.map(({ key, value }) => (value === undefined ? key : `${key}=${value}`)).join(" ")}`);
    }
    case "onbuild":
      config.OnBuild = [...(config.OnBuild ?? []), instruction.expression];
      return metadata(`ONBUILD ${instruction.expression}`);
    case "stopsignal":
      config.StopSignal = word(instruction.signal);
      parseSignal(config.StopSignal);
      return metadata(`STOPSIGNAL ${config.StopSignal}`);
    case "shell":
      config.Shell = instruction.shell;
      // The new shell already stands before its own instruction, as in Docker.
      return { state, operation: { kind: "metadata" }, describe: () => `${instruction.shell.join(" ")} #(nop)  SHELL [${instruction.shell.join(" ")}]` };
    case "healthcheck": {
      const old = config.Healthcheck?.Test;
      const note = old != null && old.length > 0 && old[0] !== "NONE" ? `Note: overriding previous HEALTHCHECK: [${old.join(" ")}]\n` : undefined;
      config.Healthcheck = instruction.health;
      return metadata(`HEALTHCHECK ${formatHealth(instruction.health)}`, instruction.health.Test?.[0] === "NONE" ? undefined : note);
    }
    case "cmd":
      config.Cmd = joinCommand(instruction.command, shell);
      state.cmdSet = state.cmdSet || instruction.command.words.length > 0;
      return metadata(`CMD ${quoteList(config.Cmd)}`);
    case "entrypoint":
      config.Entrypoint = instruction.command.words.length === 0 ? null : joinCommand(instruction.command, shell);
      if (!state.cmdSet) config.Cmd = null;
      return metadata(`ENTRYPOINT ${quoteList(config.Entrypoint ?? [])}`);
    case "workdir": {
      const requested = word(instruction.path);
      if (requested === "") throw new Error("cannot normalize nothing");
      const path = withoutTrailingSlash(posix.join(requested.startsWith("/") ? "/" : `/${config.WorkingDir ?? ""}`, requested));
      config.WorkingDir = path;
      return { state, operation: { kind: "workdir", path }, describe: () => `${shell.join(" ")} #(nop) WORKDIR ${path}` };
    }
    case "copy":
    case "add":
      return evaluateCopy(state, instruction, word, shell, variables);
    case "run":
      return evaluateRun(state, instruction, shell);
  }
}

function evaluateCopy(
  state: StageState,
  instruction: CopyInstruction,
  word: (text: string) => string,
  shell: readonly string[],
  variables: ReadonlyMap<string, string>,
): Evaluation {
  const name = instruction.kind.toUpperCase();
  const given = word(instruction.destination);
  const sources = instruction.sources.map(word);
  const chown = instruction.chown === undefined ? undefined : word(instruction.chown);
  const chmod = instruction.chmod === undefined ? undefined : word(instruction.chmod);
  if (chmod !== undefined && !/^[0-7]{1,5}$/.test(chmod)) {
    throw new Error(`invalid chmod parameter: '${chmod}': it should be octal string and between 0 and 07777`);
  }
  const operation: CopyOperation = {
    kind: "copy",
    add: instruction.kind === "add",
    sources,
    inline: instruction.inline.map(({ name: file, content, expand: expands }) => ({
      name: file,
      content: expands ? expandText(content, variables, { keepQuotes: true }) : content,
    })),
    destination: given.startsWith("/") ? given : absolute(state.config.WorkingDir, given),
    chown: chown === "" ? undefined : chown,
    chmod: chmod === undefined ? undefined : Number.parseInt(chmod, 8),
    checksum: instruction.checksum === undefined ? undefined : word(instruction.checksum),
    keepOwners: instruction.from !== undefined && instruction.from !== "" && (chown === undefined || chown === ""),
  };
  const flags = `${operation.chown === undefined ? "" : `--chown=${operation.chown} `}${chmod === undefined ? "" : `--chmod=${chmod} `}`;
  return { state, operation, describe: (contents = "") => `${shell.join(" ")} #(nop) ${name} ${flags}${contents} in ${given} ` };
}

function evaluateRun(state: StageState, instruction: RunInstruction, shell: readonly string[]): Evaluation {
  const environment = state.config.Env ?? [];
  const { all, shown } = state.args.runEnvironment(environment);
  const { args, script } = runArguments(instruction, shell);
  const described = script === undefined ? args : [...args, script.content];
  const history = all.length === 0 ? described : [`|${shown.length}`, ...shown, ...described];
  return { state, operation: { kind: "run", args, env: [...environment, ...all], script }, describe: () => history.join(" ") };
}

function runArguments({ command, heredocs }: RunInstruction, shell: readonly string[]): { args: string[]; script?: { path: string; content: string } } {
  const [text = ""] = command.words;
  const [only] = heredocs;
  if (command.form === "json" || only === undefined) return { args: joinCommand(command, shell) };
  // `RUN <<EOF` alone: the document is the script, for its own interpreter where it names one.
  if (heredocs.length === 1 && /^\d*<<\S+$/.test(text)) {
    if (!only.content.startsWith("#!")) return { args: [...shell, only.content] };
    const path = `/dev/pipes/${only.name}`;
    return { args: [path], script: { path, content: only.content } };
  }
  return { args: [...shell, heredocs.reduce((joined, heredoc) => `${joined}\n${heredoc.content}${heredoc.name}`, text)] };
}

function joinCommand(command: CommandLine, shell: readonly string[]): string[] {
  return command.form === "json" ? command.words : [...shell, ...command.words];
}

function absolute(workingDirectory: string | undefined, path: string): string {
  const joined = posix.join("/", workingDirectory ?? "", path);
  return /(?:^|\/)\.{0,2}$/.test(path) && !joined.endsWith("/") ? `${joined}/` : joined;
}

function withoutTrailingSlash(path: string): string {
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

function expandPairs(pairs: readonly KeyValue[], word: (text: string) => string): KeyValue[] {
  return pairs.map(({ key, value }) => ({ key: word(key), value: word(value) }));
}

function setEnv(env: readonly string[], { key, value }: KeyValue): string[] {
  const entry = `${key}=${value}`;
  const index = env.findIndex((old) => old.split("=", 1)[0] === key);
  return index === -1 ? [...env, entry] : env.with(index, entry);
}

function formatPairs(pairs: readonly KeyValue[]): string {
  return pairs.map(({ key, value }) => `${key}=${value}`).join(" ");
}

/** Go's `%q` of a list of strings. */
function quoteList(words: readonly string[]): string {
  return `[${words.map((word) => JSON.stringify(word)).join(" ")}]`;
}

/** Go's `%q` of the structure, which is what Docker's history shows: durations quoted, retries as a character. */
function formatHealth(health: HealthConfig): string {
  const duration = (nano = 0): string => JSON.stringify(formatDuration(nano));
  const retries = health.Retries ?? 0;
  const rune = retries >= 0x20 && retries < 0x7f ? `'${String.fromCharCode(retries)}'` : `'\\x${retries.toString(16).padStart(2, "0")}'`;
  const times = [health.Interval, health.Timeout, health.StartPeriod, health.StartInterval].map(duration).join(" ");
  return `&{${quoteList(health.Test ?? [])} ${times} ${rune}}`;
}

/** `80`, `80/udp`, `8000-8010`; a host part as in `-p` is taken and dropped, as Docker does. */
function parsePorts(specification: string): string[] {
  const [ports = "", protocol = "tcp"] = specification.split("/");
  const container = ports.split(":").at(-1) as string;
  const match = /^(\d+)(?:-(\d+))?$/.exec(container);
  const from = Number(match?.[1]);
  const to = Number(match?.[2] ?? match?.[1]);
  if (match === null || from < 1 || to > 65535 || from > to) throw new Error(`invalid containerPort: ${container}`);
  const name = protocol.toLowerCase();
  if (!["tcp", "udp", "sctp"].includes(name)) throw new Error(`invalid proto: ${protocol}`);
  return Array.from({ length: to - from + 1 }, (_, i) => `${from + i}/${name}`);
}

/** Of everything that decides a step's result: the parent (`scratch` with the platform where there is none), what is done, and the configuration after it. */
export function cacheKey(parent: Digest | string, description: string, operation: Operation, config: ImageRunConfig): string {
  const details = operation.kind === "copy" ? { destination: operation.destination, keepOwners: operation.keepOwners, checksum: operation.checksum } : {};
  return new Bun.CryptoHasher("sha256").update(JSON.stringify(["1", parent, description, operation.kind, details, config])).digest("hex");
}
