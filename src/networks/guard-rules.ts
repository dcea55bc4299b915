import { concatenation } from "../kernel/nftables-batch.ts";
import { bytesOf, formatAddress } from "../lib/address.ts";
import { port, type PortElement, type PortRule, protocols } from "./ruleset.ts";
import { type GuardLoop, LOOP_MARK, loopGateway } from "./guard-loop.ts";

/**
 * Rules for published ports whose packets pass the host's own INPUT rules first (docs/adr/0012). They lie in tables of families ip and ip6, since
 * inet tables have no `dup`: `s` holds the ports that are published, `p` where they lead; with `a` they are for one address of the host.
 */
export function guardElements(rule: PortRule): PortElement[] {
  const { family } = rule.hostIp;
  const own = [Uint8Array.of(protocols[rule.proto]), port(rule.hostPort)];
  const anywhere = rule.hostIp.value === 0n;
  const key = concatenation(...(anywhere ? own : [bytesOf(rule.hostIp), ...own]));
  const suffix = anywhere ? "" : "a";
  return [
    { family, set: `p${suffix}`, element: { key, value: concatenation(bytesOf(rule.containerIp), port(rule.containerPort)) } },
    { family, set: `s${suffix}`, element: { key } },
  ];
}

/** One family's table, as nft commands that replace what is there. */
export function guardTable(name: string, family: 4 | 6, bridges: readonly string[], rules: readonly PortRule[], loop: GuardLoop): string {
  const ip = family === 4 ? "ip" : "ip6";
  const address = `ipv${family}_addr`;
  const filled = (kind: string, set: string, type: string, elements: readonly string[]): string =>
    `  ${kind} ${set} {\n    type ${type}\n${elements.length > 0 ? `    elements = { ${elements.join(", ")} }\n` : ""}  }\n`;
  const of = (anywhere: boolean): { keys: string[]; entries: string[] } => {
    const mine = rules.filter(({ hostIp }) => hostIp.family === family && (hostIp.value === 0n) === anywhere);
    const keys = mine.map((rule) => `${anywhere ? "" : `${formatAddress(rule.hostIp)} . `}${rule.proto} . ${rule.hostPort}`);
    return { keys, entries: mine.map((rule, i) => `${keys[i]} : ${formatAddress(rule.containerIp)} . ${rule.containerPort}`) };
  };
  const [everywhere, one] = [of(true), of(false)];
  const quoted = bridges.map((bridge) => `"${bridge}"`);
  return `add table ${ip} ${name}
delete table ${ip} ${name}
table ${ip} ${name} {
${filled("set", "br", "ifname", quoted)}${filled("set", "s", "inet_proto . inet_service", everywhere.keys)}${filled(
    "set",
    "sa",
    `${address} . inet_proto . inet_service`,
    one.keys,
  )}${filled("map", "p", `inet_proto . inet_service : ${address} . inet_service`, everywhere.entries)}${filled(
    "map",
    "pa",
    `${address} . inet_proto . inet_service : ${address} . inet_service`,
    one.entries,
  )}
  chain publish {
    dnat to ${ip} daddr . meta l4proto . th dport map @pa
    dnat to meta l4proto . th dport map @p
  }
  chain pre {
    type nat hook prerouting priority dstnat
    iifname "${loop.exit}" fib daddr type local jump publish
    iifname @br fib daddr type local jump publish
  }
  chain out {
    type nat hook output priority -100
    ${family === 6 ? "ip6 daddr ::1 return" : ""}
    fib daddr type local jump publish
  }
  chain again {
    meta mark set meta mark or ${`0x${LOOP_MARK.toString(16).padStart(8, "0")}`}
    dup to ${loopGateway[family]} device "${loop.entry}"
    drop
  }
  chain passed {
    type filter hook input priority 200
    ct state != new return
    iifname { "lo", "${loop.exit}" } return
    ${ip} daddr . meta l4proto . th dport @sa jump again
    meta l4proto . th dport @s fib daddr type local jump again
  }
}
`;
}

/** Both tables, as nft commands that replace what is there. */
export function guardRuleset(name: string, bridges: readonly string[], rules: readonly PortRule[], loop: GuardLoop): string {
  return guardTable(name, 4, bridges, rules, loop) + guardTable(name, 6, bridges, rules, loop);
}

/** What takes both away, whether they are there or not. */
export const guardRemoval = (name: string): string => ["ip", "ip6"].map((ip) => `add table ${ip} ${name}\ndelete table ${ip} ${name}\n`).join("");

export const guardBridgeCommands = (verb: "add" | "delete", name: string, bridge: string): string =>
  ["ip", "ip6"].map((ip) => `${verb} element ${ip} ${name} br { "${bridge}" }\n`).join("");
