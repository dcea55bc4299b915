import { concatenation, type MapElement, type Target } from "../kernel/nftables-batch.ts";
import { type Address, bytesOf, formatAddress, formatSubnet, type Subnet } from "../lib/address.ts";

/** IP protocol numbers. */
export const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;

/** What stands for a published port in a set or map. */
export interface PortElement {
  family: Target["family"];
  set: string;
  element: MapElement;
}

/** As it stands in packets. */
const port = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff);

/** Written out at each place: as a chain of its own, it cost containers some 5 % of their connections a second (a jump for each packet). */
const ALLOW = "meta mark set meta mark or 0x00e00000 accept";

/** ICMP and ICMPv6, by number: a host without /etc/protocols knows no names. */
const PINGS = "1, 58";

/** What the rules must know of one address family of a bridge network. */
export interface FamilyRules {
  subnets: readonly Subnet[];
  /** What its containers send out of the host leaves under the host's address. */
  masquerade: boolean;
  /** That address; undefined: the one of the outgoing link. */
  hostAddress?: Address;
  /** Which of its containers' own addresses are reached from outside: none, those of published ports (`PortRule.hostPort` 0), or all. */
  entry: "none" | "published" | "all";
  /** Pings are let in. */
  icmp: boolean;
}

/** What the rules must know of one bridge network. */
export interface BridgeRules {
  bridge: string;
  internal: boolean;
  /** Containers of the network may talk to each other. */
  icc: boolean;
  /** Links of the host from which published ports are reached under the containers' own addresses. */
  trusted: readonly string[];
  families: { 4: FamilyRules; 6: FamilyRules };
}

/** Packets for `hostIp`:`hostPort` go to the container. */
export interface PortRule {
  proto: "tcp" | "udp" | "sctp";
  /** The unspecified address stands for every address of the host. */
  hostIp: Address;
  /** 0: no port of the host's, but the container's own address is opened for those whom the network lets in, or for `from`. */
  hostPort: number;
  /** Another container of the same network, whose containers are otherwise kept apart. */
  from?: Address;
  /** Of the same family as `hostIp`. */
  containerIp: Address;
  containerPort: number;
}

/** A port of the host's and where it leads, as they stand in packets. Ports on one of the host's addresses are in sets of their own, whose names end in `suffix`. */
export function leadBytes({ proto, hostIp, hostPort, containerIp, containerPort }: PortRule): { suffix: "" | "a"; key: Uint8Array; value: Uint8Array } {
  const anywhere = hostIp.value === 0n;
  const own = [Uint8Array.of(protocols[proto]), port(hostPort)];
  return {
    suffix: anywhere ? "" : "a",
    key: concatenation(...(anywhere ? own : [bytesOf(hostIp), ...own])),
    value: concatenation(bytesOf(containerIp), port(containerPort)),
  };
}

/** The same as nft writes it. */
export function leadText({ proto, hostIp, hostPort, containerIp, containerPort }: PortRule): { suffix: "" | "a"; key: string; value: string } {
  const anywhere = hostIp.value === 0n;
  return {
    suffix: anywhere ? "" : "a",
    key: `${anywhere ? "" : `${formatAddress(hostIp)} . `}${proto} . ${hostPort}`,
    value: `${formatAddress(containerIp)} . ${containerPort}`,
  };
}

/** Which set or map an element belongs to, and its bytes. */
export function portElement(rule: PortRule): PortElement {
  const { family } = rule.containerIp;
  if (rule.hostPort === 0) {
    const own = [bytesOf(rule.containerIp), Uint8Array.of(protocols[rule.proto]), port(rule.containerPort)];
    if (rule.from !== undefined) return { family: "inet", set: `link${family}`, element: { key: concatenation(bytesOf(rule.from), ...own) } };
    return { family: "inet", set: `d${family}`, element: { key: concatenation(...own) } };
  }
  const { suffix, key, value } = leadBytes(rule);
  return { family: "inet", set: `p${family}${suffix}`, element: { key, value } };
}

