import { attribute, message, nested, type NetlinkMessage, type NetlinkSocket, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, text, u16, u32 } from "./netlink.ts";
import { IFF_UP, IFLA, linkHeader, RTM_NEWLINK, RTM_SETLINK } from "./netlink-route.ts";

const IFLA_MACVLAN_MODE = 1;
const IFLA_IPVLAN_MODE = 1;
const IFLA_IPVLAN_FLAGS = 2;
const IFLA_VLAN_ID = 1;

const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
const ipvlanModes = { l2: 0, l3: 1, l3s: 2 } as const;
const ipvlanFlags = { bridge: 0, private: 1, vepa: 2 } as const;

export type MacvlanMode = keyof typeof macvlanModes;
export type IpvlanMode = keyof typeof ipvlanModes;
export type IpvlanFlag = keyof typeof ipvlanFlags;

/** What a link on a parent is, besides its name. */
export type ChildKind = { kind: "macvlan"; mode: MacvlanMode; mac: Uint8Array } | { kind: "ipvlan"; mode: IpvlanMode; flag: IpvlanFlag };

export interface ChildOptions {
  name: string;
  /** Index of the link it stands on, in the socket's own namespace. */
  parent: number;
  /** An open namespace into which it is put at once. */
  namespace: number;
  child: ChildKind;
  mtu?: number;
}

const create = (label: string, ...parts: Buffer[]): NetlinkMessage =>
  message(label, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, linkHeader(), ...parts);

/** A macvlan or ipvlan link, down, born inside its namespace under its final name. */
export function addChild({ name, parent, namespace, child, mtu }: ChildOptions): NetlinkMessage {
  const data =
    child.kind === "macvlan"
      ? [u32(IFLA_MACVLAN_MODE, macvlanModes[child.mode])]
      : [u16(IFLA_IPVLAN_MODE, ipvlanModes[child.mode]), u16(IFLA_IPVLAN_FLAGS, ipvlanFlags[child.flag])];
  return create(
    `add ${child.kind} ${name}`,
    text(IFLA.IFNAME, name),
    u32(IFLA.LINK, parent),
    u32(IFLA.NET_NS_FD, namespace),
    ...(child.kind === "macvlan" ? [attribute(IFLA.ADDRESS, child.mac)] : []),
    ...(mtu === undefined ? [] : [u32(IFLA.MTU, mtu)]),
    nested(IFLA.LINKINFO, text(IFLA.INFO_KIND, child.kind), nested(IFLA.INFO_DATA, ...data)),
  );
}

/** A sub-interface that carries the frames of one VLAN. */
export function addVlan(name: string, parent: number, id: number): NetlinkMessage {
  const info = nested(IFLA.LINKINFO, text(IFLA.INFO_KIND, "vlan"), nested(IFLA.INFO_DATA, u16(IFLA_VLAN_ID, id)));
  return create(`add vlan ${name}`, text(IFLA.IFNAME, name), u32(IFLA.LINK, parent), info);
}

/** A link that leads nowhere. */
export function addDummy(name: string): NetlinkMessage {
  return create(`add dummy ${name}`, text(IFLA.IFNAME, name), nested(IFLA.LINKINFO, text(IFLA.INFO_KIND, "dummy")));
}

/** Puts a link into another namespace, down and under another name. */
export function moveLink(index: number, name: string, namespace: number): NetlinkMessage {
  const header = linkHeader({ index, flags: 0, change: IFF_UP });
  return message(`move link ${index} as ${name}`, RTM_SETLINK, NLM_F_ACK, header, text(IFLA.IFNAME, name), u32(IFLA.NET_NS_FD, namespace));
}

export function setMac(index: number, mac: Uint8Array): NetlinkMessage {
  return message(`set the MAC of link ${index}`, RTM_SETLINK, NLM_F_ACK, linkHeader({ index }), attribute(IFLA.ADDRESS, mac));
}

/** A note on a link, shown by `ip link` as its alias. */
export function setAlias(name: string, alias: string): NetlinkMessage {
  return message(`note on ${name}`, RTM_NEWLINK, NLM_F_ACK, linkHeader(), text(IFLA.IFNAME, name), text(IFLA.IFALIAS, alias));
}

/**
 * Whether the kernel can make links of a kind. It is asked for one that no kind takes (an address of one byte, no parent): a kind that it doesn't have, and finds
 * no module for, is EOPNOTSUPP. It may run modprobe, so ask in a Worker. @throws SysError where it is something else than a refusal (EPERM)
 */
export function knowsLinkKind(socket: NetlinkSocket, kind: string): boolean {
  try {
    socket.request(create(`look for ${kind}`, attribute(IFLA.ADDRESS, Uint8Array.of(0)), nested(IFLA.LINKINFO, text(IFLA.INFO_KIND, kind))));
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "EPERM") throw error;
    return code !== "ENOTSUP" && code !== "EOPNOTSUPP";
  }
  return true;
}
