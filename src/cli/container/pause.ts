import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const pause = defineCommand({
  name: "container pause",
  aliases: ["pause"],
  summary: "Pause all processes within one or more containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: {},
  args: { min: 1 },
  completes: "container",
  async run({ args, client, io }) {
    const engine = await client();
    return forEach(io, args, (name) => engine.containers.pause(name));
  },
});
