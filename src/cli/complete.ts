import type { Client } from "../client/client.ts";
import type { Command } from "./command.ts";
import { childrenOf, commands, findCommand, pathsOf } from "./commands.ts";
import { helpFlag, type FlagSet } from "./flags.ts";
import { globalFlags } from "./globals.ts";

/**
 * Words that may stand where the last of `words` (often empty) stands. `:file` alone means the names of files. Asks the engine for names; without an
 * engine there are none.
 */
export async function complete(words: readonly string[], client: () => Promise<Client>): Promise<string[]> {
  const before = words.slice(0, -1);
  const current = words.at(-1) ?? "";
  const rest = skipGlobals(before);
  const starting = (candidates: readonly string[]): string[] => [...new Set(candidates)].filter((word) => word.startsWith(current)).sort();

  const found = findCommand(rest);
  if (found === undefined) {
    if (rest.length > 0) return [];
    if (current.startsWith("-")) return starting(flagNames(globalFlags));
    return starting(["help", ...commands.flatMap(pathsOf).map((path) => path.split(" ", 1)[0] as string)]);
  }
  const { entry, length } = found;
  if (entry.load === undefined) return starting(childrenOf(entry.name).map(({ word }) => word));
  const command = await entry.load();
  const flags: FlagSet = { help: helpFlag, ...command.flags };
  const previous = rest.length > length ? (rest.at(-1) as string) : "";
  const awaited = valueAwaited(flags, previous);
  if (awaited !== undefined) return awaited.choices === undefined ? [":file"] : starting(awaited.choices);
  if (current.startsWith("-")) return starting(flagNames(flags));
  return names(command, current, client);
}

/** The words after the global flags and their values. */
function skipGlobals(words: readonly string[]): readonly string[] {
  let at = 0;
  while (at < words.length && (words[at] as string).startsWith("-")) at += valueAwaited(globalFlags, words[at] as string) === undefined ? 1 : 2;
  return words.slice(at);
}

/** The flag whose value comes next, where `word` is one that takes a value and hasn't got it. */
function valueAwaited(flags: FlagSet, word: string): FlagSet[string] | undefined {
  if (!word.startsWith("-") || word.includes("=")) return undefined;
  const flag = word.startsWith("--") ? flags[word.slice(2)] : Object.values(flags).find(({ short }) => short !== undefined && word.endsWith(short));
  return flag === undefined || flag.type === "bool" ? undefined : flag;
}

function flagNames(flags: FlagSet): string[] {
  return Object.entries(flags)
    .filter(([, { hidden, aliasOf }]) => !hidden && aliasOf === undefined)
    .map(([name]) => `--${name}`);
}

async function names(command: Command, current: string, client: () => Promise<Client>): Promise<string[]> {
  if (command.completes === undefined) return [];
  if (command.completes === "file") return [":file"];
  const engine = await client();
  const all = async (): Promise<string[]> => {
    switch (command.completes) {
      case "container":
        return (await engine.containers.list({ all: true })).flatMap(({ Names }) => Names.map((name) => name.replace(/^\//, "")));
      case "image":
        return (await engine.images.list()).flatMap(({ RepoTags }) => RepoTags ?? []);
      case "network":
        return (await engine.networks.list()).map(({ Name }) => Name);
      default:
        return ((await engine.volumes.list()).Volumes ?? []).map(({ Name }) => Name);
    }
  };
  return (await all()).filter((name) => name.startsWith(current)).sort();
}
