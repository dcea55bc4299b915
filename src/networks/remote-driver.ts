import { closeSync, openSync } from "node:fs";
import type { NamespaceDoor } from "../kernel/namespace.ts";
import type { NetlinkMessage, NetlinkSocket } from "../kernel/netlink.ts";
import { setMac } from "../kernel/netlink-links.ts";
import { addRoute, findLink, getLink, type Link, listLinks } from "../kernel/netlink-route.ts";
import { bytesOf, formatAddress, formatMac, parseAddress, parseMac, parsePrefix } from "../lib/address.ts";
import { internal, messageOf, prefixed } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { PluginError, type Plugins } from "../plugins/types.ts";
import { isLinkName } from "./bridge-options.ts";
import type { Chores } from "./chores.ts";
import type { NamespaceHandle, NetworkDriver } from "./driver.ts";
import { configureEndpoint, defaultRoutes } from "./endpoint-link.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

export interface RemoteDriverOptions {
  plugins: Plugins;
  /** rtnetlink of the host. */
  host: NetlinkSocket;
  door: NamespaceDoor;
  chores: Chores;
  log: Logger;
}

/** How long a plugin may take for one call while a container waits for its network. */
const callMs = 30_000;
const mostRoutes = 1000;
const protocolNumbers: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };
const generic = "com.docker.network.generic";

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");
const objectOf = (value: unknown): Record<string, unknown> => (typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {});

/**
 * A network driver that is a plugin (moby daemon/libnetwork/drivers/remote): it makes the links, and says which one goes into the container; the engine puts it
 * there and gives it its addresses and routes. There is no `docker_gwbridge`: a network whose plugin names no gateway leads where its routes lead.
 */
