import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const kill = defineCommand({
  name: "container kill",
  aliases: ["kill"],
  summary: "Kill one or more running containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: {
    signal: { type: "string", short: "s", help: "Signal to send to the container" },
  },
  args: { min: 1 },
  completes: "container",
  async run({ flags, args, client, io }) {
    const engine = await client();
    return forEach(io, args, (name) => engine.containers.kill(name, flags.signal || undefined));
  },
});
