import { contains, parseAddress, parsePrefix } from "../lib/address.ts";
import { EngineError, invalidArgument, messageOf } from "../lib/errors.ts";
import { parseEndpointOptions } from "../networks/endpoint-options.ts";
import type { ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig } from "../oci/container.ts";
import type { Context } from "./context.ts";

/**
 * Endpoint settings by network name: of those that the client names, the network of NetworkMode first, or of that one alone where it names none. As Docker has it,
 * clients that name another network than NetworkMode's (which may be just the default) mean that other one only. A network may be made later: that is asked at start.
 */
export function endpointsOf(ctx: Context, host: HostConfig, config: ContainerConfig, networking: NetworkingConfig): Record<string, EndpointSettings> {
  const mode = host.NetworkMode ?? "bridge";
  const asked = networking.EndpointsConfig ?? {};
  for (const [network, settings] of Object.entries(asked)) {
    if (settings === null) throw invalidArgument(`invalid config for network ${network}: EndpointsConfig is nil`);
  }
  const given = Object.keys(asked);
  if (mode.startsWith("container:")) {
    if (given.length > 0) throw invalidArgument(`conflicting options: the network mode ${mode} can't be combined with endpoint settings`);
    return {};
  }
  if (config.NetworkDisabled === true) return {};
  const nameOf = (reference: string): string => {
    if (reference === "default") return "bridge";
    try {
      return ctx.networks.resolve(reference).name;
    } catch (error) {
      if (error instanceof EngineError && error.kind === "notFound") return reference;
      throw error;
    }
  };
  const main = nameOf(mode);
  const named = Object.entries(asked).map(([network, settings]) => [nameOf(network), settings ?? {}] as const);
  const isNamed = named.length === 0 || named.some(([network]) => network === main);
  const result: Record<string, EndpointSettings> = { ...(isNamed ? { [main]: {} } : {}), ...Object.fromEntries(named) };
  const names = Object.keys(result);
  const all = new Set([main, ...names]);
  if (all.size > 1 && (all.has("host") || all.has("none"))) {
    throw invalidArgument("conflicting options: cannot attach a container of network mode host or none to another network");
  }
  for (const [network, settings] of Object.entries(result)) checkEndpoint(ctx, network, settings);
  const first = result[names[0] as string] as EndpointSettings;
  if (config.MacAddress && !first.MacAddress) first.MacAddress = config.MacAddress;
  return result;
}

/** What is asked of one attachment. @throws EngineError invalidArgument */
export function checkEndpoint(ctx: Context, network: string, settings: EndpointSettings): void {
  const fail = (why: string): Error => invalidArgument(`invalid config for network ${network}: invalid endpoint settings:\n${why}`);
  const { IPv4Address, IPv6Address } = settings.IPAMConfig ?? {};
  const predefined = ["bridge", "host", "none"].includes(network);
  if ((IPv4Address || IPv6Address) && predefined) throw fail("user specified IP address is supported on user defined networks only");
  if ((settings.Aliases ?? []).length > 0 && predefined) throw fail("network-scoped alias is supported only for containers in user defined networks");
  if (IPv4Address && !/^\d{1,3}(\.\d{1,3}){3}$/.test(IPv4Address)) throw fail(`invalid IPv4 address: ${IPv4Address}`);
  if (IPv6Address && !IPv6Address.includes(":")) throw fail(`invalid IPv6 address: ${IPv6Address}`);
  for (const address of [IPv4Address, IPv6Address]) {
    if (address && !mayHold(ctx, network, address)) throw fail(`no configured subnet contains IP address ${address}`);
  }
  try {
    parseEndpointOptions(settings);
  } catch (error) {
    throw fail(messageOf(error));
  }
  if (settings.MacAddress && !/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(settings.MacAddress)) throw fail(`invalid MAC address: ${settings.MacAddress}`);
}

/** Whether an address lies in a network; of one that isn't there yet nobody knows. */
function mayHold(ctx: Context, network: string, text: string): boolean {
  const address = parseAddress(text);
  const record = ctx.networks.list().find(({ name }) => name === network);
  if (address === undefined || record === undefined) return true;
  return record.ipam.config.some((config) => {
    const subnet = parsePrefix(config.subnet)?.subnet;
    return subnet !== undefined && contains(subnet, address);
  });
}
