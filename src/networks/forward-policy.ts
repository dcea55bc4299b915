import { readFileSync } from "node:fs";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { Nftables } from "../kernel/nftables.ts";

/**
 * Docker and ufw set the policy of iptables' FORWARD chain to DROP. A drop anywhere wins over an accept elsewhere, so our packets would die there.
 * Our own forward chain marks what it allows; one rule in that chain accepts what is marked. iptables-save still understands the table
 * (it is what `iptables -I FORWARD -m mark --mark 0xe00000/0xe00000 -j ACCEPT` makes). An administrator's drops further down are not overridden: policy only.
 */
export type ForwardPolicy = "ip" | "ip6";

const mark = /mark (?:and|&) 0x0*e00000 == 0x0*e00000 .*accept # handle (\d+)/;

function listChain(nft: Nftables, family: ForwardPolicy): string | undefined {
  try {
    return nft.run(`list chain ${family} filter FORWARD\n`);
  } catch {
    return undefined; // no such chain: nothing drops there
  }
}

/** Adds the rule where it is needed and missing. Returns the families that have it. */
export function acceptMarked(nft: Nftables, log: Logger): ForwardPolicy[] {
  const result: ForwardPolicy[] = [];
  for (const family of ["ip", "ip6"] as const) {
    const chain = listChain(nft, family);
    if (chain === undefined) continue;
    if (mark.test(chain)) result.push(family);
    else if (/policy drop/.test(chain)) {
      nft.run(`insert rule ${family} filter FORWARD meta mark and 0x00e00000 == 0x00e00000 counter accept\n`);
      log.info("the FORWARD chain of iptables drops by default: one rule accepts what our own chain has allowed", { family, mark: "0xe00000/0xe00000" });
      result.push(family);
    }
  }
  return result;
}

/** Takes the rule out when no engine's table is left. */
export function removeMarked(nft: Nftables, families: readonly ForwardPolicy[], log: Logger): void {
  if (/table inet berth_/.test(nft.run("list tables\n"))) return;
  for (const family of families) {
    const handle = mark.exec(listChain(nft, family) ?? "")?.[1];
    if (handle === undefined) continue;
    try {
      nft.run(`delete rule ${family} filter FORWARD handle ${handle}\n`);
    } catch (error) {
      log.warn("could not take our rule out of the FORWARD chain", { family, error: messageOf(error) });
    }
  }
}

/** iptables-legacy's rules are invisible to nftables, and we can't change them without its program. */
export function warnOfLegacy(log: Logger): void {
  let names = "";
  try {
    names = readFileSync("/proc/net/ip_tables_names", "utf8");
  } catch {
    return; // the module isn't there: no legacy tables
  }
  if (!/^filter$/m.test(names)) return;
  log.warn("iptables-legacy holds a filter table; if its FORWARD policy is DROP, containers have no network until you run the command", {
    command: "iptables-legacy -I FORWARD -m mark --mark 0xe00000/0xe00000 -j ACCEPT",
  });
}
