import { humanSize } from "./format/human.ts";
import type { FlagSet } from "./flags.ts";
import type { Streams } from "./io.ts";

/** Flags of every prune command. */
export const pruneFlags = {
  filter: { type: "list", help: 'Provide filter values (e.g. "label=<key>=<value>")', value: "filter" },
  force: { type: "bool", short: "f", help: "Do not prompt for confirmation" },
} as const satisfies FlagSet;

/** `Deleted Containers:` and the names, nothing where there are none. */
export async function reportDeleted(io: Streams, heading: string, lines: readonly string[] | null | undefined): Promise<void> {
  if (lines && lines.length > 0) await io.out.write(`${heading}\n${lines.join("\n")}\n\n`);
}

export async function reportReclaimed(io: Streams, bytes: number): Promise<void> {
  await io.out.write(`Total reclaimed space: ${humanSize(bytes)}\n`);
}
