import { defineCommand } from "../command.ts";
import { forEach } from "../each.ts";
import { CliError } from "../errors.ts";
import { attachSession } from "./attach-session.ts";

export const start = defineCommand({
  name: "container start",
  aliases: ["start"],
  summary: "Start one or more stopped containers",
  usage: "CONTAINER [CONTAINER...]",
  flags: {
    attach: { type: "bool", short: "a", help: "Attach STDOUT/STDERR and forward signals" },
    "detach-keys": { type: "string", help: "Override the key sequence for detaching a container" },
    interactive: { type: "bool", short: "i", help: "Attach container's STDIN" },
  },
  args: { min: 1 },
  completes: "container",
  async run({ flags, args, client, io, config }) {
    const engine = await client();
    if (!flags.attach && !flags.interactive) return forEach(io, args, (name) => engine.containers.start(name));
    if (args.length > 1) throw new CliError("you cannot start and attach multiple containers at once");
    const container = await engine.containers.inspect(args[0] as string);
    const detachKeys = flags["detach-keys"] || (await config.file()).detachKeys || "";
    return attachSession(engine, io, container, {
      stdin: flags.interactive,
      detachKeys,
      sigProxy: true,
      start: () => engine.containers.start(container.Id, { detachKeys: detachKeys || undefined }),
    });
  },
});
