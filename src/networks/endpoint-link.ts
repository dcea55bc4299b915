import type { NamespaceDoor } from "../kernel/namespace.ts";
import type { NetlinkMessage } from "../kernel/netlink.ts";
import { addAddress, addDefaultRoute, addRoute, setLinkUp } from "../kernel/netlink-route.ts";
import { bytesOf, parseAddress } from "../lib/address.ts";
import { invalidArgument, messageOf } from "../lib/errors.ts";
import type { NamespaceHandle } from "./driver.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

export const ipv6Settings = "/proc/sys/net/ipv6/conf";

/** Sets an endpoint's link up inside its namespace: addresses, then `routes`, then the sysctls that were asked for. @throws EngineError invalidArgument, SysError */
export function configureEndpoint(
  door: NamespaceDoor,
  namespace: Pick<NamespaceHandle, "fd" | "route">,
  index: number,
  endpoint: Endpoint,
  routes: readonly NetlinkMessage[],
): void {
  if (endpoint.ipv6 === undefined) {
    door.writeSysctls(namespace.fd, [{ path: `${ipv6Settings}/${endpoint.containerInterface}/disable_ipv6`, value: "1" }]);
  }
  namespace.route.request(...addressMessages(index, endpoint), ...routes);
  writeEndpointSysctls(door, namespace.fd, endpoint);
}

/** The default routes that are the endpoint's to give: by its gateways, or, where the driver says so, by its link alone. */
export function defaultRoutes(index: number, network: NetworkRecord, endpoint: Endpoint): NetlinkMessage[] {
  const { gateway, gateway6, ipv4, ipv6, defaultRoutes: own = { 4: true, 6: true } } = endpoint;
  if (network.driverState?.["defaultRoute"] === "link") {
    const sizes = [...(ipv4 === undefined || !own[4] ? [] : [4]), ...(ipv6 === undefined || !own[6] ? [] : [16])];
    return sizes.map((bytes) => addRoute(index, { destination: new Uint8Array(bytes), prefixLength: 0 }));
  }
  return [own[4] ? gateway : undefined, own[6] ? gateway6 : undefined].flatMap((text) => {
    const address = text === undefined ? undefined : parseAddress(text);
    return address === undefined ? [] : [addDefaultRoute(index, bytesOf(address))];
  });
}

/** Up, and addresses, in one send. */
function addressMessages(index: number, endpoint: Endpoint): NetlinkMessage[] {
  const messages = [setLinkUp({ index })];
  for (const text of endpoint.linkLocal ?? []) {
    const address = parseAddress(text);
    if (address !== undefined) messages.push(addAddress(index, bytesOf(address), address.family === 4 ? 16 : 64));
  }
  for (const [text, prefixLength] of [
    [endpoint.ipv4, endpoint.ipv4PrefixLength],
    [endpoint.ipv6, endpoint.ipv6PrefixLength],
  ] as const) {
    const address = text === undefined ? undefined : parseAddress(text);
    if (address !== undefined) messages.push(addAddress(index, bytesOf(address), prefixLength ?? (address.family === 4 ? 32 : 128)));
  }
  return messages;
}

/** @throws EngineError invalidArgument for settings that the kernel doesn't have, or won't take */
function writeEndpointSysctls(door: NamespaceDoor, namespace: number, { sysctls, containerInterface }: Endpoint): void {
  for (const { path, value } of sysctls ?? []) {
    const file = `/proc/sys/${path.replace("IFNAME", containerInterface)}`;
    try {
      if (door.writeSysctls(namespace, [{ path: file, value }]) === 1) continue;
    } catch (error) {
      throw invalidArgument(`setting ${file} to ${JSON.stringify(value)}: ${messageOf(error)}`, error);
    }
    throw invalidArgument(`setting ${file} to ${JSON.stringify(value)}: there is no such setting`);
  }
}
