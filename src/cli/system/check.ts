import type { CheckProblem, CheckReport } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { allCredentials } from "../credentials.ts";
import { CliError } from "../errors.ts";
import { humanSize } from "../format/human.ts";
import { count, problemText } from "../format/problems.ts";
import { showProgressAside } from "../format/progress.ts";

export const check = defineCommand({
  name: "system check",
  summary: "Check what is stored, and repair it",
  description: `Reads all that is stored: blobs against their digests, unpacked layers against the blobs that they came from, the records of images
and containers against what is there. Containers run on meanwhile. The exit code is 1 where something is wrong that isn't repaired.`,
  usage: "",
  flags: {
    repair: { type: "bool", help: "Put back what is broken, from a registry where one is known to have it; remove what can't be put back" },
    quick: { type: "bool", short: "q", help: "Only look whether everything is there" },
    json: { type: "bool", help: "Print the report as JSON" },
  },
  args: { min: 0, max: 0 },
  async run({ flags, client, config, io }) {
    const auths = flags.repair ? { auths: await allCredentials(config, io.err) } : {};
    const lines = await (await client()).system.check({ repair: flags.repair, quick: flags.quick, ...auths });
    const { report } = await showProgressAside<{ report: CheckReport }>(lines, io);
    if (report === undefined) throw new CliError("the engine ended the check without a report");
    await io.out.write(flags.json ? `${JSON.stringify(report, undefined, 2)}\n` : textOf(report));
    return report.problems.some((problem) => problem.repaired === undefined) ? 1 : 0;
  },
});

function textOf({ checked, problems }: CheckReport): string {
  const { blobs, bytes, layers, images, containers } = checked;
  const parts = [`${count(blobs, "blob")} (${humanSize(bytes)})`, count(layers, "layer"), count(images, "image"), count(containers, "container")];
  const left = problems.filter(({ repaired }) => repaired === undefined).length;
  const verdict =
    problems.length === 0
      ? "all is well"
      : `${count(problems.length, "problem")}${left === problems.length ? "" : left === 0 ? ", all repaired" : `, ${problems.length - left} repaired`}`;
  return `${problems.map(textOfProblem).join("")}Checked ${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}: ${verdict}.\n`;
}

function textOfProblem({ problem, images, ...rest }: CheckProblem): string {
  const concerned = images.length === 0 ? "" : ` (of ${images.slice(0, 5).join(", ")}${images.length > 5 ? `, and ${images.length - 5} more` : ""})`;
  return problemText(problem + concerned, rest);
}
