import { readFileSync } from "node:fs";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { Nftables } from "../kernel/nftables.ts";

/**
 * Docker and ufw set the policy of iptables' FORWARD chain to DROP. A drop anywhere wins over an accept elsewhere, so our packets would die there.
 * Our own forward chain marks what it allows; one rule in that chain accepts what is marked. iptables-save still understands the table
 * (it is what `iptables -A FORWARD -m mark --mark 0xe00000/0xe00000 -j ACCEPT` makes). It comes last, so what others drop by name stays dropped (DOCKER-USER,
 * dockerd's guard of ports that aren't published, `ufw route deny`): only the policy is overridden, and a last rule that does the same as one.
 */
export interface ForwardPolicy {
  family: "ip" | "ip6";
  chain: "FORWARD" | "OUTPUT";
}

const mark = /mark (?:and|&) 0x0*e00000 == 0x0*e00000 .*accept # handle (\d+)/;

/** A rule for all that is left, which stands for a policy: `iptables -A FORWARD -j REJECT`, ufw's for `ufw default reject routed`. */
const catchAll = /^\s*(?:counter packets \d+ bytes \d+ )?(?:drop|reject(?: with [^#]*)?|(?:jump|goto) ufw-reject-\w+) # handle (\d+)$/m;

function listChain(nft: Nftables, { family, chain }: ForwardPolicy): string | undefined {
  try {
    return nft.run(`list chain ${family} filter ${chain}\n`);
  } catch {
    return undefined; // no such chain: nothing drops there
  }
}

/** The command that puts a rule into `chain`, listed as `text`. What passes OUTPUT with our mark is but on its way to the judgement of INPUT, so it comes first there. */
function placeIn(text: string, { family, chain }: ForwardPolicy): string {
  if (chain === "OUTPUT") return `insert rule ${family} filter ${chain}`;
  const handle = catchAll.exec(text)?.[1];
  return handle === undefined ? `add rule ${family} filter ${chain}` : `insert rule ${family} filter ${chain} handle ${handle}`;
}

/** Adds the rule where it is needed and missing. Returns the chains that have it. */
export function acceptMarked(nft: Nftables, log: Logger, chains: readonly ForwardPolicy["chain"][]): ForwardPolicy[] {
  const all = chains.flatMap((chain) => (["ip", "ip6"] as const).map((family) => ({ family, chain })));
  return all.filter((where) => {
    const text = listChain(nft, where);
    if (text === undefined) return false;
    if (mark.test(text)) return true;
    if (!/policy drop/.test(text)) return false;
    nft.run(`${placeIn(text, where)} meta mark and 0x00e00000 == 0x00e00000 counter accept\n`);
    log.info("a chain of iptables drops by default: one rule accepts what our own chains have allowed", { ...where, mark: "0xe00000/0xe00000" });
    return true;
  });
}

/** Takes the rule out when no engine's table is left. */
export function removeMarked(nft: Nftables, chains: readonly ForwardPolicy[], log: Logger): void {
  if (/table inet berth_/.test(nft.run("list tables\n"))) return;
  for (const where of chains) {
    const handle = mark.exec(listChain(nft, where) ?? "")?.[1];
    if (handle === undefined) continue;
    try {
      nft.run(`delete rule ${where.family} filter ${where.chain} handle ${handle}\n`);
    } catch (error) {
      log.warn("could not take our rule out of a chain of iptables", { ...where, error: messageOf(error) });
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
    command: "iptables-legacy -A FORWARD -m mark --mark 0xe00000/0xe00000 -j ACCEPT",
  });
}
