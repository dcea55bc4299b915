import { defineCommand } from "../command.ts";
import { inspectAll } from "../inspect.ts";

export const inspect = defineCommand({
  name: "network inspect",
  summary: "Display detailed information on one or more networks",
  usage: "NETWORK [NETWORK...]",
  flags: {
    format: { type: "string", short: "f", help: "Format output: 'json' or a Go template" },
    verbose: { type: "bool", short: "v", help: "Verbose output for diagnostics" },
  },
  args: { min: 1 },
  completes: "network",
  async run({ flags, args, client, io }) {
    const engine = await client();
    return inspectAll(io, args, flags.format, (name) => engine.networks.inspect(name, { verbose: flags.verbose }));
  },
});
