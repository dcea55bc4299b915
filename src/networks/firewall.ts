import { readFileSync } from "node:fs";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { FlowFilter } from "../kernel/netlink-conntrack.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../kernel/netlink.ts";
import { addElements, batch, concatenation, deleteElements, type MapElement } from "../kernel/nftables-batch.ts";
import { type Nftables, openNftables } from "../kernel/nftables.ts";
import { AF_INET, AF_INET6 } from "../kernel/socket.ts";
import { type Address, bytesOf, formatAddress, formatSubnet, type Subnet } from "../lib/address.ts";
import type { Chores } from "./chores.ts";
import { acceptMarked, type ForwardPolicy, removeMarked, warnOfLegacy } from "./forward-policy.ts";
import { type RuleWatch, watchRules } from "./rule-watch.ts";

/** What the rules must know of one bridge network. */
export interface BridgeRules {
  bridge: string;
  internal: boolean;
  /** Containers of the network may talk to each other. */
  icc: boolean;
  /** Subnets that leave the host under the host's address. */
  masquerade: readonly Subnet[];
}

/** Packets for `hostIp`:`hostPort` go to the container. */
export interface PortRule {
  proto: "tcp" | "udp" | "sctp";
  /** The unspecified address stands for every address of the host. */
  hostIp: Address;
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
  /** Takes the table out, and the accept rule in others' FORWARD chains when no other engine is left. */
  unload(): void;
}

const protocols = { tcp: 6, udp: 17, sctp: 132 } as const;

/** `bridge-nf-call-iptables`: bridged packets pass the forward chain. Decides how `icc=false` is done. */
export function bridgeNetfilter(): boolean {
  try {
    return readFileSync("/proc/sys/net/bridge/bridge-nf-call-iptables", "utf8").trim() === "1";
  } catch {
    return false; // no such file: br_netfilter isn't loaded
  }
}

const port = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff);

/** Which map an element belongs to, and its bytes. */
function mapElement(rule: PortRule): { map: string; element: Required<MapElement> } {
  const proto = Uint8Array.of(protocols[rule.proto]);
  const anywhere = rule.hostIp.value === 0n;
  const key = anywhere ? concatenation(proto, port(rule.hostPort)) : concatenation(bytesOf(rule.hostIp), proto, port(rule.hostPort));
  const value = concatenation(bytesOf(rule.containerIp), port(rule.containerPort));
  return { map: `p${rule.hostIp.family}${anywhere ? "" : "a"}`, element: { key, value } };
}

