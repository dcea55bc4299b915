import type { EndpointSettings } from "../../oci/container.ts";
import { defineCommand } from "../command.ts";
import { keyValues } from "../parse/env.ts";

export const connect = defineCommand({
  name: "network connect",
  summary: "Connect a container to a network",
  usage: "NETWORK CONTAINER",
  flags: {
    alias: { type: "csv", help: "Add network-scoped alias for the container" },
    "driver-opt": { type: "csv", help: "Driver options for the network" },
    "gw-priority": { type: "int", help: "Highest gw-priority provides the default gateway. Accepts positive and negative values" },
    ip: { type: "string", help: 'IPv4 address (e.g., "172.30.100.104")' },
    ip6: { type: "string", help: 'IPv6 address (e.g., "2001:db8::33")' },
    link: { type: "list", help: "Add link to another container" },
    "link-local-ip": { type: "csv", help: "Add a link-local address for the container" },
  },
  args: { min: 2, max: 2 },
  completes: "network",
  async run({ flags, args, client }) {
    const [network, container] = args as [string, string];
    const ipam = {
      ...(flags.ip === "" ? {} : { IPv4Address: flags.ip }),
      ...(flags.ip6 === "" ? {} : { IPv6Address: flags.ip6 }),
      ...(flags["link-local-ip"].length === 0 ? {} : { LinkLocalIPs: flags["link-local-ip"] }),
    };
    const endpoint: EndpointSettings = {
      ...(Object.keys(ipam).length === 0 ? {} : { IPAMConfig: ipam }),
      Aliases: flags.alias,
      Links: flags.link,
      DriverOpts: keyValues(flags["driver-opt"]),
      GwPriority: flags["gw-priority"],
    };
    await (await client()).networks.connect(network, container, endpoint);
  },
});
