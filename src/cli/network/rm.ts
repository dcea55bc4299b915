import { isNotFound } from "../../client/errors.ts";
import { CliError } from "../errors.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";

export const rm = defineCommand({
  name: "network rm",
  aliases: ["network remove"],
  summary: "Remove one or more networks",
  usage: "NETWORK [NETWORK...]",
  flags: {
    force: { type: "bool", short: "f", help: "Do not error if the network does not exist" },
  },
  args: { min: 1 },
  completes: "network",
  async run({ flags, args, client, io }) {
    const engine = await client();
    return forEach(io, args, async (name) => {
      try {
        await engine.networks.remove(name);
      } catch (error) {
        if (!flags.force || !isNotFound(error)) throw error;
        throw new CliError("");
      }
    });
  },
});
