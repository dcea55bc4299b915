import { defineCommand } from "../command.ts";
import { inspectAll } from "../inspect.ts";

export const inspect = defineCommand({
  name: "image inspect",
  summary: "Display detailed information on one or more images",
  usage: "IMAGE [IMAGE...]",
  flags: {
    format: { type: "string", short: "f", help: "Format output: 'json' or a Go template" },
    platform: { type: "string", help: "Inspect a specific platform of the multi-platform image (os[/arch[/variant]])" },
  },
  args: { min: 1 },
  completes: "image",
  async run({ flags, args, client, io }) {
    const engine = await client();
    return inspectAll(io, args, flags.format, (name) => engine.images.inspect(name, { platform: flags.platform }));
  },
});