/** The same as text, for the base ruleset. */
function elementText(rule: PortRule): string {
  const where = rule.hostIp.value === 0n ? "" : `${formatAddress(rule.hostIp)} . `;
  return `${where}${rule.proto} . ${rule.hostPort} : ${formatAddress(rule.containerIp)} . ${rule.containerPort}`;
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

const ruleKey = (rule: PortRule): string => `${rule.proto} ${formatAddress(rule.hostIp)} ${rule.hostPort}`;
const quoted = (name: string): string => `"${name}"`;

const filled = (kind: string, name: string, type: string, elements: readonly string[]): string =>
  `  ${kind} ${name} {\n    type ${type}\n${type === "ipv4_addr" || type === "ipv6_addr" ? "    flags interval\n" : ""}${
    elements.length > 0 ? `    elements = { ${elements.join(", ")} }\n` : ""
  }  }\n`;

/** The whole table: test/kernel/network.test.ts has the traffic that must pass, and the attacks that must not. */
export function ruleset(table: string, networks: Iterable<BridgeRules>, ports: Iterable<PortRule>): string {
  const all = [...networks];
  const rules = [...ports];
  const masquerade = (family: 4 | 6): string[] => all.flatMap((n) => n.masquerade.filter((s) => s.family === family).map(formatSubnet));
  const elements = (family: 4 | 6, anywhere: boolean): string[] =>
    rules.filter((r) => r.hostIp.family === family && (r.hostIp.value === 0n) === anywhere).map(elementText);
  return `add table inet ${table}
delete table inet ${table}
table inet ${table} {
${filled(
  "set",
  "br",
  "ifname",
  all.map((n) => quoted(n.bridge)),
)}${filled(
    "set",
    "brint",
    "ifname",
    all.filter((n) => n.internal).map((n) => quoted(n.bridge)),
  )}${filled(
    "set",
    "icc",
    "ifname . ifname",
    all.filter((n) => n.icc).map((n) => `${quoted(n.bridge)} . ${quoted(n.bridge)}`),
  )}${filled("set", "masq4", "ipv4_addr", masquerade(4))}${filled("set", "masq6", "ipv6_addr", masquerade(6))}${filled(
    "map",
    "p4",
    "inet_proto . inet_service : ipv4_addr . inet_service",
    elements(4, true),
  )}${filled("map", "p4a", "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service", elements(4, false))}${filled(
    "map",
    "p6",
    "inet_proto . inet_service : ipv6_addr . inet_service",
    elements(6, true),
  )}${filled("map", "p6a", "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service", elements(6, false))}
  chain raw {
    type filter hook prerouting priority raw
    iifname @br ip daddr 127.0.0.0/8 drop
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
    ip saddr @masq4 oifname != @br masquerade
    ip6 saddr @masq6 oifname != @br masquerade
    ip saddr @masq4 oifname @br ct status dnat masquerade
    ip6 saddr @masq6 oifname @br ct status dnat masquerade
  }
  chain allow {
    meta mark set meta mark or 0x00e00000 accept
  }
  chain forward {
    type filter hook forward priority filter - 1
    iifname != @br oifname != @br accept
    ct state established,related jump allow
    iifname . oifname @icc jump allow
    oifname @br ct status dnat iifname != @brint jump allow
    oifname @br drop
    iifname @brint drop
    iifname @br jump allow
  }
}
`;
}

/** Commands that add or delete a network's elements. */
function networkCommands(verb: "add" | "delete", table: string, n: BridgeRules): string {
  const name = quoted(n.bridge);
  const lines = [`${verb} element inet ${table} br { ${name} }`];
  if (n.internal) lines.push(`${verb} element inet ${table} brint { ${name} }`);
  if (n.icc) lines.push(`${verb} element inet ${table} icc { ${name} . ${name} }`);
  for (const subnet of n.masquerade) lines.push(`${verb} element inet ${table} masq${subnet.family} { ${formatSubnet(subnet)} }`);
  return `${lines.join("\n")}\n`;
}

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

const hasTable = (nft: Nftables, table: string): boolean => nft.run("list tables inet\n").includes(`table inet ${table}\n`);

/** The bridges that a table in the kernel names. */
function bridgesOf(nft: Nftables, table: string): string[] {
  try {
    return [...nft.run(`list set inet ${table} br\n`).matchAll(/"([^"]+)"/g)].map((match) => match[1]!);
  } catch {
    return []; // no such table: the first engine here since boot
  }
}

export function createFirewall(options: { enabled: boolean; engineKey: string; chores: Chores; log: Logger }): Firewall {
  const { log, chores } = options;
  const table = `berth_${options.engineKey}`;
  const tools = openTools(options.enabled, log);
  const networks = new Map<string, BridgeRules>();
  const ports = new Map<string, PortRule>();
  let loaded = false;
  let policies: ForwardPolicy[] = [];
  let former: string[] = [];
  let watch: RuleWatch | undefined;

  const load = (): void => {
    if (tools === undefined) return;
    tools.nft.run(ruleset(table, networks.values(), ports.values()));
    loaded = true;
    policies = acceptMarked(tools.nft, log);
  };

  /** As `load`, and from then on whatever others do to it is mended. */
  const loadFirst = (nft: Nftables, socket: NetlinkSocket): void => {
    former = bridgesOf(nft, table);
    warnOfLegacy(log);
    watch = watchRules({ table, log, onDamage: load, onFilter: () => (policies = acceptMarked(nft, log)) });
    load();
    watch.start(socket.port);
  };

  /** Makes a change; where the table is gone it is made anew from the records, which know of the change already. */
  const orReload = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      if (tools === undefined || hasTable(tools.nft, table)) throw error;
      log.warn("somebody removed our nftables table: it is loaded again", { table });
      load();
    }
  };

  const change = (verb: typeof addElements, rules: readonly PortRule[]): void => {
    if (tools === undefined || !loaded || rules.length === 0) return;
    const byMap = Map.groupBy(rules.map(mapElement), (entry) => entry.map);
    tools.socket.batch(
      batch(
        [...byMap].flatMap(([map, entries]) =>
          verb(
            table,
            map,
            entries.map((entry) => entry.element),
          ),
        ),
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
      if (tools !== undefined && loaded) orReload(() => tools.nft.run(networkCommands("add", table, rules)));
    },
    removeNetwork(id) {
      const rules = networks.get(id);
      networks.delete(id);
      if (rules !== undefined && tools !== undefined && loaded) orReload(() => tools.nft.run(networkCommands("delete", table, rules)));
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
        if (!hasTable(tools.nft, table)) throw new Error(`no table ${table}`);
      });
      policies = acceptMarked(tools.nft, log);
    },
    unload() {
      if (tools === undefined) return;
      loaded = false;
      watch?.[Symbol.dispose]();
      tools.nft.run(`add table inet ${table}\ndelete table inet ${table}\n`);
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
