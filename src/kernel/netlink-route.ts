import {
  attribute,
  message,
  nested,
  NETLINK_ROUTE,
  type NetlinkMessage,
  NetlinkSocket,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  parseAttributes,
  text,
  u8,
  u32,
} from "./netlink.ts";
import { addressFrom, formatAddress } from "../lib/address.ts";
import { AF_INET, AF_INET6 } from "./socket.ts";

export const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;
const RT_TABLE_MAIN = 254;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_PROTINFO = 12;
const IFLA_LINKINFO = 18;
const IFLA_AF_SPEC = 26;
const IFLA_NET_NS_FD = 28;
const IFLA_NUM_TX_QUEUES = 31;
const IFLA_NUM_RX_QUEUES = 32;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const VETH_INFO_PEER = 1;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
const IFLA_BRPORT_STATE = 1;
const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_LEARNING = 8;
const IFLA_BRPORT_UNICAST_FLOOD = 9;
const IFLA_BRPORT_FLUSH = 24;
const IFLA_BRPORT_MCAST_FLOOD = 27;
const IFLA_BRPORT_BCAST_FLOOD = 30;
const IFLA_BRPORT_ISOLATED = 33;
const IFLA_BRPORT_LOCKED = 39;
const AF_BRIDGE = 7;
const BR_STATE_DISABLED = 0;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_F_NODAD = 2;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTA_VIA = 18;
const RTN_UNICAST = 1;

export const IFF_UP = 1;
const IFF_NOARP = 0x80;

/** Attributes of links that more than one file here writes. */
export const IFLA = {
  ADDRESS: IFLA_ADDRESS,
  IFNAME: IFLA_IFNAME,
  MTU: IFLA_MTU,
  LINK: 5,
  LINKINFO: IFLA_LINKINFO,
  IFALIAS: 20,
  NET_NS_FD: IFLA_NET_NS_FD,
  INFO_KIND: IFLA_INFO_KIND,
  INFO_DATA: IFLA_INFO_DATA,
} as const;

/** struct ifinfomsg. `change` names the flags that `flags` sets. */
export function linkHeader(options: { family?: number; index?: number; flags?: number; change?: number } = {}): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt8(options.family ?? 0, 0);
  header.writeInt32LE(options.index ?? 0, 4);
  header.writeUInt32LE(options.flags ?? 0, 8);
  header.writeUInt32LE(options.change ?? options.flags ?? 0, 12);
  return header;
}

const family = (address: Uint8Array): number => (address.length === 4 ? AF_INET : AF_INET6);

export function addBridge(name: string, mac: Uint8Array): NetlinkMessage {
  const parts = [linkHeader(), text(IFLA_IFNAME, name), attribute(IFLA_ADDRESS, mac), nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"))];
  return message(`add bridge ${name}`, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, ...parts);
}

export interface VethOptions {
  host: string;
  /** An open namespace into which the peer is put at once. */
  namespace: number;
  peer: string;
  mac: Uint8Array;
  mtu?: number;
}

/**
 * A veth pair, both ends down; the container's end is born inside its namespace under its final name. One queue each way is what it would use anyway, but
 * unless it is asked for the kernel makes one for each processor and puts all but one away, each time after a grace period of RCU
 * (drivers/net/veth.c, veth_init_queues: up to 10 ms under load, measured on Linux 6.18).
 */
export function addVeth(o: VethOptions): NetlinkMessage {
  const both = [u32(IFLA_NUM_TX_QUEUES, 1), u32(IFLA_NUM_RX_QUEUES, 1), ...(o.mtu === undefined ? [] : [u32(IFLA_MTU, o.mtu)])];
  const peer = [linkHeader(), text(IFLA_IFNAME, o.peer), u32(IFLA_NET_NS_FD, o.namespace), attribute(IFLA_ADDRESS, o.mac), ...both];
  return message(
    `add veth ${o.host}`,
    RTM_NEWLINK,
    NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    linkHeader(),
    text(IFLA_IFNAME, o.host),
    ...both,
    nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "veth"), nested(IFLA_INFO_DATA, nested(VETH_INFO_PEER, ...peer))),
  );
}

