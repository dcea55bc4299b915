import { defineCommand } from "../command.ts";

export const disconnect = defineCommand({
  name: "network disconnect",
  summary: "Disconnect a container from a network",
  usage: "NETWORK CONTAINER",
  flags: { force: { type: "bool", short: "f", help: "Force the container to disconnect from a network" } },
  args: { min: 2, max: 2 },
  completes: "network",
  async run({ flags, args, client }) {
    const [network, container] = args as [string, string];
    await (await client()).networks.disconnect(network, container, flags.force);
  },
});
