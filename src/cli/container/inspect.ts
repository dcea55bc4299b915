import { defineCommand } from "../command.ts";
import { inspectAll } from "../inspect.ts";

export const inspect = defineCommand({
  name: "container inspect",
  summary: "Display detailed information on one or more containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: {
    format: { type: "string", short: "f", help: "Format output: 'json' or a Go template" },
    size: { type: "bool", short: "s", help: "Display total file sizes" },
  },
  args: { min: 1 },
  completes: "container",
  async run({ flags, args, client, io }) {
    const engine = await client();
    return inspectAll(io, args, flags.format, (name) => engine.containers.inspect(name, { size: flags.size }));
  },
});
