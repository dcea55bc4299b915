import { messageOf, notImplemented } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { FlowFilter } from "../kernel/netlink-conntrack.ts";
import { NETLINK_NETFILTER, NetlinkSocket } from "../kernel/netlink.ts";
import { addElements, batch, deleteElements } from "../kernel/nftables-batch.ts";
import { type Nftables, openNftables } from "../kernel/nftables.ts";
import { AF_INET, AF_INET6 } from "../kernel/socket.ts";
import { bytesOf, formatAddress } from "../lib/address.ts";
import type { Chores } from "./chores.ts";
import { acceptMarked, type ForwardPolicy, removeMarked, warnOfLegacy } from "./forward-policy.ts";
import type { GuardLoop } from "./guard-loop.ts";
import { type DroppingChain, droppingChains } from "./foreign-chains.ts";
import type { RuleTable } from "./compare-rules.ts";
import { guardBridgeCommands, guardElements, guardRemoval, guardTables } from "./guard-rules.ts";
import { type RuleWatch, watchRules } from "./rule-watch.ts";
import { type BridgeRules, type EngineRules, networkCommands, portElement, type PortRule, protocols, ruleset } from "./ruleset.ts";

/** Our table: state is recorded at any time and put into the kernel by `load` in one transaction; later changes go in at once. */
export interface Firewall extends Disposable {
  /** False with `--iptables=false` or where nftables is unusable: then ports are served by proxies and nothing masquerades. */
  readonly active: boolean;
  addNetwork(id: string, rules: BridgeRules): void;
  removeNetwork(id: string): void;
  /**
   * The rules are there on return. The promise, of UDP ports alone, is kept when clients' flows that led elsewhere are forgotten, in a Worker: some
   * 10 ms, more on a busy host. Until then those clients' packets go where the port led before. Never rejects.
   */
  addPorts(rules: readonly PortRule[]): Promise<void> | undefined;
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
  /** Whether firewalld has rules here. */
  isBesideFirewalld(): boolean;
  /** Takes the table out, and the accept rule in others' FORWARD chains when no other engine is left. */
  unload(): void;
}

const FORGET_AFTER_MS = 100;
/** The kernel's news are read so long after an event at the most, but for a host that is overloaded. */
const NEWS_MS = 1000;

/** Flows to the host's UDP ports: those that are led to the container, or elsewhere. */
const udpFlows = (rules: readonly PortRule[], led: "here" | "elsewhere"): FlowFilter[] =>
  rules
    .filter((rule) => rule.proto === "udp" && rule.hostPort !== 0)
    .map((rule) => ({
      family: rule.hostIp.family === 4 ? AF_INET : AF_INET6,
      protocol: protocols.udp,
      port: rule.hostPort,
      led,
      container: bytesOf(rule.containerIp),
    }));

const ruleKey = ({ proto, hostIp, hostPort, containerIp, containerPort, from }: PortRule): string =>
  hostPort === 0
    ? `${proto} ${formatAddress(containerIp)} ${containerPort} from ${from === undefined ? "outside" : formatAddress(from)}`
    : `${proto} ${formatAddress(hostIp)} ${hostPort}`;

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
  let metAt = -Infinity;

  /** An opened address of a container is no port of the host's. */
  const isGuarded = ({ hostPort }: PortRule): boolean => guard && hostPort !== 0;

  /** Our table as it should be, under any name. */
  const ownRules = (name: string): string => {
    const plain = [...ports.values()].filter((rule) => !isGuarded(rule));
    return ruleset(name, networks.values(), plain, options);
  };

  /** Those that the guard has besides. */
  const guardRules = (name: string): ReturnType<typeof guardTables> => {
    const bridges = [...networks.values()].map(({ bridge }) => bridge);
    return guard ? guardTables(name, bridges, [...ports.values()].filter(isGuarded), loop) : [];
  };

  const load = (): void => {
    if (tools === undefined) return;
    tools.nft.run(ownRules(table));
    if (guard) loadGuard(tools.nft);
    loaded = true;
    accept(tools.nft);
  };

  const accept = (nft: Nftables): void => {
    policies = acceptMarked(nft, log, guard ? ["FORWARD", "OUTPUT"] : ["FORWARD"]);
  };

  /** All of them, each under a name for comparison. */
  const expected = (): RuleTable[] => {
    const copy = `berth_compare_${options.engineKey}`;
    const all = [{ family: "inet", ruleset: ownRules(copy) }, ...guardRules(copy)];
    return all.map((each) => ({ ...each, table: `${each.family} ${table}`, copy }));
  };

  const loadGuard = (nft: Nftables): void => {
    try {
      loop.setUp();
      nft.run(
        guardRules(table)
          .map((each) => each.ruleset)
          .join(""),
      );
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
    watch = watchRules({ table, log, onDamage: mend, onLoss: load, onFilter: () => accept(nft) });
    if (!guard && hasTable(nft, `ip ${table}`)) removeGuard(nft);
    load();
    watch.start(socket.port);
  };

  /** Somebody else changed our table. Where a change of ours has met that just now, the kernel's news of it are still to come: one warning for both. */
  const mend = (met?: unknown): void => {
    const isNews = met === undefined && performance.now() - metAt < NEWS_MS;
    metAt = met === undefined ? -Infinity : performance.now();
    const cause = met === undefined ? {} : { error: messageOf(met) };
    if (!isNews) log.warn("somebody changed our nftables rules: they are loaded again", { table, ...cause });
    load();
  };

  /** Makes a change; where the table is gone it is made anew from the records, which know of the change already. */
  const orReload = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      if (tools === undefined) throw error;
      mend(error);
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
      const flows = udpFlows(rules, "elsewhere");
      return flows.length === 0 ? undefined : forgetFlows(flows);
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
    isBesideFirewalld: () => tools !== undefined && hasTable(tools.nft, "inet firewalld"),
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
