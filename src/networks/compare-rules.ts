import { openNftables } from "../kernel/nftables.ts";

/** A table of ours, and the commands that make one like it under another name. */
export interface RuleTable {
  /** `inet NAME`. */
  table: string;
  family: string;
  copy: string;
  ruleset: string;
}

/** Lines of a listing in an order of their own: the kernel lists a set's elements as their hashes fall. */
function linesOf(listing: string, name: string): string[] {
  let chain = "";
  return listing
    .replace(/elements = \{([^}]*)\}/g, (_, elements: string) =>
      elements
        .split(",")
        .map((element) => `element ${element.trim()}`)
        .join("\n"),
    )
    .split("\n")
    .map((line) =>
      line
        .replace(/ # handle \d+$/, "")
        .replace(/(counter|packets|bytes) \d+/g, "$1")
        .trim(),
    )
    .filter((line) => line !== "" && line !== "}" && !line.startsWith("flags dormant") && !line.includes(`${name} {`))
    .map((line) => {
      const block = /^(?:chain|set|map) (\S+) \{/.exec(line);
      if (block === null) return `${chain}: ${line}`;
      chain = block[1]!;
      return line;
    });
}

/**
 * What the kernel has, against what it should: a copy of each table is made, dormant (its chains see no packet), so that the kernel itself says how
 * it would list it. The sequence of rules counts within a chain.
 */
export function compareRules(tables: readonly RuleTable[]): string[] {
  using nft = openNftables();
  const list = (table: string): string => {
    try {
      return nft.run(`list table ${table}\n`);
    } catch {
      return ""; // it is gone
    }
  };
  return tables.flatMap(({ table, family, copy, ruleset }) => {
    const name = table.split(" ")[1]!;
    const present = linesOf(list(table), name);
    if (present.length === 0) return [`table ${table} is gone`];
    nft.run(ruleset.replace(`\ntable ${family} ${copy} {`, `\ntable ${family} ${copy} {\n  flags dormant`));
    const wanted = linesOf(list(`${family} ${copy}`), copy);
    nft.run(`delete table ${family} ${copy}\n`);
    const [left, right] = [new Set(wanted), new Set(present)];
    const differences = [...[...left.difference(right)].map((line) => `missing: ${line}`), ...[...right.difference(left)].map((line) => `too much: ${line}`)];
    const rules = (lines: readonly string[]): string => lines.filter((line) => !line.includes(": element ")).join("\n");
    if (differences.length === 0 && rules(wanted) !== rules(present)) return [`rules of table ${table} stand in another order`];
    return differences;
  });
}