/** The link gets no IPv6 address of its own, so it asks nobody about one. Not taken when a link is created (EAFNOSUPPORT). */
export function noAutomaticAddress(name: string): NetlinkMessage {
  const spec = nested(IFLA_AF_SPEC, nested(AF_INET6, u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)));
  return message(`no automatic address on ${name}`, RTM_NEWLINK, NLM_F_ACK, linkHeader(), text(IFLA_IFNAME, name), spec);
}

/**
 * Makes a link a port of a bridge and sets it up. With a veth's other end up before it has a carrier; who wants it to forward from the first packet on
 * settles that (carrier.ts), else the kernel may take up to a second.
 */
export function joinBridge(name: string, bridge: number): NetlinkMessage {
  return message(`make ${name} a port`, RTM_NEWLINK, NLM_F_ACK, linkHeader({ flags: IFF_UP }), text(IFLA_IFNAME, name), u32(IFLA_MASTER, bridge));
}

/** Port options of a bridge's member, by name. */
export function setBridgePort(name: string, options: { hairpin: boolean; isolated: boolean }): NetlinkMessage {
  return message(
    `set bridge port ${name}`,
    RTM_NEWLINK,
    NLM_F_ACK,
    linkHeader(),
    text(IFLA_IFNAME, name),
    nested(
      IFLA_LINKINFO,
      text(IFLA_INFO_SLAVE_KIND, "bridge"),
      nested(IFLA_INFO_SLAVE_DATA, u8(IFLA_BRPORT_MODE, options.hairpin ? 1 : 0), u8(IFLA_BRPORT_ISOLATED, options.isolated ? 1 : 0)),
    ),
  );
}

/**
 * Shuts a bridge port and forgets what was learnt on it: no packet passes any more, without waiting for RCU as a removal would. The state alone
 * isn't enough: a late carrier event (they are delayed by up to a second) makes the port forward again.
 */
export function silenceBridgePort(index: number): NetlinkMessage {
  const off = [IFLA_BRPORT_LEARNING, IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_BCAST_FLOOD].map((type) => u8(type, 0));
  return message(
    `silence bridge port ${index}`,
    RTM_SETLINK,
    NLM_F_ACK,
    linkHeader({ family: AF_BRIDGE, index }),
    nested(
      IFLA_PROTINFO,
      ...off,
      u8(IFLA_BRPORT_LOCKED, 1), // kernels before 5.18 pass over it
      u8(IFLA_BRPORT_STATE, BR_STATE_DISABLED),
      attribute(IFLA_BRPORT_FLUSH, Buffer.alloc(0)),
    ),
  );
}

/** Without ARP the link asks nobody for hardware addresses: frames to anyone bear its own. */
export function setLinkUp({ index }: { index: number }, { arp = true }: { arp?: boolean } = {}): NetlinkMessage {
  return message(`set link ${index} up`, RTM_SETLINK, NLM_F_ACK, linkHeader({ index, flags: arp ? IFF_UP : IFF_UP | IFF_NOARP }));
}

export function setLinkMtu(index: number, mtu: number): NetlinkMessage {
  return message(`set the MTU of link ${index}`, RTM_SETLINK, NLM_F_ACK, linkHeader({ index }), u32(IFLA_MTU, mtu));
}

/** Waits for RCU (7–16 ms for a veth): only for bridges of removed networks and in Workers. */
export function deleteLink(name: string): NetlinkMessage {
  return message(`delete link ${name}`, RTM_DELLINK, NLM_F_ACK, linkHeader(), text(IFLA_IFNAME, name));
}

