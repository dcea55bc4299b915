import { type GuardLoop, LOOP_MARK, loopGateway } from "./guard-loop.ts";
import { declareSets, type Element, leadBytes, leadText, type PortElement, type PortRule } from "./ruleset.ts";

/**
 * Rules for published ports whose packets pass the host's own INPUT rules first (docs/adr/0012). They lie in tables of families ip and ip6, since
 * inet tables have no `dup`: `s` holds the ports that are published, `p` where they lead; with `a` they are for one address of the host.
 */
export function guardElements(rule: PortRule): PortElement[] {
  const { family } = rule.hostIp;
  const { suffix, key, value } = leadBytes(rule);
  return [
    { family, set: `p${suffix}`, element: { key, value } },
    { family, set: `s${suffix}`, element: { key } },
  ];
}

/** The same as text. */
function guardText(rule: PortRule): Element[] {
  const { suffix, key, value } = leadText(rule);
  return [
    [`p${suffix}`, `${key} : ${value}`],
    [`s${suffix}`, key],
  ];
}

/** One family's table, as nft commands that replace what is there. */
function guardTable(name: string, family: 4 | 6, bridges: readonly string[], rules: readonly PortRule[], loop: GuardLoop): string {
  const ip = ipOf(family);
  const address = `ipv${family}_addr`;
  const where = "inet_proto . inet_service";
  const declarations = declareSets(
    [
      ["br", "set", "ifname"],
      ["s", "set", where],
      ["sa", "set", `${address} . ${where}`],
      ["p", "map", `${where} : ${address} . inet_service`],
      ["pa", "map", `${address} . ${where} : ${address} . inet_service`],
    ],
    [...bridges.map((bridge): Element => ["br", `"${bridge}"`]), ...rules.filter(({ hostIp }) => hostIp.family === family).flatMap(guardText)],
  );
  return `add table ${ip} ${name}
delete table ${ip} ${name}
table ${ip} ${name} {
${declarations}
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

const ipOf = (family: 4 | 6): "ip" | "ip6" => (family === 4 ? "ip" : "ip6");

/** Both tables, each as nft commands that replace what is there. */
export const guardTables = (name: string, bridges: readonly string[], rules: readonly PortRule[], loop: GuardLoop): { family: string; ruleset: string }[] =>
  ([4, 6] as const).map((family) => ({ family: ipOf(family), ruleset: guardTable(name, family, bridges, rules, loop) }));

/** What takes both away, whether they are there or not. */
export const guardRemoval = (name: string): string => ["ip", "ip6"].map((ip) => `add table ${ip} ${name}\ndelete table ${ip} ${name}\n`).join("");

export const guardBridgeCommands = (verb: "add" | "delete", name: string, bridge: string): string =>
  ["ip", "ip6"].map((ip) => `${verb} element ${ip} ${name} br { "${bridge}" }\n`).join("");
