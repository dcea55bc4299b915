import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const rm = defineCommand({
  name: "volume rm",
  aliases: ["volume remove"],
  summary: "Remove one or more volumes",
  usage: "VOLUME [VOLUME...]",
  flags: {
    force: { type: "bool", short: "f", help: "Force the removal of one or more volumes" },
  },
  args: { min: 1 },
  completes: "volume",
  async run({ flags, args, client, io }) {
    const engine = await client();
    return forEach(io, args, (name) => engine.volumes.remove(name, { force: flags.force }));
  },
});
