import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";

export const rename = defineCommand({
  name: "container rename",
  aliases: ["rename"],
  summary: "Rename a container",
  usage: "CONTAINER NEW_NAME",
  flags: {},
  args: { min: 2, max: 2 },
  completes: "container",
  async run({ args, client }) {
    const [from, to] = args.map((arg) => arg.trim()) as [string, string];
    if (from === "" || to === "") throw new CliError("Error: Neither old nor new names may be empty");
    await (await client()).containers.rename(from, to);
  },
});
