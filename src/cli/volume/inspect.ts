import { defineCommand } from "../command.ts";
import { inspectAll } from "../inspect.ts";

export const inspect = defineCommand({
  name: "volume inspect",
  summary: "Display detailed information on one or more volumes",
  usage: "VOLUME [VOLUME...]",
  flags: {
    format: { type: "string", short: "f", help: "Format output: 'json' or a Go template" },
  },
  args: { min: 1 },
  completes: "volume",
  async run({ flags, args, client, io }) {
    const engine = await client();
    return inspectAll(io, args, flags.format, (name) => engine.volumes.inspect(name));
  },
});
