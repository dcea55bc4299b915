import { readFileSync } from "node:fs";
import { parseBridgeOptions } from "../bridge-options.ts";
import { opensOwnAddresses } from "../bridge.ts";
import { bridgesOf, type NetworkContext } from "../context.ts";
import type { DroppingChain } from "../foreign-chains.ts";
import type { NetworkRecord } from "../types.ts";
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
  const dropping = ctx.firewall.droppingChains().filter(({ table }) => !table.startsWith("firewalld"));
  return [...found, ...dropping.map((chain) => foreignFinding(ctx, chain)), ...firewalldFindings(ctx), ...legacyFindings()];
}

function foreignFinding(ctx: NetworkContext, { family, table, chain, hook }: DroppingChain): Finding {
  const what =
    hook === "output"
      ? "published ports aren't reached from outside (--publish-mode firewall)"
      : "containers reach nothing outside unless one of its rules lets them";
  const problem = `chain ${chain} of nftables' table ${family} ${table} drops what it doesn't name (hook ${hook}, policy drop): ${what}`;
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

/** firewalld rejects what comes in by links that are in no zone which lets it pass. */
function firewalldFindings(ctx: NetworkContext): Finding[] {
  const hint = (problem: string, next: string): Finding => ({ kind: "rules", level: "hint", problem, next });
  const { state } = ctx.firewalld;
  if (state === undefined) {
    if (!ctx.firewall.isBesideFirewalld()) return [];
    const bridges = bridgesOf(ctx.records.list()).map((bridge) => `--add-interface=${bridge}`);
    const next = `firewall-cmd --permanent --zone=trusted ${bridges.join(" ")} && firewall-cmd --reload`;
    return [hint("firewalld's rules are here, but it isn't found on the system's message bus: it rejects what containers send outward", next)];
  }
  const foreign = [...state.elsewhere].filter(([, zone]) => zone !== "trusted" && zone !== state.zone);
  const found = foreign.map(([bridge, zone]) =>
    hint(
      `bridge ${bridge} is in firewalld's zone ${zone}, as its permanent configuration says: what containers send outward is that zone's to decide`,
      `firewall-cmd --permanent --zone=${zone} --remove-interface=${bridge} && firewall-cmd --reload`,
    ),
  );
  if (state.isLoaded) return found;
  const waiting = ctx.records.list().filter((network) => network.driver === "bridge" && network.configOnly !== true && isEntered(ctx, network));
  const names = waiting.map(({ name }) => name).join(", ");
  if (waiting.length > 0)
    found.push(hint(`firewalld lets nothing in to containers' own addresses before it loads the zone berth (networks ${names})`, "firewall-cmd --reload"));
  return found;
}

/** Some packets from outside reach its containers without translation. */
const isEntered = (ctx: NetworkContext, network: NetworkRecord): boolean =>
  ([4, 6] as const).some(
    (family) => opensOwnAddresses(network, family, ctx.options.allowDirectRouting) || parseBridgeOptions(network).gatewayMode[family] === "nat-unprotected",
  );

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
