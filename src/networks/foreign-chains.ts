import type { Nftables } from "../kernel/nftables.ts";

/** Somebody else's chain that drops what it doesn't name. */
export interface DroppingChain {
  family: string;
  table: string;
  chain: string;
  hook: string;
}

const accepts = /mark (?:and|&) 0x0*e00000 == 0x0*e00000 .*accept/;

/** Base chains of `hooks` with the policy drop that have no rule for packets that our own chains have allowed. A drop anywhere wins over an accept elsewhere. */
export function droppingChains(nft: Nftables, hooks: readonly string[], ownTable: RegExp): DroppingChain[] {
  const found: DroppingChain[] = [];
  let [family, table, chain] = ["", "", ""];
  for (const line of nft.run("list chains\n").split("\n")) {
    const inTable = /^table (\S+) (\S+) \{/.exec(line);
    if (inTable !== null) [family, table] = [inTable[1]!, inTable[2]!];
    chain = /^\s+chain (\S+) \{/.exec(line)?.[1] ?? chain;
    const hook = /hook (\S+) .*policy drop/.exec(line)?.[1];
    if (hook === undefined || !hooks.includes(hook) || ownTable.test(table) || !["ip", "ip6", "inet"].includes(family)) continue;
    found.push({ family, table, chain, hook });
  }
  return found.filter((each) => !accepts.test(nft.run(`list chain ${each.family} ${each.table} ${each.chain}\n`)));
}
