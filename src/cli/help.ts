import type { Command } from "./command.ts";
import { childrenOf, commands, type CommandEntry } from "./commands.ts";
import type { FlagDefinition, FlagSet } from "./flags.ts";
import { globalFlags } from "./globals.ts";

/** Help texts in Docker's layout. `width` is the terminal's, 0 for none (then 80 wraps flags, as Docker does). */

export function commandHelp(command: Command, path: string, width: number): string {
  const hasFlags = Object.values(command.flags).some(({ hidden }) => !hidden);
  const sections = [
    `Usage:  berth ${path}${hasFlags ? " [OPTIONS]" : ""}${command.usage === "" ? "" : ` ${command.usage}`}`,
    command.description ?? command.summary,
  ];
  const paths = [command.name, ...(command.aliases ?? [])];
  if (paths.length > 1) sections.push(`Aliases:\n  ${paths.map((one) => `berth ${one}`).join(", ")}`);
  if (hasFlags) sections.push(`Options:\n${flagHelp(command.flags, width)}`);
  return `${sections.join("\n\n")}\n`;
}

/** The line that stands below a usage error. */
export function usageLine(command: Command, path: string): string {
  const hasFlags = Object.values(command.flags).some(({ hidden }) => !hidden);
  return `Usage:  berth ${path}${hasFlags ? " [OPTIONS]" : ""}${command.usage === "" ? "" : ` ${command.usage}`}`;
}

export function groupHelp(group: CommandEntry): string {
  const children = childrenOf(group.name).map(({ word, entry }) => [word, entry.summary] as const);
  return `Usage:  berth ${group.name} COMMAND\n\n${group.summary}\n\nCommands:\n${listing(children)}\nRun 'berth ${group.name} COMMAND --help' for more information on a command.\n`;
}

export function topHelp(width: number): string {
  const short = (entry: CommandEntry): string | undefined => [entry.name, ...(entry.aliases ?? [])].find((path) => !path.includes(" "));
  const section = (name: CommandEntry["section"]): (readonly [string, string])[] =>
    commands
      .filter((entry) => entry.section === name)
      .flatMap((entry) => (short(entry) === undefined ? [] : [[short(entry) as string, entry.summary] as const]));
  return [
    "Usage:  berth [OPTIONS] COMMAND",
    "",
    "Builds, ships and runs containers",
    "",
    `Common Commands:\n${listing(section("common"))}`,
    `Management Commands:\n${listing(section("management"))}`,
    `Commands:\n${listing(section(undefined))}`,
    `Global Options:\n${flagHelp(globalFlags, width)}`,
    "",
    "Run 'berth COMMAND --help' for more information on a command.",
    "",
  ].join("\n");
}

function listing(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(11, ...rows.map(([word]) => word.length + 1));
  return rows.map(([word, summary]) => `  ${word.padEnd(width)} ${summary}\n`).join("");
}

const typeNames: Record<FlagDefinition["type"], string> = {
  bool: "",
  string: "string",
  int: "int",
  list: "list",
  csv: "strings",
  map: "map",
  bytes: "bytes",
  swap: "bytes",
  duration: "duration",
  decimal: "decimal",
};

/** One flag a paragraph, sorted by name, wrapped at the terminal's width. */
function flagHelp(flags: FlagSet, width: number): string {
  const rows = Object.entries(flags)
    .filter(([, flag]) => !flag.hidden && flag.aliasOf === undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, flag]) => {
      const value = flag.value ?? typeNames[flag.type];
      return {
        left: `${flag.short === undefined ? "    " : `-${flag.short}, `}--${name}${value === "" ? "" : ` ${value}`}`,
        right: flag.help + defaultText(flag),
      };
    });
  const column = Math.max(...rows.map(({ left }) => left.length)) + 5;
  const room = Math.max(24, (width > 0 ? width : 80) - column - 1);
  return rows
    .map(({ left, right }) => {
      const lines = right.split("\n").flatMap((line) => wrap(line, room));
      return `  ${left}`.padEnd(column) + lines.join(`\n${" ".repeat(column)}`);
    })
    .join("\n");
}

function defaultText({ type, default: value }: FlagDefinition): string {
  if (value === undefined || (type === "bool" && value === "false")) return "";
  return ` (default ${type === "string" ? JSON.stringify(value) : value})`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