export function createRemoteNetworkDriver(name: string, { plugins, host, door, chores, log }: RemoteDriverOptions): NetworkDriver {
  const call = async (verb: string, request: object): Promise<Record<string, unknown>> => {
    const plugin = await plugins.get(name, "NetworkDriver");
    return await plugin.call(`NetworkDriver.${verb}`, request, { deadlineMs: callMs });
  };
  /** A call that not every plugin knows. */
  const mayCall = async (verb: string, request: object): Promise<Record<string, unknown>> => {
    try {
      return await call(verb, request);
    } catch (error) {
      if (error instanceof PluginError && error.status === 404) return {};
      throw error;
    }
  };
  const idsOf = ({ networkId, id }: Endpoint): { NetworkID: string; EndpointID: string } => ({ NetworkID: networkId, EndpointID: id });

  const setGateway = async (endpoint: Endpoint, isGateway: boolean): Promise<void> => {
    if (isGateway) await mayCall("ProgramExternalConnectivity", { ...idsOf(endpoint), Options: sandboxOptions(endpoint) });
    else await mayCall("RevokeExternalConnectivity", idsOf(endpoint));
  };

  /** Puts the link that the plugin made into the container. */
  const moveIn = async (endpoint: Endpoint, namespace: NamespaceHandle, { SrcName, DstPrefix, DstName }: Record<string, unknown>): Promise<Link> => {
    const source = textOf(SrcName);
    if (!isLinkName(source) || source === "lo" || findLink(host, source) === undefined)
      throw internal(`plugin ${name} named ${JSON.stringify(source)} as the container's interface: there is no such link`);
    endpoint.containerInterface = interfaceName(endpoint, namespace, textOf(DstName), textOf(DstPrefix));
    endpoint.driverState = { source };
    await chores.moveLink({ name: source, newName: endpoint.containerInterface, to: namespace.fd });
    const link = getLink(namespace.route, endpoint.containerInterface);
    const mac = parseMac(endpoint.macAddress);
    if (mac === undefined) endpoint.macAddress = link.mac;
    else if (formatMac(mac) !== link.mac) namespace.route.request(setMac(link.index, mac));
    return link;
  };

  /** Gives a plugin its link back, which it will want to remove. */
  const moveOut = async (endpoint: Endpoint, namespace: NamespaceHandle): Promise<void> => {
    const source = endpoint.driverState?.["source"];
    if (source === undefined || findLink(namespace.route, endpoint.containerInterface) === undefined) return;
    const home = openSync("/proc/self/ns/net", "r");
    try {
      await chores.moveLink({ socket: door.netlinkSocket(namespace.fd, "route"), name: endpoint.containerInterface, newName: source, to: home });
    } finally {
      closeSync(home);
    }
  };

  return {
    name,
    addresses: true,
    ports: "driver",
    mac: "driver",
    mayRefuse: true,

    async withoutGateway(network) {
      const { Scope, GwAllocChecker } = await call("GetCapabilities", {});
      if (Scope !== "local" && Scope !== "global")
        throw internal(`plugin ${name}: invalid capability: expecting 'local' or 'global', got ${JSON.stringify(Scope)}`);
      network.scope = Scope;
      if (GwAllocChecker !== true) return { 4: false, 6: false };
      const { SkipIPv4, SkipIPv6 } = await call("GwAllocCheck", { Options: networkOptions(network) });
      return { 4: SkipIPv4 === true, 6: SkipIPv6 === true };
    },

    validate() {},

    async setUp(network) {
      const pools = (family: 4 | 6): object[] => ipamData(network, family);
      await call("CreateNetwork", { NetworkID: network.id, Options: networkOptions(network), IPv4Data: pools(4), IPv6Data: pools(6) });
    },

    async tearDown(network, { forGood }) {
      if (forGood) await call("DeleteNetwork", { NetworkID: network.id });
    },

    async createEndpoint(_network, endpoint) {
      const cidr = (address: string | undefined, length: number | undefined): string => (address === undefined ? "" : `${address}/${length ?? 0}`);
      const Interface = {
        Address: cidr(endpoint.ipv4, endpoint.ipv4PrefixLength),
        AddressIPv6: cidr(endpoint.ipv6, endpoint.ipv6PrefixLength),
        MacAddress: endpoint.macAddress,
      };
      const answer = await call("CreateEndpoint", { ...idsOf(endpoint), Interface, Options: endpoint.asked?.options ?? {} });
      return givenInterface(name, endpoint, objectOf(answer["Interface"]));
    },

    async deleteEndpoint(_network, endpoint) {
      await call("DeleteEndpoint", idsOf(endpoint));
    },

    async attach(network, endpoint, namespace, { defaultRoute }) {
      const joined = await call("Join", { ...idsOf(endpoint), SandboxKey: namespace.path, Options: sandboxOptions(endpoint) });
      try {
        const routes = staticRoutes(name, joined["StaticRoutes"]);
        const [gateway, gateway6] = [textOf(joined["Gateway"]), textOf(joined["GatewayIPv6"])].map((text) => addressText(name, text));
        if (gateway !== undefined) endpoint.gateway = gateway;
        if (gateway6 !== undefined) endpoint.gateway6 = gateway6;
        const wanted = objectOf(joined["InterfaceName"]);
        if (textOf(wanted["SrcName"]) !== "") {
          const { index } = await moveIn(endpoint, namespace, wanted);
          const more = routes.map(({ destination, via }) => addRoute(index, { ...destination, ...(via && { gateway: via }) }));
          configureEndpoint(door, namespace, index, endpoint, [
            ...more,
            ...(defaultRoute ? defaultRoutes(index, network, endpoint) : ([] as NetlinkMessage[])),
          ]);
        }
        if (defaultRoute) await setGateway(endpoint, true);
        // plugins tell here what they like; nothing of it is for users
        await mayCall("EndpointOperInfo", idsOf(endpoint));
      } catch (error) {
        await moveOut(endpoint, namespace).catch((failure: unknown) => log.warn("giving a plugin its link back", { plugin: name, error: messageOf(failure) }));
        await call("Leave", idsOf(endpoint)).catch((failure: unknown) => log.warn("leaving a plugin's network", { plugin: name, error: messageOf(failure) }));
        throw prefixed(`failed to join network ${network.name}: `, error);
      }
    },

    async detach(_network, endpoint, { namespace }) {
      {
        using inside = namespace();
        if (inside !== undefined) await moveOut(endpoint, inside);
      }
      await mayCall("RevokeExternalConnectivity", idsOf(endpoint));
      await call("Leave", idsOf(endpoint));
    },

    setGateway: (_network, endpoint, isGateway) => setGateway(endpoint, isGateway),

    // a plugin keeps its own records
    restore() {},
  };
}

function networkOptions({ enableIPv4, enableIPv6, internal: isInternal, options }: NetworkRecord): Record<string, unknown> {
  return {
    "com.docker.network.enable_ipv4": enableIPv4,
    "com.docker.network.enable_ipv6": enableIPv6,
    ...(isInternal && { "com.docker.network.internal": true }),
    [generic]: options,
  };
}

function ipamData(network: NetworkRecord, family: 4 | 6): object[] {
  return network.ipam.config.flatMap(({ subnet: text, gateway, auxAddresses }) => {
    const subnet = parsePrefix(text)?.subnet;
    if (subnet === undefined || subnet.family !== family) return [];
    const long = (address: string): string => `${address}/${subnet.prefixLength}`;
    const aux = Object.entries(auxAddresses ?? {}).map(([key, address]) => [key, long(address)]);
    return [
      {
        AddressSpace: network.scope === "global" ? "GlobalDefault" : "LocalDefault",
        Pool: text,
        ...(gateway !== undefined && { Gateway: long(gateway) }),
        ...(aux.length > 0 && { AuxAddresses: Object.fromEntries(aux) }),
      },
    ];
  });
}

