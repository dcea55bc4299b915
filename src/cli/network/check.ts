import type { NetworkReport } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { count, problemText } from "../format/problems.ts";

export const check = defineCommand({
  name: "network check",
  summary: "Check networks, and repair them",
  description: `Looks at all that containers' networks need: forwarding, the engine's firewall rules and those of others that stand in their way, bridges and their
addresses, containers' links, routes that overlap, published ports, name servers. The exit code is 1 where something is wrong that isn't repaired; hints
don't count.`,
  usage: "",
  flags: {
    repair: { type: "bool", help: "Put back what is missing and set right what is wrong, where that can do no harm" },
    format: { type: "string", value: "string", help: "Print the report as 'json'" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, io }) {
    if (flags.format !== undefined && flags.format !== "" && flags.format !== "json")
      throw new CliError(`unknown format ${JSON.stringify(flags.format)}: want json`);
    const report = await (await client()).networks.check({ repair: flags.repair });
    await io.out.write(flags.format === "json" ? `${JSON.stringify(report, undefined, 2)}\n` : textOf(report));
    return report.problems.some(({ level, repaired }) => level === "problem" && repaired === undefined) ? 1 : 0;
  },
});

function textOf({ checked, problems }: NetworkReport): string {
  const left = problems.filter(({ level, repaired }) => level === "problem" && repaired === undefined).length;
  const hints = problems.filter(({ level, repaired }) => level === "hint" && repaired === undefined).length;
  const repaired = problems.length - left - hints;
  const verdict = [
    ...(left > 0 ? [count(left, "problem")] : []),
    ...(repaired > 0 ? [`${repaired} repaired`] : []),
    ...(hints > 0 ? [count(hints, "hint")] : []),
  ];
  const looked = `${count(checked.networks, "network")}, ${count(checked.containers, "container")} and ${count(checked.ports, "published port")}`;
  const lines = problems.map((each) => problemText(each.level === "hint" ? `hint: ${each.problem}` : each.problem, each));
  return `${lines.join("")}Checked ${looked}: ${verdict.length === 0 ? "all is well" : verdict.join(", ")}.\n`;
}
