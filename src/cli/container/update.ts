import type { HostConfig, PortUpdate } from "../../oci/container.ts";
import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { CliError } from "../errors.ts";
import { parseRestart } from "../parse/limits.ts";
import { parsePublish, parsePublishRemoval } from "../parse/ports.ts";
import { resourceFlags } from "./flags.ts";
import { resources } from "./request.ts";

export const update = defineCommand({
  name: "container update",
  aliases: ["update"],
  summary: "Update configuration of one or more containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: {
    ...resourceFlags,
    "publish-add": { type: "list", help: "Publish one more port, also of a running container (as -p of run)", value: "list" },
    "publish-rm": { type: "list", help: "Publish a host port no more ([ADDRESS:]PORT[-PORT][/PROTOCOL])", value: "list" },
    restart: { type: "string", help: "Restart policy to apply when a container exits" },
  },
  args: { min: 1 },
  completes: "container",
  async run({ flags, given, args, client, io }) {
    const changes: Partial<HostConfig> & PortUpdate = resources(flags, given);
    if (given("publish-add")) changes.PublishAdd = parsePublish(flags["publish-add"]).bindings;
    if (given("publish-rm")) changes.PublishRemove = flags["publish-rm"].map(parsePublishRemoval);
    if (given("restart")) changes.RestartPolicy = parseRestart(flags.restart);
    if (Object.keys(changes).length === 0) throw new CliError("you must provide one or more flags when using this command");
    const engine = await client();
    return forEach(io, args, async (name) => {
      const { Warnings: warnings } = await engine.containers.update(name, changes);
      for (const warning of warnings ?? []) await io.err.write(`${warning}\n`);
    });
  },
});
