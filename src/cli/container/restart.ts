import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { stopFlags, stopOptions } from "./stop-flags.ts";

export const restart = defineCommand({
  name: "container restart",
  aliases: ["restart"],
  summary: "Restart one or more containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: stopFlags,
  args: { min: 1 },
  completes: "container",
  async run({ flags, given, args, client, io }) {
    const engine = await client();
    return forEach(io, args, (name) => engine.containers.restart(name, stopOptions(flags, given)));
  },
});
