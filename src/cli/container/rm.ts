import { isNotFound } from "../../client/errors.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { CliError } from "../errors.ts";

export const rm = defineCommand({
  name: "container rm",
  aliases: ["rm", "container remove"],
  summary: "Remove one or more containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: {
    force: { type: "bool", short: "f", help: "Force the removal of a running container (uses SIGKILL)" },
    link: { type: "bool", short: "l", help: "Remove the specified link" },
    volumes: { type: "bool", short: "v", help: "Remove anonymous volumes associated with the container" },
  },
  args: { min: 1 },
  completes: "container",
  async run({ flags: { force, link, volumes }, args, client, io }) {
    const engine = await client();
    return forEach(io, args, async (name) => {
      const ref = name.replace(/^\/+|\/+$/g, "");
      if (ref === "") throw new CliError("container name cannot be empty");
      try {
        await engine.containers.remove(ref, { force, link, volumes });
      } catch (error) {
        // `rm -f` of what isn't there is done already, as for rm(1); Docker says so and still succeeds.
        if (!(force && isNotFound(error))) throw error;
        await io.err.write(`Error response from daemon: ${(error as Error).message}\n`);
        return "";
      }
      return name;
    });
  },
});
