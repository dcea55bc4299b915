import { existsSync } from "node:fs";
import { invalidArgument, messageOf, unavailable } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { writeSysctl } from "../kernel/namespace.ts";
import { setAlias } from "../kernel/netlink-links.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import { addAddress, addBridge, findLink, getLink, listLinks, setLinkMtu, setLinkUp } from "../kernel/netlink-route.ts";
import { type Address, bytesOf, macFor, parseAddress, parseMac, parsePrefix } from "../lib/address.ts";
import { withoutStale } from "./bridge-addresses.ts";
import { bridgeNameOf, type BridgeOptions, parseBridgeOptions } from "./bridge-options.ts";
import type { NetworkDriver } from "./driver.ts";
import { joinPort, type PortOptions, removePort } from "./bridge-port.ts";
import { ipv6Settings } from "./endpoint-link.ts";
import type { Firewall } from "./firewall.ts";
import type { FamilyRules } from "./ruleset.ts";
import type { Chores } from "./chores.ts";
import { separate, separationOf } from "./separation.ts";
import { problemOfSubnet } from "./bridge-subnet.ts";
import type { NetworkRecord } from "./types.ts";

export interface BridgeDriverOptions {
  /** rtnetlink of the host. */
  host: NetlinkSocket;
  firewall: Firewall;
  chores: Chores;
  /** Published ports are reached under the containers' own addresses, whatever the network says. */
  directRouting: boolean;
  /** Written on bridges that are ours, so that one whose network's row went just before a crash is known. */
  alias: string;
  log: Logger;
}

/** Of our bridges; other links of ours have another. */
export const bridgeAlias = (engineKey: string): string => `berth ${engineKey} bridge`;

/** Host ends of our veths: `veth` and 8 hex digits of the endpoint's id. */
export const hostInterfaceName = (endpointId: string): string => `veth${endpointId.slice(0, 8)}`;

/** What the bridge itself has: the gateways of its subnets, with their prefix lengths. */
export function ownAddresses(network: NetworkRecord, { inhibitIpv4, gatewayMode }: BridgeOptions): { address: Address; prefixLength: number }[] {
  return network.ipam.config.flatMap((config) => {
    const subnet = parsePrefix(config.subnet)?.subnet;
    const address = config.gateway === undefined ? undefined : parseAddress(config.gateway);
    if (subnet === undefined || address === undefined) return [];
    const none = gatewayMode[subnet.family] === "isolated" || (inhibitIpv4 && subnet.family === 4);
    return none ? [] : [{ address, prefixLength: subnet.prefixLength }];
  });
}

/** What the firewall must do for one address family. */
function familyRules(network: NetworkRecord, bridge: BridgeOptions, family: 4 | 6, directRouting: boolean): FamilyRules {
  const mode = bridge.gatewayMode[family];
  const address = bridge.hostAddress[family];
  const subnets = network.ipam.config.flatMap((config) => parsePrefix(config.subnet)?.subnet ?? []).filter((subnet) => subnet.family === family);
  return {
    subnets,
    masquerade: bridge.masquerade && mode !== "routed",
    ...(address === undefined ? {} : { hostAddress: address }),
    entry: mode === "nat-unprotected" ? "all" : mode === "routed" || directRouting ? "published" : "none",
    icmp: mode === "routed",
  };
}

/** Whether published ports of a network are reached under the containers' own addresses. */
export function opensOwnAddresses(network: NetworkRecord, family: 4 | 6, directRouting: boolean): boolean {
  const { gatewayMode, trusted } = parseBridgeOptions(network);
  return gatewayMode[family] === "routed" || directRouting || trusted.length > 0;
}

/** What makes a host's bridge safe and quick: no router advertisements taken from containers, no duplicate detection. */
function configureBridge(name: string, ipv6: boolean, publishes: boolean): void {
  // 127.0.0.1:port reaches containers through DNAT; the ruleset's raw chain drops what containers send to 127/8
  if (publishes) writeSysctl(`/proc/sys/net/ipv4/conf/${name}/route_localnet`, "1");
  if (!existsSync(`${ipv6Settings}/${name}`)) return;
  writeSysctl(`${ipv6Settings}/${name}/disable_ipv6`, ipv6 ? "0" : "1");
  writeSysctl(`${ipv6Settings}/${name}/accept_ra`, "0");
  writeSysctl(`${ipv6Settings}/${name}/accept_dad`, "0");
}