/** The same as text, for the base ruleset. */
function portText(rule: PortRule): Element {
  const { family } = rule.containerIp;
  if (rule.hostPort === 0) {
    const own = `${formatAddress(rule.containerIp)} . ${rule.proto} . ${rule.containerPort}`;
    return rule.from === undefined ? [`d${family}`, own] : [`link${family}`, `${formatAddress(rule.from)} . ${own}`];
  }
  const { suffix, key, value } = leadText(rule);
  return [`p${family}${suffix}`, `${key} : ${value}`];
}

/** A set or map with the type of its elements; `flags interval` where an element is a subnet. */
type SetDeclaration = readonly [name: string, kind: "set" | "map", type: string, interval?: "interval"];

const sets: readonly SetDeclaration[] = [
  ["br", "set", "ifname"],
  ["brint", "set", "ifname"],
  ["icc", "set", "ifname . ifname"],
  ["noicc", "set", "ifname . ifname"],
  ["trusted", "set", "ifname . ifname"],
  ["entry", "set", "nf_proto . ifname"],
  ["direct", "set", "nf_proto . ifname"],
  ["pings", "set", "nf_proto . ifname"],
  ["masq4", "set", "ipv4_addr", "interval"],
  ["masq6", "set", "ipv6_addr", "interval"],
  ["snat4", "map", "ipv4_addr : ipv4_addr", "interval"],
  ["snat6", "map", "ipv6_addr : ipv6_addr", "interval"],
  ["own4", "set", "ipv4_addr", "interval"],
  ["own6", "set", "ipv6_addr", "interval"],
  ["p4", "map", "inet_proto . inet_service : ipv4_addr . inet_service"],
  ["p4a", "map", "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service"],
  ["p6", "map", "inet_proto . inet_service : ipv6_addr . inet_service"],
  ["p6a", "map", "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service"],
  ["d4", "set", "ipv4_addr . inet_proto . inet_service"],
  ["d6", "set", "ipv6_addr . inet_proto . inet_service"],
  ["link4", "set", "ipv4_addr . ipv4_addr . inet_proto . inet_service"],
  ["link6", "set", "ipv6_addr . ipv6_addr . inet_proto . inet_service"],
];

/** An element of a set, or of a map (`key : value`), as nft writes it. */
export type Element = [set: string, element: string];

/** Declares sets and maps, with what is in them from the start. */
export function declareSets(declarations: readonly SetDeclaration[], elements: readonly Element[]): string {
  const bySet = Map.groupBy(elements, ([set]) => set);
  return declarations
    .map(([name, kind, type, interval]) => {
      const filled = bySet.get(name)?.map(([, element]) => element) ?? [];
      const flags = interval === undefined ? "" : `    flags ${interval}\n`;
      return `  ${kind} ${name} {\n    type ${type}\n${flags}${filled.length > 0 ? `    elements = { ${filled.join(", ")} }\n` : ""}  }\n`;
    })
    .join("");
}

/** What one network puts into which set. */
function networkElements(n: BridgeRules): Element[] {
  const name = `"${n.bridge}"`;
  const list: Element[] = [
    ["br", name],
    [n.icc ? "icc" : "noicc", `${name} . ${name}`],
  ];
  if (n.internal) return [...list, ["brint", name]];
  for (const link of n.trusted) list.push(["trusted", `"${link}" . ${name}`]);
  for (const family of [4, 6] as const) {
    const { subnets, masquerade, hostAddress, entry, icmp } = n.families[family];
    const here = `ipv${family} . ${name}`;
    if (entry !== "none") list.push([entry === "all" ? "entry" : "direct", here]);
    if (icmp) list.push(["pings", here]);
    for (const subnet of subnets.map(formatSubnet)) {
      list.push([`own${family}`, subnet]);
      if (masquerade) list.push([`masq${family}`, subnet]);
      if (masquerade && hostAddress !== undefined) list.push([`snat${family}`, `${subnet} : ${formatAddress(hostAddress)}`]);
    }
  }
  return list;
}

