import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const stop = defineCommand({
  name: "container stop",
  aliases: ["stop"],
  summary: "Stop one or more running containers",
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
      engine.containers.stop(name, { signal: flags.signal || undefined, timeoutSeconds: given("timeout") ? flags.timeout : undefined }),
    );
  },
});
