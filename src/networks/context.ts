import type { Events } from "../events/types.ts";
import type { NamespaceDoor } from "../kernel/namespace.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import type { Logger } from "../lib/log.ts";
import type { KeyedMutex } from "../lib/mutex.ts";
import type { Plugins } from "../plugins/types.ts";
import type { Store } from "../store/store.ts";
import type { AddressBook } from "./address-book.ts";
import { parseBridgeOptions } from "./bridge-options.ts";
import type { ContainerNamespaces } from "./container-namespaces.ts";
import type { Resolvers } from "./dns/types.ts";
import type { NetworkDriver } from "./driver.ts";
import type { Firewall } from "./firewall.ts";
import type { Firewalld } from "./firewalld.ts";
import type { Chores } from "./chores.ts";
import type { HostPorts } from "./ports.ts";
import type { NetworkRecords } from "./records.ts";
import type { RemoteIpam } from "./remote-ipam.ts";
import type { PortRule } from "./ruleset.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

/** `open`: published ports are reached from outside whatever the host's INPUT rules say, as Docker's are; `firewall`: only where those let them in. */
export type PublishMode = "open" | "firewall";

/** The engine's settings that networks use, under the names of its options. */
export interface NetworkOptions {
  /** Name of the default network's bridge; empty: ours, made when missing; `none`: no default network. */
  bridge: string;
  /** Address and prefix of the default bridge, or empty. */
  bip: string;
  /** The same for IPv6, where the default network has it. */
  bip6: string;
  /** Blocks of the default network that its containers get their addresses from, or empty. */
  fixedCidr: string;
  fixedCidrV6: string;
  /** What the default network's containers use as their default route instead of the bridge's address, or empty. */
  defaultGateway: string;
  defaultGatewayV6: string;
  /** Of the default network: MTU, whether its containers talk to each other, leave under the host's address, and have IPv6. */
  mtu: number;
  icc: boolean;
  ipMasq: boolean;
  ipv6: boolean;
  /** The engine makes the host forward packets. */
  ipForward: boolean;
  /** Options of new networks by driver, where a network doesn't say otherwise. */
  defaultNetworkOpts: Readonly<Record<string, Readonly<Record<string, string>>>>;
  /** Host address that ports are published on where none is asked for. */
  ip: string;
  iptables: boolean;
  /** Whether they concern IPv6, too. */
  ip6tables: boolean;
  /** What no rule can serve goes through a proxy in the engine: [::1], IPv6 to IPv4. */
  userlandProxy: boolean;
  /** Published ports are reached from outside under the containers' own addresses, too. */
  allowDirectRouting: boolean;
  /** `MARK[/MASK]`: packets that bear it reach containers; empty: none. */
  bridgeAcceptFwmark: string;
  /** Whether the host's own INPUT rules decide who reaches published ports from outside; `open` unless told. */
  publishMode?: PublishMode;
  dns: readonly string[];
  dnsSearch: readonly string[];
  dnsOpts: readonly string[];
  defaultAddressPools: readonly { base: string; size: number }[];
  /** 6 hex digits that tell this engine from others on the host. */
  engineKey: string;
  /** Tells this engine from all others in the world. */
  engineId: string;
}

/** What the verbs of networks/ share. */
export interface NetworkContext {
  readonly options: NetworkOptions;
  readonly store: Store;
  readonly events: Events;
  readonly log: Logger;
  readonly records: NetworkRecords;
  readonly addresses: AddressBook;
  readonly ports: HostPorts;
  readonly firewall: Firewall;
  readonly firewalld: Firewalld;
  readonly namespaces: ContainerNamespaces;
  readonly door: NamespaceDoor;
  /** rtnetlink of the host. */
  readonly host: NetlinkSocket;
  readonly chores: Chores;
  /** Removed networks whose links the kernel still takes away, by id, with their bridges' names. */
  readonly leaving: Map<string, { bridge: string; gone: Promise<void> }>;
  /** Endpoints whose links were made, by id: until then, and from their release on, a link that isn't there isn't lost. */
  readonly attached: Set<string>;
  /** Rules of links between containers that are kept apart, by the ids of both. */
  readonly links: Map<string, PortRule[]>;
  readonly resolvers: Resolvers;
  /** The default network's bridge where the settings name none. */
  readonly defaultBridge: string;
  /** The service was closed: its sockets are gone. */
  closed(): boolean;
  /** The engine's own. */
  readonly drivers: ReadonlyMap<string, NetworkDriver>;
  readonly plugins: Plugins;
  /** The driver that a plugin of this name stands in for, whether the plugin is there or not. */
  pluginDriver(name: string): NetworkDriver;
  /** Addresses that plugins give out. */
  readonly ipam: RemoteIpam;
  /** One change at a time of a network that plugins know of, by its id. */
  readonly turns: KeyedMutex;
  /** Networks that are being made: their names and subnets are taken. */
  readonly creating: Set<NetworkRecord>;
}

/** With those that are being made. */
export const allNetworks = (ctx: NetworkContext): NetworkRecord[] => [...ctx.records.list(), ...ctx.creating];

/** Names of bridges that the engine's own driver makes. */
export const bridgesOf = (networks: readonly NetworkRecord[]): string[] =>
  networks.flatMap((network) => (network.driver === "bridge" && network.configOnly !== true ? [parseBridgeOptions(network).name] : []));

/** Nothing outside is reached by it. */
export const isClosed = (network: NetworkRecord): boolean => network.internal || network.driverState?.["isolated"] === "true";

/** An endpoint can give its container the default route. */
export function leadsOut(network: NetworkRecord | undefined, { gateway, gateway6 }: Pick<Endpoint, "gateway" | "gateway6">): boolean {
  if (network === undefined || isClosed(network)) return false;
  return gateway !== undefined || gateway6 !== undefined || network.driverState?.["defaultRoute"] === "link";
}

export const driverOf = (ctx: NetworkContext, name: string): NetworkDriver => ctx.drivers.get(name) ?? ctx.pluginDriver(name);

/** Docker's network events: the attributes are name and type, and the container for connect and disconnect. */
export function emitNetworkEvent(
  ctx: NetworkContext,
  action: "create" | "connect" | "disconnect" | "destroy",
  network: NetworkRecord,
  containerId?: string,
): void {
  const attributes: Record<string, string> = { name: network.name, type: network.driver };
  if (containerId !== undefined) attributes["container"] = containerId;
  ctx.events.emit("network", action, network.id, attributes);
}

const predefined = new Set(["bridge", "host", "none", "default"]);

export const isPredefined = (name: string): boolean => predefined.has(name);
