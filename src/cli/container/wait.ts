import { CliError } from "../errors.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const wait = defineCommand({
  name: "container wait",
  aliases: ["wait"],
  summary: "Block until one or more containers stop, then print their exit codes",
  usage: "CONTAINER [CONTAINER...]",
  flags: {},
  args: { min: 1 },
  completes: "container",
  async run({ args, client, io }) {
    const engine = await client();
    return forEach(io, args, async (name) => {
      const { StatusCode: code, Error: failure } = await (await engine.containers.wait(name)).result;
      if (failure?.Message) throw new CliError(failure.Message);
      return String(code);
    });
  },
});
