import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { firstFound, inspectAll } from "../inspect.ts";

export const inspect = defineCommand({
  name: "inspect",
  summary: "Return low-level information on objects of any kind",
  usage: "NAME|ID [NAME|ID...]",
  flags: {
    format: { type: "string", short: "f", help: "Format output: 'json' or a Go template" },
    size: { type: "bool", short: "s", help: "Display total file sizes if the type is container" },
    type: { type: "string", help: "Only inspect objects of the given type", choices: ["container", "image", "network", "volume"] },
  },
  args: { min: 1 },
  completes: "container",
  async run({ flags, given, args, client, io }) {
    const engine = await client();
    const kinds: Record<string, (name: string) => Promise<unknown>> = {
      container: (name) => engine.containers.inspect(name, { size: flags.size }),
      image: (name) => engine.images.inspect(name),
      network: (name) => engine.networks.inspect(name),
      volume: (name) => engine.volumes.inspect(name),
    };
    if (!given("type")) return inspectAll(io, args, flags.format, (name) => firstFound(name, Object.values(kinds)));
    const kind = kinds[flags.type];
    if (kind === undefined) throw new CliError(`"${flags.type}" is not a valid value for --type: want one of ${Object.keys(kinds).join(", ")}`);
    return inspectAll(io, args, flags.format, kind);
  },
});
