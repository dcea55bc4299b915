import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const unpause = defineCommand({
  name: "container unpause",
  aliases: ["unpause"],
  summary: "Unpause all processes within one or more containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: {},
  args: { min: 1 },
  completes: "container",
  async run({ args, client, io }) {
    const engine = await client();
    return forEach(io, args, (name) => engine.containers.unpause(name));
  },
});
