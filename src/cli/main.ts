import type { Client } from "../client/client.ts";
import { ConnectionError } from "../client/errors.ts";
import type { Command, CommandContext } from "./command.ts";
import { findCommand, type CommandEntry } from "./commands.ts";
import { createConfig, type CliConfig } from "./config.ts";
import { describe } from "./describe.ts";
import { CliError, UsageError } from "./errors.ts";
import { helpFlag, parseFlags, type FlagSet, type FlagValues } from "./flags.ts";
import { globalFlags } from "./globals.ts";
import { BrokenPipe, processStreams, type Streams } from "./io.ts";
import type { Programs } from "./programs.ts";

export interface RunOptions {
  env?: Record<string, string | undefined>;
  io?: Streams;
}

/** What a shell reports for a program that wrote into a closed pipe (128 + SIGPIPE). */
const brokenPipeCode = 141;

/**
 * The `berth` command line. `argv` is without the program's name. Resolves to the exit code and never throws; the caller ends the process, since
 * sockets may still be open.
 */
export async function runCli(argv: readonly string[], programs: Programs, options: RunOptions = {}): Promise<number> {
  const env = options.env ?? process.env;
  const io = options.io ?? processStreams(env);
  try {
    return await dispatch(argv, programs, env, io);
  } catch (error) {
    if (error instanceof BrokenPipe) return brokenPipeCode;
    return await report(error, "berth", io, 1);
  }
}

async function dispatch(argv: readonly string[], programs: Programs, env: Record<string, string | undefined>, io: Streams): Promise<number> {
  let globals;
  try {
    globals = parseFlags(globalFlags, argv, { interspersed: false });
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    await io.err.write(`${error.message}\nSee 'berth --help'.\n`);
    return error.exitCode;
  }
  const { values, positional } = globals;
  if (values.version) {
    const { version } = await import("../lib/version.ts");
    await io.out.write(`Berth version ${version}\n`);
    return 0;
  }
  if (positional[0] === "__complete") return printCompletions(positional.slice(1), values, env, io);
  const asksHelp = positional[0] === "help";
  const words = asksHelp ? positional.slice(1) : positional;
  if (words.length === 0) {
    const { topHelp } = await import("./help.ts");
    await io.out.write(topHelp(io.out.columns()));
    return 0;
  }
  const found = findCommand(words);
  if (found === undefined) throw unknownCommand(words, asksHelp);
  const { entry, path, length } = found;
  const rest = words.slice(length);
  if (entry.load === undefined) return group(entry, rest, asksHelp, io);
  const command = await entry.load();
  if (asksHelp) return showHelp(command, path, io);
  return runCommand(command, path, rest, { values, env, io, programs });
}

function unknownCommand(words: readonly string[], asksHelp: boolean): CliError {
  if (asksHelp) return new CliError(`unknown help topic: ${words.join(" ")}`);
  return new CliError(`berth: '${words[0]}' is not a berth command.\nSee 'berth --help'.`);
}

/** For the shells' scripts. Silent on failure: a prompt is no place for errors. */
async function printCompletions(
  words: readonly string[],
  values: FlagValues<typeof globalFlags>,
  env: Record<string, string | undefined>,
  io: Streams,
): Promise<number> {
  const [{ complete }, { connect }] = await Promise.all([import("./complete.ts"), import("./connect.ts")]);
  try {
    const found = await complete(words, () => connect(values, env, configFor(values, env)));
    await io.out.write(found.map((word) => `${word}\n`).join(""));
    return 0;
  } catch {
    return 1;
  }
}

function configFor(values: FlagValues<typeof globalFlags>, env: Record<string, string | undefined>): CliConfig {
  return createConfig(values.config || env.DOCKER_CONFIG || `${env.HOME || "/root"}/.docker`);
}

/** A group alone, or with a subcommand it doesn't have. */
async function group(entry: CommandEntry, rest: readonly string[], asksHelp: boolean, io: Streams): Promise<number> {
  const { groupHelp } = await import("./help.ts");
  const [word] = rest;
  if (word !== undefined && word !== "--help" && !asksHelp) {
    const problem = word.startsWith("-") ? `unknown flag: ${word}` : `berth: unknown command: berth ${entry.name} ${word}`;
    await io.err.write(`${problem}\nSee 'berth ${entry.name} --help'.\n`);
    return word.startsWith("-") ? 125 : 1;
  }
  await io.out.write(groupHelp(entry));
  return 0;
}

async function showHelp(command: Command, path: string, io: Streams): Promise<number> {
  const { commandHelp } = await import("./help.ts");
  await io.out.write(commandHelp(command, path, io.out.columns()));
  return 0;
}

interface Surroundings {
  values: FlagValues<typeof globalFlags>;
  env: Record<string, string | undefined>;
  io: Streams;
  programs: Programs;
}

async function runCommand(command: Command, path: string, args: readonly string[], { values, env, io, programs }: Surroundings): Promise<number> {
  const invokedAs = `berth ${path}`;
  let parsed;
  try {
    const flags: FlagSet = { help: helpFlag, ...command.flags };
    parsed = parseFlags(flags, args, { interspersed: command.interspersed });
    if (parsed.values.help === true) return await showHelp(command, path, io);
    checkCount(command, invokedAs, parsed.positional.length);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const { usageLine } = await import("./help.ts");
    const usage = error.exitCode === 125 ? "" : `\n\n${usageLine(command, path)}\n\n${command.summary}`;
    await io.err.write(`${error.message}\nSee '${invokedAs} --help'.${usage}\n`);
    return error.exitCode;
  }
  const config = configFor(values, env);
  let client: Promise<Client> | undefined;
  const context: CommandContext = {
    flags: parsed.values,
    given: (name) => parsed.given.has(name),
    args: parsed.positional,
    io,
    config,
    programs,
    invokedAs,
    env,
    client: () => (client ??= import("./connect.ts").then(({ connect }) => connect(values, env, config))),
  };
  try {
    return (await command.run(context)) ?? 0;
  } catch (error) {
    if (error instanceof BrokenPipe) return brokenPipeCode;
    return await report(error, invokedAs, io, command.failureCode ?? 1);
  }
}

function checkCount({ args: { min, max } }: Command, invokedAs: string, count: number): void {
  if (count >= min && (max === undefined || count <= max)) return;
  const plural = (amount: number): string => `${amount} argument${amount === 1 ? "" : "s"}`;
  if (max === 0) throw new UsageError(`"${invokedAs}" accepts no arguments.`, 1);
  if (min === max) throw new UsageError(`"${invokedAs}" requires exactly ${plural(min)}.`, 1);
  if (count < min) throw new UsageError(`"${invokedAs}" requires at least ${plural(min)}.`, 1);
  throw new UsageError(`"${invokedAs}" requires at most ${plural(max as number)}.`, 1);
}

/** Prints what went wrong, with the next step where there is one. */
async function report(error: unknown, invokedAs: string, io: Streams, failureCode: number): Promise<number> {
  const code = error instanceof CliError ? (error.exitCode ?? failureCode) : failureCode;
  const text = describe(error);
  const prefix = failureCode === 125 ? `${invokedAs.split(" ")[0]}: ` : "";
  const hint = failureCode === 125 && !(error instanceof ConnectionError) ? `\nSee '${invokedAs} --help'.` : "";
  try {
    if (text !== "") await io.err.write(`${prefix}${text}${hint}\n`);
  } catch (failed) {
    if (!(failed instanceof BrokenPipe)) throw failed;
  }
  return code;
}
