import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const restart = defineCommand({
  name: "container restart",
  aliases: ["restart"],
  summary: "Restart one or more containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: {
    signal: { type: "string", short: "s", help: "Signal to send to the container" },
    time: { type: "int", help: "", aliasOf: "timeout" },
    timeout: { type: "int", short: "t", help: "Seconds to wait before killing the container" },
  },
  args: { min: 1 },
  completes: "container",
  async run({ flags, given, args, client, io }) {
    const engine = await client();
    return forEach(io, args, (name) =>
      engine.containers.restart(name, { signal: flags.signal || undefined, timeoutSeconds: given("timeout") ? flags.timeout : undefined }),
    );
  },
});
