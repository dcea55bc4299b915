import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { attachSession } from "./attach-session.ts";

export const attach = defineCommand({
  name: "container attach",
  aliases: ["attach"],
  summary: "Attach local standard input, output and error streams to a running container",
  usage: "CONTAINER",
  flags: {
    "detach-keys": { type: "string", help: "Override the key sequence for detaching a container" },
    "no-stdin": { type: "bool", help: "Do not attach STDIN" },
    "sig-proxy": { type: "bool", help: "Proxy all received signals to the process", default: "true" },
  },
  args: { min: 1, max: 1 },
  completes: "container",
  async run({ flags, args, client, io, config }) {
    const engine = await client();
    const container = await engine.containers.inspect(args[0] as string);
    if (!container.State.Running) throw new CliError("cannot attach to a stopped container, start it first");
    if (container.State.Paused) throw new CliError("cannot attach to a paused container, unpause it first");
    if (container.State.Restarting) throw new CliError("cannot attach to a restarting container, wait until it is running");
    const detachKeys = flags["detach-keys"] || (await config.file()).detachKeys || "";
    return attachSession(engine, io, container, { stdin: !flags["no-stdin"], detachKeys, sigProxy: flags["sig-proxy"] });
  },
});
