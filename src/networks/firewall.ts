import { readFileSync } from "node:fs";
import { messageOf, notImplemented } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { FlowFilter } from "../kernel/netlink-conntrack.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../kernel/netlink.ts";
import { addElements, batch, concatenation, deleteElements } from "../kernel/nftables-batch.ts";
import { type Nftables, openNftables } from "../kernel/nftables.ts";
import { AF_INET, AF_INET6 } from "../kernel/socket.ts";
import { type Address, bytesOf, formatAddress, formatSubnet, type Subnet } from "../lib/address.ts";
import type { Chores } from "./chores.ts";
import { acceptMarked, type ForwardPolicy, removeMarked, warnOfLegacy } from "./forward-policy.ts";
import type { GuardLoop } from "./guard-loop.ts";
import { type DroppingChain, droppingChains } from "./foreign-chains.ts";
import type { RuleTable } from "./compare-rules.ts";
import { guardBridgeCommands, guardTable, guardElements, type PortElement, guardRemoval, guardRuleset, protocols } from "./guard-rules.ts";
import { type RuleWatch, watchRules } from "./rule-watch.ts";

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
  /** 0: no port of the host's, but the container's own address is opened for those whom the network lets in. */
  hostPort: number;
  /** Of the same family as `hostIp`. */
  containerIp: Address;
  containerPort: number;
}

/** Our table: state is recorded at any time and put into the kernel by `load` in one transaction; later changes go in at once. */
export interface Firewall extends Disposable {
  /** False with `--iptables=false` or where nftables is unusable: then ports are served by proxies and nothing masquerades. */
  readonly active: boolean;
  addNetwork(id: string, rules: BridgeRules): void;
  removeNetwork(id: string): void;
  /** The rules are there on return; old UDP flows of the ports are forgotten within some 10 ms, in a Worker. */
  addPorts(rules: readonly PortRule[]): void;
  removePorts(rules: readonly PortRule[]): void;
  /** Bridges that the table named before the first `load`: a former engine's. */
  readonly formerBridges: readonly string[];
  /** Replaces what the kernel has with what is recorded. */
  load(): void;
  /** Looks whether somebody flushed our table (a restart of nftables.service does) or set up a FORWARD policy since, and mends it. Half a millisecond. */
  check(): void;
  /** What differs between the kernel's rules and the recorded ones, line by line. In a Worker. */
  compare(): Promise<string[]>;
  /** Others' chains that drop what our own has allowed. */
  droppingChains(): DroppingChain[];
  /** Takes the table out, and the accept rule in others' FORWARD chains when no other engine is left. */
  unload(): void;
}

/** `bridge-nf-call-iptables`: bridged packets pass the forward chain. Decides how `icc=false` is done. */
export function bridgeNetfilter(): boolean {
  try {
    return readFileSync("/proc/sys/net/bridge/bridge-nf-call-iptables", "utf8").trim() === "1";
  } catch {
    return false; // no such file: br_netfilter isn't loaded
  }
}

const port = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff);

/** Which set or map an element belongs to, and its bytes. */
function portElement(rule: PortRule): PortElement {
  const proto = Uint8Array.of(protocols[rule.proto]);
  const { family } = rule.containerIp;
  const container = bytesOf(rule.containerIp);
  if (rule.hostPort === 0) return { family: "inet", set: `d${family}`, element: { key: concatenation(container, proto, port(rule.containerPort)) } };
  const anywhere = rule.hostIp.value === 0n;
  const key = anywhere ? concatenation(proto, port(rule.hostPort)) : concatenation(bytesOf(rule.hostIp), proto, port(rule.hostPort));
  return { family: "inet", set: `p${family}${anywhere ? "" : "a"}`, element: { key, value: concatenation(container, port(rule.containerPort)) } };
}

/** The same as text, for the base ruleset. */
function portText(rule: PortRule): Element {
  const { family } = rule.containerIp;
  const container = formatAddress(rule.containerIp);
  if (rule.hostPort === 0) return [`d${family}`, `${container} . ${rule.proto} . ${rule.containerPort}`];
  const anywhere = rule.hostIp.value === 0n;
  const where = anywhere ? "" : `${formatAddress(rule.hostIp)} . `;
  return [`p${family}${anywhere ? "" : "a"}`, `${where}${rule.proto} . ${rule.hostPort} : ${container} . ${rule.containerPort}`];
}

