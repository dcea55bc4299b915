import { readSysctl, writeSysctl } from "../kernel/namespace.ts";
import { type BridgeOptions, parseBridgeOptions } from "./bridge-options.ts";
import type { Firewall } from "./firewall.ts";
import type { NetworkRecord } from "./types.ts";

/** How the containers of a network are kept apart (`icc=false`), where the forward chain doesn't do it. */
export interface Separation {
  /** No frame passes from one port of the bridge to another. */
  isolated: boolean;
  /**
   * The bridge answers ARP for what is behind its other ports (RFC 3069): then what containers send each other passes through the host, whose rules
   * let through what links open. IPv6 has nothing like it.
   */
  answers: boolean;
}

const settings = "/proc/sys/net";

/**
 * Whether packets between ports of a bridge pass the forward chain: br_netfilter's switches, absent without that module, which others set, too. Isolated ports
 * would hinder its DNAT among them.
 */
function bridgedAreFiltered(ipv6: boolean): boolean {
  const isOn = (name: string): boolean => readSysctl(`${settings}/bridge/${name}`) === "1";
  return isOn("bridge-nf-call-iptables") && (!ipv6 || isOn("bridge-nf-call-ip6tables"));
}

export function separationOf(network: NetworkRecord, { icc }: Pick<BridgeOptions, "icc">, firewall: Pick<Firewall, "active">): Separation {
  const isolated = !icc && !(firewall.active && bridgedAreFiltered(network.enableIPv6));
  return { isolated, answers: isolated && firewall.active };
}

/** Makes the bridge answer for its containers, or not. Their ports are isolated as they join. */
export function separate(bridge: string, { answers }: Separation): void {
  writeSysctl(`${settings}/ipv4/conf/${bridge}/proxy_arp_pvlan`, answers ? "1" : "0");
  // else it takes up to 0.8 s to answer
  if (answers) writeSysctl(`${settings}/ipv4/neigh/${bridge}/proxy_delay`, "0");
}

/** What is wrong with a network whose containers are to be kept apart, since the switches were turned after it was set up. Undefined: nothing. */
export function lapseOf(network: NetworkRecord, firewall: Pick<Firewall, "active">): string | undefined {
  const options = parseBridgeOptions(network);
  if (options.icc) return undefined;
  const { answers } = separationOf(network, options, firewall);
  if ((readSysctl(`${settings}/ipv4/conf/${options.name}/proxy_arp_pvlan`) === "1") === answers) return undefined;
  const switches = `net.bridge.bridge-nf-call-iptables${network.enableIPv6 ? " and -ip6tables" : ""}`;
  return answers
    ? `bridged packets don't pass the firewall any more (${switches}): containers of network ${network.name}, which are to be kept apart, reach each other`
    : `bridged packets pass the firewall now (${switches}): containers of network ${network.name} don't reach each other's published ports`;
}