function addressMessage(type: number, flags: number, index: number, address: Uint8Array, prefixLength: number): NetlinkMessage {
  const header = Buffer.alloc(8);
  header.writeUInt8(family(address), 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt8(address.length === 16 ? IFA_F_NODAD : 0, 2); // duplicate detection would hold the address back for a second
  header.writeUInt32LE(index, 4);
  const parts = [header, attribute(IFA_LOCAL, address), attribute(IFA_ADDRESS, address)];
  if (address.length === 4 && prefixLength < 31) parts.push(attribute(IFA_BROADCAST, broadcast(address, prefixLength)));
  return message(`address ${formatAddress(addressFrom(address))}/${prefixLength} on link ${index}`, type, flags, ...parts);
}

function broadcast(address: Uint8Array, prefixLength: number): Uint8Array {
  return address.map((byte, i) => byte | (0xff >> Math.min(8, Math.max(0, prefixLength - i * 8))));
}

/** Adds, or leaves as it is, an address of 4 or 16 bytes. */
export function addAddress(index: number, address: Uint8Array, prefixLength: number): NetlinkMessage {
  return addressMessage(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, index, address, prefixLength);
}

export function deleteAddress(index: number, address: Uint8Array, prefixLength: number): NetlinkMessage {
  return addressMessage(RTM_DELADDR, NLM_F_ACK, index, address, prefixLength);
}

/** The default route by `gateway`. */
export function addDefaultRoute(index: number, gateway: Uint8Array): NetlinkMessage {
  return addRoute(index, { destination: new Uint8Array(gateway.length), prefixLength: 0, gateway });
}

export interface NewRoute {
  /** 4 or 16 bytes, all zero for a default route. */
  destination: Uint8Array;
  prefixLength: number;
  /** Absent: what lies there is on the link itself. */
  gateway?: Uint8Array;
  /** Absent: the main one. */
  table?: number;
}

export function addRoute(index: number, { destination, prefixLength, gateway, table }: NewRoute): NetlinkMessage {
  const header = Buffer.alloc(12);
  header.writeUInt8(family(destination), 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt8(table === undefined ? 254 : 0, 4); // main, or what the attribute tells: a byte is too short
  header.writeUInt8(3, 5); // protocol: boot, as ip(8) sets it
  header.writeUInt8(gateway === undefined && destination.length === 4 ? 253 : 0, 6); // scope: link or universe
  header.writeUInt8(1, 7); // unicast
  const parts = [header, u32(RTA_OIF, index)];
  if (gateway !== undefined) parts.push(attribute(RTA_GATEWAY, gateway));
  if (prefixLength > 0) parts.push(attribute(RTA_DST, destination));
  if (table !== undefined) parts.push(u32(RTA_TABLE, table));
  return message(`${prefixLength === 0 ? "default route" : "route"} by link ${index}`, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, ...parts);
}

export interface Link {
  index: number;
  name: string;
  up: boolean;
  master: number;
  kind: string;
  mac: string;
  mtu: number;
  /** Index of the link that it stands on, 0 where there is none. */
  parent: number;
  /** A note that somebody left on it. */
  alias: string;
}

function parseLink(payload: Buffer): Link {
  const attributes = parseAttributes(payload, 16);
  const info = attributes.get(IFLA_LINKINFO);
  const string = (data: Buffer | undefined): string => data?.toString("utf8").replace(/\0.*$/s, "") ?? "";
  return {
    index: payload.readInt32LE(4),
    up: (payload.readUInt32LE(8) & IFF_UP) !== 0,
    name: string(attributes.get(IFLA_IFNAME)),
    master: attributes.get(IFLA_MASTER)?.readUInt32LE(0) ?? 0,
    parent: attributes.get(IFLA.LINK)?.readUInt32LE(0) ?? 0,
    alias: string(attributes.get(IFLA.IFALIAS)),
    mtu: attributes.get(IFLA_MTU)?.readUInt32LE(0) ?? 0,
    mac:
      attributes
        .get(IFLA_ADDRESS)
        ?.toString("hex")
        .replace(/(..)(?!$)/g, "$1:") ?? "",
    kind: info === undefined ? "" : string(parseAttributes(info).get(IFLA_INFO_KIND)),
  };
}

/** @throws SysError ENODEV */
export function getLink(socket: NetlinkSocket, name: string): Link {
  return parseLink(socket.query(message(`get link ${name}`, RTM_GETLINK, 0, linkHeader(), text(IFLA_IFNAME, name))));
}

/** The link, or undefined where there is none of that name. */
export function findLink(socket: NetlinkSocket, name: string): Link | undefined {
  return unlessGone(() => getLink(socket, name));
}

/** Undefined where there is no such link. */
function unlessGone<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    if ((error as { code?: string }).code === "ENODEV") return undefined;
    throw error;
  }
}

