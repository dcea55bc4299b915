import type { Client } from "../client/client.ts";
import type { CliConfig } from "./config.ts";
import type { FlagSet, FlagValues } from "./flags.ts";
import type { Streams } from "./io.ts";
import type { Programs } from "./programs.ts";

/** What a command gets to do its work. */
export interface CommandContext<F extends FlagSet = FlagSet> {
  flags: FlagValues<F>;
  /** Whether a flag stands on the command line. */
  given(name: keyof F & string): boolean;
  args: string[];
  io: Streams;
  config: CliConfig;
  programs: Programs;
  /** As typed, for messages: `berth run`. */
  invokedAs: string;
  /** Connects on first use. */
  client(): Promise<Client>;
  env: Record<string, string | undefined>;
}

/** One command, as data: parsing, help and completion come from here. */
export interface Command<F extends FlagSet = FlagSet> {
  /** Path within the command line: `container run`. */
  readonly name: string;
  /** Other paths to the same command: `run`. */
  readonly aliases?: readonly string[];
  readonly summary: string;
  /** What follows the options: `IMAGE [COMMAND] [ARG...]`. */
  readonly usage: string;
  /** More text for help, below the summary. */
  readonly description?: string;
  readonly flags: F;
  /** How many arguments it takes. */
  readonly args: { readonly min: number; readonly max?: number };
  /** False: flags after the first argument belong to the container's command. */
  readonly interspersed?: boolean;
  /** What an argument names, for shell completion. */
  readonly completes?: "container" | "image" | "network" | "volume" | "file";
  /** Exit code where a failure says no other (run, create and exec: 125). */
  readonly failureCode?: number;
  /** Resolves to the exit code; nothing is 0. */
  run(context: CommandContext<F>): Promise<number | void>;
}

/** Keeps a definition's own flag names and types. */
export function defineCommand<const F extends FlagSet>(command: Command<F>): Command<F> {
  return command;
}