const FORGET_AFTER_MS = 100;

/** Flows to the host's UDP ports: those that are led to the container, or elsewhere. */
const udpFlows = (rules: readonly PortRule[], led: "here" | "elsewhere"): FlowFilter[] =>
  rules
    .filter((rule) => rule.proto === "udp")
    .map((rule) => ({
      family: rule.hostIp.family === 4 ? AF_INET : AF_INET6,
      protocol: protocols.udp,
      port: rule.hostPort,
      led,
      container: bytesOf(rule.containerIp),
    }));

const ruleKey = ({ proto, hostIp, hostPort, containerIp, containerPort }: PortRule): string =>
  hostPort === 0 ? `${proto} ${formatAddress(containerIp)} ${containerPort} direct` : `${proto} ${formatAddress(hostIp)} ${hostPort}`;

/** The sets and maps of the table with their types; `flags interval` where an element is a subnet. */
const sets: readonly [name: string, kind: "set" | "map", type: string, interval?: "interval"][] = [
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
];

/** An element of a set, or of a map (`key : value`), as nft writes it. */
type Element = [set: string, element: string];

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

/** The whole table: test/kernel/network.test.ts has the traffic that must pass, and the attacks that must not. */
export function ruleset(table: string, networks: Iterable<BridgeRules>, ports: Iterable<PortRule>, { acceptMark, ip6tables }: EngineRules): string {
  const elements = Map.groupBy([...[...networks].flatMap(networkElements), ...[...ports].map(portText)], ([set]) => set);
  const declarations = sets.map(([name, kind, type, interval]) => {
    const filled = elements.get(name)?.map(([, element]) => element) ?? [];
    const flags = interval === undefined ? "" : `    flags ${interval}\n`;
    return `  ${kind} ${name} {\n    type ${type}\n${flags}${filled.length > 0 ? `    elements = { ${filled.join(", ")} }\n` : ""}  }\n`;
  });
  const [mark, mask] = acceptMark.split("/");
  const accepted = acceptMark === "" ? "" : `    meta mark ${mask === undefined ? "" : `and ${Number(mask)} == `}${Number(mark)} jump allow\n`;
  const text = `add table inet ${table}
delete table inet ${table}
table inet ${table} {
${declarations.join("")}
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
  chain post {
    type nat hook postrouting priority srcnat
    ip saddr 127.0.0.0/8 oifname @br masquerade
    oifname != @br snat ip to ip saddr map @snat4
    oifname != @br snat ip6 to ip6 saddr map @snat6
    ip saddr @masq4 oifname != @br masquerade
    ip6 saddr @masq6 oifname != @br masquerade
    ip saddr @own4 oifname @br ct status dnat masquerade
    ip6 saddr @own6 oifname @br ct status dnat masquerade
  }
  chain allow {
    meta mark set meta mark or 0x00e00000 accept
  }
  chain enter {
${accepted}    meta nfproto . oifname @entry jump allow
    meta nfproto . oifname @pings meta l4proto { ${PINGS} } jump allow
    meta nfproto . oifname @direct jump opened
    iifname . oifname @trusted jump opened
    drop
  }
  chain opened {
    ip daddr . meta l4proto . th dport @d4 jump allow
    ip6 daddr . meta l4proto . th dport @d6 jump allow
  }
  chain forward {
    type filter hook forward priority filter - 1
    iifname != @br oifname != @br accept
    ct state established,related jump allow
    iifname . oifname @icc jump allow
    oifname @br ct status dnat iifname != @brint jump allow
    oifname @brint drop
    iifname @brint drop
    iifname . oifname @noicc drop
    oifname @br jump enter
    iifname @br jump allow
  }
}
`;
  return ip6tables ? text : text.replaceAll(/(type \w+ hook [^\n]*\n)/g, "$1    meta nfproto ipv6 accept\n");
}

/** Commands that add or delete a network's elements. */
const networkCommands = (verb: "add" | "delete", table: string, n: BridgeRules): string =>
  networkElements(n)
    // an element of a map is deleted by its key
    .map(([set, element]) => `${verb} element inet ${table} ${set} { ${verb === "delete" && set.startsWith("snat") ? element.split(" : ")[0] : element} }\n`)
    .join("");