/** Exposed and published ports, as a plugin that publishes them wants to know. */
function sandboxOptions({ asked }: Endpoint): Record<string, unknown> {
  const ports = Object.entries(asked?.ports ?? {}).map(([key, bindings]) => {
    const [port = "", proto = "tcp"] = key.split("/");
    return { Proto: protocolNumbers[proto] ?? 0, Port: Number(port), bindings };
  });
  const number = (text: string | undefined, end: boolean): number => Number((text ?? "").split("-")[end ? 1 : 0] ?? (text ?? "").split("-")[0]) || 0;
  return {
    "com.docker.network.endpoint.exposedports": ports.map(({ Proto, Port }) => ({ Proto, Port })),
    "com.docker.network.portmap": ports.flatMap(({ Proto, Port, bindings }) =>
      bindings.map(({ HostIp, HostPort }) => ({
        Proto,
        IP: "",
        Port,
        HostIP: HostIp ?? "",
        HostPort: number(HostPort, false),
        HostPortEnd: number(HostPort, true),
      })),
    ),
  };
}

/** What a plugin fills in of what was left open. @throws EngineError internal where it changes what wasn't, or makes no sense */
function givenInterface(plugin: string, endpoint: Endpoint, { Address, AddressIPv6, MacAddress }: Record<string, unknown>): Partial<Endpoint> {
  const result: Partial<Endpoint> = {};
  const mac = textOf(MacAddress);
  if (mac !== "") {
    const parsed = parseMac(mac);
    if (parsed === undefined) throw internal(`plugin ${plugin} gave ${JSON.stringify(mac)}, which is no MAC address`);
    if (endpoint.macAddress !== "" && endpoint.macAddress !== formatMac(parsed)) throw internal(`plugin ${plugin}: driver modified interface MAC address`);
    result.macAddress = formatMac(parsed);
  }
  for (const [text, family] of [
    [textOf(Address), 4],
    [textOf(AddressIPv6), 6],
  ] as const) {
    if (text === "") continue;
    const prefix = parsePrefix(text);
    if (prefix?.subnet.family !== family)
      throw internal(`plugin ${plugin} gave ${JSON.stringify(text)}, which is no IPv${family} address with a prefix length`);
    const address = formatAddress(prefix.address);
    const present = family === 4 ? endpoint.ipv4 : endpoint.ipv6;
    if (present !== undefined && present !== address) throw internal(`plugin ${plugin}: driver modified interface address`);
    Object.assign(
      result,
      family === 4 ? { ipv4: address, ipv4PrefixLength: prefix.subnet.prefixLength } : { ipv6: address, ipv6PrefixLength: prefix.subnet.prefixLength },
    );
  }
  return result;
}

/** The name that the plugin wants, or the first free one with its prefix; the one that a user asked for stays. */
function interfaceName(endpoint: Endpoint, namespace: NamespaceHandle, name: string, prefix: string): string {
  const taken = new Set(listLinks(namespace.route).map((link) => link.name));
  if (isLinkName(name) && !taken.has(name)) return name;
  const isPlain = /^eth\d+$/.test(endpoint.containerInterface);
  if (!isPlain || !isLinkName(`${prefix}99`) || prefix === "eth") return endpoint.containerInterface;
  let number = 0;
  while (taken.has(`${prefix}${number}`)) number++;
  return `${prefix}${number}`;
}

function addressText(plugin: string, text: string): string | undefined {
  if (text === "") return undefined;
  const address = parseAddress(text.split("/")[0] ?? "");
  if (address === undefined) throw internal(`plugin ${plugin}: unable to parse Gateway ${JSON.stringify(text)}`);
  return formatAddress(address);
}

function staticRoutes(plugin: string, routes: unknown): { destination: { destination: Uint8Array; prefixLength: number }; via?: Uint8Array }[] {
  if (!Array.isArray(routes)) return [];
  return routes.slice(0, mostRoutes).map((each: unknown) => {
    const { Destination, NextHop } = objectOf(each);
    const prefix = parsePrefix(textOf(Destination));
    const hop = textOf(NextHop) === "" ? undefined : parseAddress(textOf(NextHop));
    const wrong = prefix === undefined || (textOf(NextHop) !== "" && hop?.family !== prefix.subnet.family);
    if (wrong) throw internal(`plugin ${plugin} gave a route that makes no sense: ${JSON.stringify(each).slice(0, 200)}`);
    const destination = { destination: bytesOf({ family: prefix.subnet.family, value: prefix.subnet.base }), prefixLength: prefix.subnet.prefixLength };
    return { destination, ...(hop && { via: bytesOf(hop) }) };
  });
}
