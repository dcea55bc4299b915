import type { Events } from "../events/types.ts";
import type { NamespaceDoor } from "../kernel/namespace.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import { invalidArgument } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { Store } from "../store/store.ts";
import type { AddressBook } from "./address-book.ts";
import type { ContainerNamespaces } from "./container-namespaces.ts";
import type { Resolvers } from "./dns/types.ts";
import type { NetworkDriver } from "./driver.ts";
import type { Firewall } from "./firewall.ts";
import type { Chores } from "./chores.ts";
import type { HostPorts } from "./ports.ts";
import type { NetworkRecords } from "./records.ts";
import type { NetworkRecord } from "./types.ts";

/** The engine's settings that networks use, under the names of its options. */
export interface NetworkOptions {
  /** Name of the default network's bridge; empty: ours, made when missing; `none`: no default network. */
  bridge: string;
  /** Address and prefix of the default bridge, or empty. */
  bip: string;
  /** Host address that ports are published on where none is asked for. */
  ip: string;
  iptables: boolean;
  dns: readonly string[];
  dnsSearch: readonly string[];
  dnsOpts: readonly string[];
  defaultAddressPools: readonly { base: string; size: number }[];
  /** 6 hex digits that tell this engine from others on the host. */
  engineKey: string;
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
  readonly namespaces: ContainerNamespaces;
  readonly door: NamespaceDoor;
  /** rtnetlink of the host. */
  readonly host: NetlinkSocket;
  readonly chores: Chores;
  readonly resolvers: Resolvers;
  /** The default network's bridge where the settings name none. */
  readonly defaultBridge: string;
  /** The service was closed: its sockets are gone. */
  closed(): boolean;
  readonly drivers: ReadonlyMap<string, NetworkDriver>;
}

/** @throws EngineError invalidArgument */
export function driverOf(ctx: NetworkContext, name: string): NetworkDriver {
  const driver = ctx.drivers.get(name);
  if (driver === undefined) throw invalidArgument(`network driver ${JSON.stringify(name)} is not known here; there are ${[...ctx.drivers.keys()].join(", ")}`);
  return driver;
}

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
