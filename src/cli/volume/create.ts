import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { keyValues } from "../parse/env.ts";

export const create = defineCommand({
  name: "volume create",
  summary: "Create a volume",
  usage: "[VOLUME]",
  flags: {
    driver: { type: "string", short: "d", help: "Specify volume driver name", default: "local" },
    label: { type: "list", help: "Set metadata for a volume" },
    name: { type: "string", help: "Specify volume name", hidden: true },
    opt: { type: "map", short: "o", help: "Set driver specific options" },
  },
  args: { min: 0, max: 1 },
  async run({ flags, args, client, io }) {
    if (args[0] !== undefined && flags.name !== "")
      throw new CliError("conflicting options: cannot specify a volume-name through both --name and as a positional arg");
    const volume = await (
      await client()
    ).volumes.create({
      Name: args[0] ?? flags.name,
      Driver: flags.driver,
      DriverOpts: flags.opt,
      Labels: keyValues(flags.label),
    });
    await io.out.write(`${volume.Name}\n`);
  },
});