/** What holds for all networks. */
export interface EngineRules {
  /** `MARK` or `MARK/MASK`, already checked: packets that bear it reach containers on any network but internal ones. Empty: none. */
  acceptMark: string;
  /** Whether the rules concern IPv6 at all. */
  ip6tables: boolean;
}

/**
 * The whole table. A packet between two containers of a network meets few rules, all of them cheap. test/kernel/network.test.ts has the traffic that must pass, and
 * the attacks that must not.
 */
export function ruleset(table: string, networks: Iterable<BridgeRules>, ports: Iterable<PortRule>, { acceptMark, ip6tables }: EngineRules): string {
  const declarations = declareSets(sets, [...[...networks].flatMap(networkElements), ...[...ports].map(portText)]);
  const [mark, mask] = acceptMark.split("/");
  const accepted = acceptMark === "" ? "" : `    meta mark ${mask === undefined ? "" : `and ${Number(mask)} == `}${Number(mark)} ${ALLOW}\n`;
  const text = `add table inet ${table}
delete table inet ${table}
table inet ${table} {
${declarations}
  chain raw {
    type filter hook prerouting priority raw
    ip daddr 127.0.0.0/8 iifname @br drop
  }
  chain publish {
    dnat ip to ip daddr . meta l4proto . th dport map @p4a
    dnat ip to meta l4proto . th dport map @p4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @p6a
    dnat ip6 to meta l4proto . th dport map @p6
  }
  chain pre {
    type nat hook prerouting priority dstnat
    fib daddr type local jump publish
  }
  chain out {
    type nat hook output priority -100
    ip6 daddr ::1 return
    fib daddr type local jump publish
  }
  chain inward {
    ip saddr 127.0.0.0/8 masquerade
    ct status and dnat == 0 return
    ip saddr @own4 masquerade
    ip6 saddr @own6 masquerade
  }
  chain post {
    type nat hook postrouting priority srcnat
    oifname @br goto inward
    snat ip to ip saddr map @snat4
    snat ip6 to ip6 saddr map @snat6
    ip saddr @masq4 masquerade
    ip6 saddr @masq6 masquerade
  }
  chain enter {
${accepted}    meta nfproto . oifname @entry ${ALLOW}
    meta nfproto . oifname @pings meta l4proto { ${PINGS} } ${ALLOW}
    meta nfproto . oifname @direct jump opened
    iifname . oifname @trusted jump opened
    drop
  }
  chain opened {
    ip daddr . meta l4proto . th dport @d4 ${ALLOW}
    ip6 daddr . meta l4proto . th dport @d6 ${ALLOW}
  }
  chain linked {
    ip saddr . ip daddr . meta l4proto . th dport @link4 ${ALLOW}
    ip6 saddr . ip6 daddr . meta l4proto . th dport @link6 ${ALLOW}
    drop
  }
  chain forward {
    type filter hook forward priority filter - 1
    iifname != @br oifname != @br accept
    ct state established,related ${ALLOW}
    iifname . oifname @icc ${ALLOW}
    oifname @br ct status dnat iifname != @brint ${ALLOW}
    oifname @brint drop
    iifname @brint drop
    iifname . oifname @noicc jump linked
    oifname @br jump enter
    iifname @br ${ALLOW}
  }
}
`;
  return ip6tables ? text : text.replaceAll(/(type \w+ hook [^\n]*\n)/g, "$1    meta nfproto ipv6 accept\n");
}

/** Commands that add or delete a network's elements. */
export const networkCommands = (verb: "add" | "delete", table: string, n: BridgeRules): string =>
  networkElements(n)
    // an element of a map is deleted by its key
    .map(([set, element]) => `${verb} element inet ${table} ${set} { ${verb === "delete" && set.startsWith("snat") ? element.split(" : ")[0] : element} }\n`)
    .join("");
