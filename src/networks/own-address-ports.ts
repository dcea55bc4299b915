import { formatAddress, parseAddress } from "../lib/address.ts";
import type { BridgeOptions } from "./bridge-options.ts";
import { opensOwnAddresses } from "./bridge.ts";
import type { NetworkContext } from "./context.ts";
import type { PortRule } from "./ruleset.ts";
import type { PortRequest } from "./port-requests.ts";
import type { PortTarget } from "./ports.ts";
import type { Endpoint, PublishedPort } from "./types.ts";

/**
 * On a network of gateway mode `routed` publishing takes no port of the host: the container's own address is opened. Gives what is left to take
 * of the host, and the ports that are opened (host port 0), as Docker lists them.
 */
export function withoutRouted(
  requests: readonly PortRequest[],
  { gatewayMode }: BridgeOptions,
  target: PortTarget,
): { requests: PortRequest[]; opened: PublishedPort[] } {
  const routed = { 4: gatewayMode[4] === "routed", 6: gatewayMode[6] === "routed" };
  if (!routed[4] && !routed[6]) return { requests: [...requests], opened: [] };
  const opened = new Map<string, PublishedPort>();
  const rest = requests.flatMap((request) => {
    const { proto, containerPort } = request;
    const hosts = request.hosts.filter(({ family }) => {
      const own = family === 4 ? target.ipv4 : target.ipv6;
      // an IPv6 port of the host would lead to the IPv4 address that isn't to be translated
      if (own === undefined) return !routed[family === 4 ? 6 : 4];
      if (!routed[family]) return true;
      opened.set(`${family} ${proto} ${containerPort}`, { proto, containerPort, hostIp: family === 4 ? "0.0.0.0" : "::", hostPort: 0 });
      return false;
    });
    return hosts.length === 0 ? [] : [{ ...request, hosts }];
  });
  return { requests: rest, opened: [...opened.values()] };
}

/** Rules that let in who calls a published port by the container's own address, where the network or the engine's settings say so. */
export function ownAddressRules(ctx: NetworkContext, endpoint: Endpoint): PortRule[] {
  const network = ctx.records.byId(endpoint.networkId);
  if (endpoint.ports.length === 0 || network?.driver !== "bridge") return [];
  const rules = new Map<string, PortRule>();
  for (const [family, text] of [[4, endpoint.ipv4] as const, [6, endpoint.ipv6] as const]) {
    const containerIp = text === undefined ? undefined : parseAddress(text);
    if (containerIp === undefined || !opensOwnAddresses(network, family, ctx.options.allowDirectRouting)) continue;
    for (const { proto, containerPort, hostIp } of endpoint.ports) {
      if (parseAddress(hostIp)?.family !== family) continue;
      rules.set(`${formatAddress(containerIp)} ${proto} ${containerPort}`, { proto, hostIp: { family, value: 0n }, hostPort: 0, containerIp, containerPort });
    }
  }
  return [...rules.values()];
}
