import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { stopFlags, stopOptions } from "./stop-flags.ts";

export const stop = defineCommand({
  name: "container stop",
  aliases: ["stop"],
  summary: "Stop one or more running containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: stopFlags,
  args: { min: 1 },
  completes: "container",
  async run({ flags, given, args, client, io }) {
    const engine = await client();
    return forEach(io, args, (name) => engine.containers.stop(name, stopOptions(flags, given)));
  },
});
