import type { NetworkCreateRequest } from "../../client/types.ts";
import { defineCommand } from "../command.ts";
import { CliError } from "../errors.ts";
import { keyValues } from "../parse/env.ts";
import { subnetContains } from "../parse/subnets.ts";

export const create = defineCommand({
  name: "network create",
  summary: "Create a network",
  usage: "NETWORK",
  flags: {
    attachable: { type: "bool", help: "Enable manual container attachment" },
    "aux-address": { type: "map", help: "Auxiliary IPv4 or IPv6 addresses used by Network driver" },
    "config-from": { type: "string", help: "The network from which to copy the configuration" },
    "config-only": { type: "bool", help: "Create a configuration only network" },
    driver: { type: "string", short: "d", help: "Driver to manage the Network", default: "bridge" },
    gateway: { type: "csv", help: "IPv4 or IPv6 Gateway for the subnet" },
    ingress: { type: "bool", help: "Create swarm routing-mesh network" },
    internal: { type: "bool", help: "Restrict external access to the network" },
    "ip-range": { type: "csv", help: "Allocate container ip from a sub-range" },
    "ipam-driver": { type: "string", help: "IP Address Management Driver", default: "default" },
    "ipam-opt": { type: "map", help: "Set IPAM driver specific options" },
    ipv4: { type: "bool", help: "Enable or disable IPv4 address assignment", default: "true" },
    ipv6: { type: "bool", help: "Enable or disable IPv6 address assignment" },
    label: { type: "list", help: "Set metadata on a network" },
    opt: { type: "map", short: "o", help: "Set driver specific options" },
    scope: { type: "string", help: "Control the network's scope" },
    subnet: { type: "csv", help: "Subnet in CIDR format that represents a network segment" },
  },
  args: { min: 1, max: 1 },
  async run({ flags, given, args, client, io }) {
    const request: NetworkCreateRequest = {
      Name: args[0] as string,
      Driver: flags.driver,
      Scope: flags.scope,
      Internal: flags.internal,
      Attachable: flags.attachable,
      Ingress: flags.ingress,
      ConfigOnly: flags["config-only"],
      ...(flags["config-from"] === "" ? {} : { ConfigFrom: { Network: flags["config-from"] } }),
      ...(given("ipv4") ? { EnableIPv4: flags.ipv4 } : {}),
      ...(given("ipv6") ? { EnableIPv6: flags.ipv6 } : {}),
      IPAM: {
        Driver: flags["ipam-driver"],
        Options: flags["ipam-opt"],
        Config: ipamConfig({ subnets: flags.subnet, ranges: flags["ip-range"], gateways: flags.gateway, auxiliary: flags["aux-address"] }),
      },
      Options: flags.opt,
      Labels: keyValues(flags.label),
    };
    const { Id: id, Warning: warning } = await (await client()).networks.create(request);
    if (warning) await io.err.write(`WARNING: ${warning}\n`);
    await io.out.write(`${id}\n`);
  },
});

type IpamConfig = NonNullable<NetworkCreateRequest["IPAM"]["Config"]>;

/** Puts ranges, gateways and auxiliary addresses with the subnet they lie in. @throws CliError where one lies in none */
export function ipamConfig(input: { subnets: string[]; ranges: string[]; gateways: string[]; auxiliary: Record<string, string> }): IpamConfig {
  const { subnets, ranges, gateways, auxiliary } = input;
  if (subnets.length === 0) {
    if (ranges.length > 0 || gateways.length > 0) throw new CliError("every ip-range or gateway must have a corresponding subnet");
    return [];
  }
  const config: IpamConfig = subnets.map((Subnet) => ({ Subnet }));
  const home = (address: string, what: string): IpamConfig[number] => {
    const entry = config.find(({ Subnet }) => subnetContains(Subnet as string, address));
    if (entry === undefined) throw new CliError(`no matching subnet for ${what} ${address}`);
    return entry;
  };
  for (const range of ranges) home(range, "range").IPRange = range;
  for (const gateway of gateways) {
    const entry = home(gateway, "gateway");
    if (entry.Gateway !== undefined)
      throw new CliError(`cannot configure multiple gateways (${gateway}, ${entry.Gateway}) for the same subnet (${entry.Subnet})`);
    entry.Gateway = gateway;
  }
  for (const [name, address] of Object.entries(auxiliary)) (home(address, "aux-address").AuxiliaryAddresses ??= {})[name] = address;
  return config;
}