/** Opens libnftables and the raw socket; undefined, after a clear line in the log, where that can't be. */
function openTools(enabled: boolean, log: Logger): { nft: Nftables; socket: NetlinkSocket } | undefined {
  if (!enabled) return undefined;
  let nft: Nftables | undefined;
  try {
    nft = openNftables();
    nft.run("list tables\n");
    return { nft, socket: NetlinkSocket.open(NETLINK_NETFILTER) };
  } catch (error) {
    nft?.[Symbol.dispose]();
    log.error("nftables can't be used: containers have no masquerading and no isolation between networks, published ports go through a proxy", {
      error: messageOf(error),
      hint: "install libnftables1 (Debian) and check that the kernel has nf_tables",
    });
    return undefined;
  }
}

/** `table` with its family. */
const hasTable = (nft: Nftables, table: string): boolean => nft.run("list tables\n").includes(`table ${table}\n`);

/** The bridges that a table in the kernel names. */
function bridgesOf(nft: Nftables, table: string): string[] {
  try {
    return [...nft.run(`list set inet ${table} br\n`).matchAll(/"([^"]+)"/g)].map((match) => match[1]!);
  } catch {
    return []; // no such table: the first engine here since boot
  }
}

export interface FirewallOptions extends EngineRules {
  enabled: boolean;
  engineKey: string;
  /** From outside, published ports are reached only where the host's own INPUT rules let their packets in (docs/firewall.md). */
  guard: boolean;
  loop: GuardLoop;
  chores: Chores;
  log: Logger;
}