const allLinks = (): NetlinkMessage => message("list links", RTM_GETLINK, NLM_F_DUMP, linkHeader());

export function listLinks(socket: NetlinkSocket): Link[] {
  return socket.dump(allLinks()).map(parseLink);
}

/** Those of the thread's own network namespace, in turns with everything else: there are two of each container. */
export async function listLinksInTurns(): Promise<Link[]> {
  using socket = openRouteSocket();
  return await socket.dumpInTurns(allLinks(), parseLink);
}

export interface LinkAddress {
  index: number;
  address: Uint8Array;
  prefixLength: number;
}

function allAddresses(link = 0): NetlinkMessage {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(link, 4);
  return message("list addresses", RTM_GETADDR, NLM_F_DUMP, header);
}

function parseAddress(payload: Buffer): LinkAddress {
  const attributes = parseAttributes(payload, 8);
  return {
    index: payload.readUInt32LE(4),
    prefixLength: payload.readUInt8(1),
    address: Uint8Array.from(attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS) ?? []),
  };
}

export function listAddresses(socket: NetlinkSocket): LinkAddress[] {
  return socket.dump(allAddresses()).map(parseAddress);
}

/** Those of one link, however many others there are; none where it is gone. `socket` is of openRouteSocket. */
export function addressesOf(socket: NetlinkSocket, link: number): LinkAddress[] {
  return (unlessGone(() => socket.dump(allAddresses(link))) ?? []).map(parseAddress);
}

/** As listLinksInTurns. */
export async function listAddressesInTurns(): Promise<LinkAddress[]> {
  using socket = openRouteSocket();
  return await socket.dumpInTurns(allAddresses(), parseAddress);
}

export interface Route {
  /** 4 or 16 bytes; all zero for a default route. */
  destination: Uint8Array;
  prefixLength: number;
  /** Index of the outgoing link, 0 where there is none. */
  link: number;
  /** Its addresses are neighbours: no gateway leads there. */
  onLink: boolean;
}

/** Of the main table: that of local addresses has four times as many. `socket` is of openRouteSocket. */
export function listRoutes(socket: NetlinkSocket): Route[] {
  const result: Route[] = [];
  const header = Buffer.alloc(12);
  header.writeUInt8(RT_TABLE_MAIN, 4);
  for (const payload of socket.dump(message("list routes", RTM_GETROUTE, NLM_F_DUMP, header))) {
    const length = payload.readUInt8(0) === AF_INET ? 4 : payload.readUInt8(0) === AF_INET6 ? 16 : 0;
    if (length === 0) continue;
    const attributes = parseAttributes(payload, 12);
    result.push({
      destination: Uint8Array.from(attributes.get(RTA_DST) ?? Buffer.alloc(length)),
      prefixLength: payload.readUInt8(1),
      link: attributes.get(RTA_OIF)?.readUInt32LE(0) ?? 0,
      onLink: payload.readUInt8(7) === RTN_UNICAST && !attributes.has(RTA_GATEWAY) && !attributes.has(RTA_MULTIPATH) && !attributes.has(RTA_VIA),
    });
  }
  return result;
}

export function openRouteSocket(): NetlinkSocket {
  const socket = NetlinkSocket.open(NETLINK_ROUTE);
  socket.filterLists();
  return socket;
}
