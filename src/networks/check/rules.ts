import { readFileSync } from "node:fs";
import { parseBridgeOptions } from "../bridge-options.ts";
import type { NetworkContext } from "../context.ts";
import type { DroppingChain } from "../foreign-chains.ts";
import type { Finding } from "./types.ts";

/** Of differing rules, so many are shown. */
const SHOWN = 5;
const MARK = "0xe00000";

/** Our own rules, and others' that are in our way. */
export async function ruleFindings(ctx: NetworkContext): Promise<Finding[]> {
  if (!ctx.firewall.active) return [];
  const found: Finding[] = [];
  const differences = await ctx.firewall.compare();
  if (differences.length > 0) {
    const more = differences.length > SHOWN ? `, and ${differences.length - SHOWN} more` : "";
    found.push({
      kind: "rules",
      problem: `the engine's firewall rules aren't what they should be: ${differences.slice(0, SHOWN).join("; ")}${more}`,
      repair: () => {
        ctx.firewall.load();
        return "loaded again";
      },
    });
  }
  return [...found, ...ctx.firewall.droppingChains().map((chain) => foreignFinding(ctx, chain)), ...legacyFindings()];
}

function foreignFinding(ctx: NetworkContext, { family, table, chain, hook }: DroppingChain): Finding {
  const what =
    hook === "output"
      ? "published ports aren't reached from outside (--publish-mode firewall)"
      : "containers reach nothing outside unless one of its rules lets them";
  const problem = `chain ${chain} of nftables' table ${family} ${table} drops what it doesn't name (hook ${hook}, policy drop): ${what}`;
  if (table === "firewalld") {
    const bridges = ctx.records.list().flatMap((network) => (network.driver === "bridge" ? [parseBridgeOptions(network).name] : []));
    const command = bridges.map((bridge) => `--add-interface=${bridge}`).join(" ");
    return {
      kind: "rules",
      level: "hint",
      problem: `firewalld is here: ${problem}`,
      next: `firewall-cmd --permanent --zone=trusted ${command} && firewall-cmd --reload`,
    };
  }
  const base = ["filter", "FORWARD", "OUTPUT"];
  // the one rule that the engine makes itself; it didn't succeed, or the next look will
  if (table === base[0] && family !== "inet" && base.includes(chain)) {
    return {
      kind: "rules",
      problem,
      next: `${family === "ip6" ? "ip6tables" : "iptables"} -I ${chain} -m mark --mark ${MARK}/${MARK} -j ACCEPT`,
      repair: () => {
        ctx.firewall.check();
        return "accepts what our own chains have allowed";
      },
    };
  }
  return {
    kind: "rules",
    problem,
    next: `nft insert rule ${family} ${table} ${chain} meta mark and ${MARK} == ${MARK} accept, in the file that sets the chain up too`,
  };
}

/** iptables-legacy's rules can't be seen from here, only that there are some. */
function legacyFindings(): Finding[] {
  return [
    ["ip_tables_names", "iptables-legacy"],
    ["ip6_tables_names", "ip6tables-legacy"],
  ].flatMap(([file, program]): Finding[] => {
    let names = "";
    try {
      names = readFileSync(`/proc/net/${file}`, "utf8");
    } catch {
      return []; // the module isn't there
    }
    if (!/^filter$/m.test(names)) return [];
    const problem = `${program} holds a table of filters, which the engine can't read: if its FORWARD chain drops, containers have no network`;
    return [
      {
        kind: "rules",
        level: "hint",
        problem,
        next: `${program} -S FORWARD; where it says -P FORWARD DROP: ${program} -A FORWARD -m mark --mark ${MARK}/${MARK} -j ACCEPT`,
      },
    ];
  });
}