export function createFirewall(options: FirewallOptions): Firewall {
  const { log, chores, loop, guard } = options;
  const table = `berth_${options.engineKey}`;
  const tools = openTools(options.enabled, log);
  const networks = new Map<string, BridgeRules>();
  const ports = new Map<string, PortRule>();
  let loaded = false;
  let policies: ForwardPolicy[] = [];
  let former: string[] = [];
  let watch: RuleWatch | undefined;

  /** An opened address of a container is no port of the host's. */
  const isGuarded = ({ hostPort }: PortRule): boolean => guard && hostPort !== 0;

  const load = (): void => {
    if (tools === undefined) return;
    const plain = [...ports.values()].filter((rule) => !isGuarded(rule));
    tools.nft.run(ruleset(table, networks.values(), plain, options));
    if (guard) loadGuard(tools.nft);
    loaded = true;
    accept(tools.nft);
  };

  const accept = (nft: Nftables): void => {
    policies = acceptMarked(nft, log, guard ? ["FORWARD", "OUTPUT"] : ["FORWARD"]);
  };

  /** Our tables as they should be, each under a name for comparison. */
  const expected = (): RuleTable[] => {
    const copy = `berth_compare_${options.engineKey}`;
    const all = [...ports.values()];
    const own = {
      table: `inet ${table}`,
      family: "inet",
      copy,
      ruleset: ruleset(
        copy,
        networks.values(),
        all.filter((rule) => !isGuarded(rule)),
        options,
      ),
    };
    if (!guard) return [own];
    const bridges = [...networks.values()].map(({ bridge }) => bridge);
    const guarded = ([4, 6] as const).map((family) => {
      const ip = family === 4 ? "ip" : "ip6";
      return { table: `${ip} ${table}`, family: ip, copy, ruleset: guardTable(copy, family, bridges, all.filter(isGuarded), loop) };
    });
    return [own, ...guarded];
  };

  const loadGuard = (nft: Nftables): void => {
    const bridges = [...networks.values()].map(({ bridge }) => bridge);
    try {
      loop.setUp();
      nft.run(guardRuleset(table, bridges, [...ports.values()].filter(isGuarded), loop));
    } catch (error) {
      throw notImplemented(`--publish-mode firewall can't be had here (it needs nft_dup_ipv4 and policy routing in the kernel): ${messageOf(error)}`, error);
    }
  };

  /** What a former engine with another publish mode left. */
  const removeGuard = (nft: Nftables): void => {
    nft.run(guardRemoval(table));
    loop.tearDown();
  };

  /** As `load`, and from then on whatever others do to it is mended. */
  const loadFirst = (nft: Nftables, socket: NetlinkSocket): void => {
    former = bridgesOf(nft, table);
    warnOfLegacy(log);
    watch = watchRules({ table, log, onDamage: load, onFilter: () => accept(nft) });
    if (!guard && hasTable(nft, `ip ${table}`)) removeGuard(nft);
    load();
    watch.start(socket.port);
  };

  /** Makes a change; where the table is gone it is made anew from the records, which know of the change already. */
  const orReload = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      if (tools === undefined) throw error;
      log.warn("somebody changed our nftables rules: they are loaded again", { table, error: messageOf(error) });
      load();
    }
  };

  const commands = (verb: "add" | "delete", rules: BridgeRules): string =>
    networkCommands(verb, table, rules) + (guard ? guardBridgeCommands(verb, table, rules.bridge) : "");

  const change = (verb: typeof addElements, rules: readonly PortRule[]): void => {
    if (tools === undefined || !loaded || rules.length === 0) return;
    const elements = rules.flatMap((rule) => (isGuarded(rule) ? guardElements(rule) : portElement(rule)));
    const bySet = Map.groupBy(elements, ({ family, set }) => `${family} ${set}`);
    tools.socket.batch(
      batch(
        [...bySet.values()].flatMap((entries) => {
          const { family, set } = entries[0]!;
          return verb(
            { table, family, set },
            entries.map(({ element }) => element),
          );
        }),
      ),
    );
  };

  /** UDP clients keep a flow for ever, and conntrack keeps it where it went first. */
  const forgetFlows = async (filters: FlowFilter[]): Promise<void> => {
    if (tools === undefined || !loaded || filters.length === 0) return;
    try {
      await chores.deleteFlows(filters);
    } catch (error) {
      log.warn("could not forget old UDP flows of published ports", { error: messageOf(error) });
    }
  };

  // A walk through the flows keeps RCU readers busy, and with them umount(2) of the released namespaces on the main thread: so a little later, all in one.
  const departed: FlowFilter[] = [];
  let later: ReturnType<typeof setTimeout> | undefined;
  const forgetLater = (filters: FlowFilter[]): void => {
    if (filters.length === 0) return;
    departed.push(...filters);
    later ??= setTimeout(() => {
      later = undefined;
      void forgetFlows(departed.splice(0));
    }, FORGET_AFTER_MS);
    later.unref();
  };

  return {
    active: tools !== undefined,
    get formerBridges() {
      return former;
    },
    addNetwork(id, rules) {
      networks.set(id, rules);
      if (tools !== undefined && loaded) orReload(() => tools.nft.run(commands("add", rules)));
    },
    removeNetwork(id) {
      const rules = networks.get(id);
      networks.delete(id);
      if (rules !== undefined && tools !== undefined && loaded) orReload(() => tools.nft.run(commands("delete", rules)));
    },
    addPorts(rules) {
      for (const rule of rules) ports.set(ruleKey(rule), rule);
      orReload(() => change(addElements, rules));
      void forgetFlows(udpFlows(rules, "elsewhere"));
    },
    removePorts(rules) {
      const known = rules.filter((rule) => ports.delete(ruleKey(rule)));
      orReload(() => change(deleteElements, known));
      forgetLater(udpFlows(known, "here"));
    },
    load() {
      if (tools !== undefined && watch === undefined) loadFirst(tools.nft, tools.socket);
      else load();
    },
    check() {
      if (tools === undefined || !loaded) return;
      orReload(() => {
        if (!hasTable(tools.nft, `inet ${table}`)) throw new Error(`no table ${table}`);
        if (guard && !loop.isWhole()) throw new Error(`links ${loop.entry} and ${loop.exit} are down or gone`);
      });
      accept(tools.nft);
    },
    compare: async () => (tools === undefined || !loaded ? [] : await chores.compareRules(expected())),
    droppingChains: () => (tools === undefined ? [] : droppingChains(tools.nft, guard ? ["forward", "output"] : ["forward"], /^berth_/)),
    unload() {
      if (tools === undefined) return;
      loaded = false;
      watch?.[Symbol.dispose]();
      tools.nft.run(`add table inet ${table}\ndelete table inet ${table}\n`);
      if (guard) removeGuard(tools.nft);
      removeMarked(tools.nft, policies, log);
    },
    [Symbol.dispose]() {
      clearTimeout(later);
      watch?.[Symbol.dispose]();
      tools?.socket[Symbol.dispose]();
      tools?.nft[Symbol.dispose]();
    },
  };
}