/** Linux bridges with a veth pair for each endpoint. */
export function createBridgeDriver(options: BridgeDriverOptions): NetworkDriver {
  const { host, firewall, chores, directRouting, alias, log } = options;

  const setUp = (network: NetworkRecord): number => {
    const bridge = parseBridgeOptions(network);
    const gateways = ownAddresses(network, bridge);
    let link = findLink(host, bridge.name);
    const isNew = link === undefined;
    if (link === undefined) {
      const first = gateways[0]?.address;
      const mac = first === undefined ? Uint8Array.of(0x02, 0x42, ...Buffer.from(network.id.slice(0, 8), "hex")) : macFor(first);
      // not taken when a link is created
      const mark = alias === "" ? [] : [setAlias(bridge.name, alias)];
      host.request(addBridge(bridge.name, mac), ...mark);
      link = getLink(host, bridge.name);
    }
    if (link.kind !== "bridge") throw invalidArgument(`network ${network.name}: interface ${bridge.name} exists and is no bridge`);
    const { index } = link;
    configureBridge(bridge.name, network.enableIPv6, firewall.active);
    if (!bridge.icc || network.foreign !== true) separate(bridge.name, separationOf(network, bridge, firewall));
    const stale = isNew || network.foreign === true ? [] : withoutStale(host, index, gateways);
    // an MTU given to a new link would go with its last port: only one that was changed stays (br_mtu_auto_adjust)
    const mtu = bridge.mtu === undefined || bridge.mtu === link.mtu ? [] : [setLinkMtu(index, bridge.mtu)];
    host.request(...stale, ...mtu, setLinkUp({ index }), ...gateways.map((g) => addAddress(index, bytesOf(g.address), g.prefixLength)));
    firewall.addNetwork(network.id, {
      bridge: bridge.name,
      internal: network.internal,
      icc: bridge.icc,
      trusted: bridge.trusted,
      families: { 4: familyRules(network, bridge, 4, directRouting), 6: familyRules(network, bridge, 6, directRouting) },
    });
    return index;
  };

  const portOptions = (network: NetworkRecord): PortOptions => {
    const bridge = parseBridgeOptions(network);
    return { bridge: bridge.name, isolated: separationOf(network, bridge, firewall).isolated };
  };

  return {
    name: "bridge",
    addresses: true,
    ports: "engine",
    mac: "address",
    hostInterface: hostInterfaceName,

    withoutGateway(network) {
      const { gatewayMode, inhibitIpv4 } = parseBridgeOptions(network);
      return { 4: gatewayMode[4] === "isolated" || (inhibitIpv4 && network.internal), 6: gatewayMode[6] === "isolated" };
    },

    validate(network) {
      const bridge = parseBridgeOptions(network);
      for (const { subnet } of network.ipam.config) {
        const problem = problemOfSubnet(subnet);
        if (problem !== undefined) throw invalidArgument(problem);
      }
      const link = findLink(host, bridge.name);
      if (link !== undefined && link.kind !== "bridge") throw invalidArgument(`network ${network.name}: interface ${bridge.name} exists and is no bridge`);
    },

    setUp(network) {
      setUp(network);
    },

    // its subnets are free for others at once: the link itself takes the kernel a while
    async withdraw(network) {
      firewall.removeNetwork(network.id);
      if (network.foreign !== true) await chores.dropAddresses(bridgeNameOf(network));
    },

    async tearDown(network) {
      firewall.removeNetwork(network.id);
      if (network.foreign !== true) await chores.deleteLink(bridgeNameOf(network));
    },

    async attach(network, endpoint, namespace, { defaultRoute }) {
      const { mtu } = parseBridgeOptions(network);
      const mac = parseMac(endpoint.macAddress);
      if (mac === undefined) throw invalidArgument(`invalid MAC address ${endpoint.macAddress}`);
      const make = (): Promise<boolean> => {
        const link = { mac, ...(mtu !== undefined && { mtu }), namespace: namespace.fd, route: namespace.route.fd };
        return chores.makePort({ ...portOptions(network), ...link, network, endpoint, defaultRoute });
      };
      if (await make()) return;
      setUp(network); // someone deleted our bridge
      if (!(await make())) throw unavailable(`network ${network.name}: somebody deletes its bridge`);
    },

    detach: (_network, endpoint, { lives }) => chores.removePort(endpoint.hostInterface, { gone: lives }),

    restore(network, endpoints) {
      const index = setUp(network);
      const wanted = new Set(endpoints.map((endpoint) => endpoint.hostInterface));
      for (const link of listLinks(host)) {
        // also one that is joined: whether containers may talk to each other may have changed with the engine's settings
        if (wanted.has(link.name)) joinPort(host, link.name, portOptions(network));
        const ours = network.foreign !== true || /^veth[0-9a-f]{8}$/.test(link.name);
        if (link.master !== index || !ours || wanted.has(link.name)) continue;
        removePort(host, link.name, { gone: false });
        chores.deleteLink(link.name).catch((error: unknown) => log.warn("could not delete a stale link", { link: link.name, error: messageOf(error) }));
      }
    },
  };
}
