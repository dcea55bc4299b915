import { readSysctl, writeSysctl } from "../../kernel/namespace.ts";
import { listLinks, listRoutes } from "../../kernel/netlink-route.ts";
import { addressFrom, formatSubnet, overlaps, parsePrefix, subnetOf } from "../../lib/address.ts";
import { parseBridgeOptions } from "../bridge-options.ts";
import type { NetworkContext } from "../context.ts";
import { enableForwarding } from "../restore.ts";
import type { Finding } from "./types.ts";

const USUAL_MTU = 1500;
/** Of the table of connections: from here on the kernel is about to drop new ones. */
const NEARLY_FULL = 0.9;

const setting = (path: string): string | undefined => readSysctl(`/proc/sys/net/${path}`);

/** Whether the kernel forwards packets at all. Cheap: the regular look asks it too. */
export function forwardingFindings(ctx: NetworkContext): Finding[] {
  if (!ctx.options.iptables) return [];
  const families: [string, string, string][] = [["IPv4", "ipv4/ip_forward", "net.ipv4.ip_forward"]];
  if (ctx.records.list().some(({ enableIPv6 }) => enableIPv6)) families.push(["IPv6", "ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"]);
  return families
    .filter(([, path]) => setting(path) === "0")
    .map(([family, , name]): Finding => ({
      kind: "host",
      problem: `the host doesn't forward ${family} packets (${name} is 0): containers reach nothing outside, and nobody outside reaches them`,
      next: `sysctl -w ${name}=1, and see what sets it to 0 (a file in /etc/sysctl.d, a VPN's or firewall's script)`,
      ...(ctx.options.ipForward && {
        repair: () => {
          enableForwarding(ctx);
          return `${name} is 1 again`;
        },
      }),
    }));
}

/** The kernel, the host's links and routes. */
export function hostFindings(ctx: NetworkContext): Finding[] {
  return [...forwardingFindings(ctx), ...kernelFindings(ctx), ...filterFindings(ctx), ...routeFindings(ctx), ...mtuFindings(ctx)];
}

function kernelFindings(ctx: NetworkContext): Finding[] {
  const found: Finding[] = [];
  if (!ctx.options.iptables) {
    found.push({
      kind: "host",
      level: "hint",
      problem: "the engine makes no firewall rules (--iptables=false): nothing masquerades, networks aren't kept apart, ports go through proxies",
    });
  } else if (!ctx.firewall.active) {
    const next = "install libnftables1 (Debian) and see that the kernel has nf_tables (modprobe nf_tables), then restart the engine";
    found.push({ kind: "host", problem: "nftables can't be used: nothing masquerades, networks aren't kept apart, ports go through proxies", next });
  }
  const [count, most] = [Number(setting("netfilter/nf_conntrack_count") ?? 0), Number(setting("netfilter/nf_conntrack_max") ?? 0)];
  if (most > 0 && count > most * NEARLY_FULL) {
    const next = `sysctl -w net.netfilter.nf_conntrack_max=${most * 4}`;
    found.push({ kind: "host", problem: `the kernel follows ${count} connections of ${most} that it may: new ones are about to be dropped`, next });
  }
  return found;
}

/** Strict reverse path filters drop what comes in by another link than the answer would leave by. */
function filterFindings(ctx: NetworkContext): Finding[] {
  const defaults = listRoutes(ctx.host).filter((route) => route.prefixLength === 0 && route.destination.length === 4);
  const uplinks = new Set(defaults.map(({ link }) => link));
  const names = listLinks(ctx.host).flatMap(({ index, name }) => (uplinks.has(index) ? [name] : []));
  const strict = names.filter(
    (name) => Math.max(Number(setting("ipv4/conf/all/rp_filter") ?? 0) & 1, Number(setting(`ipv4/conf/${name}/rp_filter`) ?? 0) & 1) === 1,
  );
  if (uplinks.size < 2 || strict.length === 0) return [];
  const problem = `the host has ${uplinks.size} ways out, and filters strictly by reverse path on ${strict.join(", ")} (rp_filter is 1): published ports aren't reached by the way that isn't preferred`;
  return [{ kind: "host", level: "hint", problem, next: strict.map((name) => `sysctl -w net.ipv4.conf.${name}.rp_filter=2`).join("; ") }];
}

/** Somebody else (a VPN, a new link) leads a network's addresses elsewhere. */
function routeFindings(ctx: NetworkContext): Finding[] {
  const links = new Map(listLinks(ctx.host).map((link) => [link.index, link.name]));
  const routes = listRoutes(ctx.host).filter((route) => route.prefixLength > 1);
  return ctx.records.list().flatMap((network) => {
    if (network.driver !== "bridge") return [];
    const own = parseBridgeOptions(network).name;
    const subnets = network.ipam.config.flatMap((config) => parsePrefix(config.subnet)?.subnet ?? []);
    return subnets.flatMap((subnet) =>
      routes
        // a wider route is no matter: the bridge's own is more exact
        .filter((route) => links.get(route.link) !== own && route.prefixLength >= subnet.prefixLength)
        .map((route) => ({ route, block: subnetOf(addressFrom(route.destination), route.prefixLength) }))
        .filter(({ block }) => overlaps(block, subnet))
        .map(({ route, block }): Finding => ({
          kind: "network",
          network: network.name,
          problem: `the host sends ${formatSubnet(block)} out by ${links.get(route.link) ?? "another link"}, which is within ${formatSubnet(subnet)} of network ${network.name}: containers there can't be reached, or what is behind that link can't`,
          next: `make network ${network.name} anew with another subnet (berth network create --subnet), and keep --default-address-pool off what the VPN or link uses`,
        })),
    );
  });
}

function mtuFindings(ctx: NetworkContext): Finding[] {
  const uplink = listRoutes(ctx.host).find((route) => route.prefixLength === 0);
  const link = listLinks(ctx.host).find(({ index }) => index === uplink?.link);
  if (link === undefined) return [];
  return ctx.records.list().flatMap((network): Finding[] => {
    if (network.driver !== "bridge" || network.internal) return [];
    const { mtu = USUAL_MTU } = parseBridgeOptions(network);
    if (mtu <= link.mtu) return [];
    const problem = `network ${network.name} has an MTU of ${mtu}, the host's way out (${link.name}) ${link.mtu}: large packets are sent in vain first, and where ICMP is filtered connections hang`;
    return [
      {
        kind: "network",
        network: network.name,
        level: "hint",
        problem,
        next: `make it with --opt com.docker.network.driver.mtu=${link.mtu} (the default network: --mtu ${link.mtu} of berthd)`,
      },
    ];
  });
}

/** What the kernel has set for a bridge, which is there. */
export function bridgeSettings(ctx: NetworkContext, bridge: string): Finding[] {
  if (!ctx.firewall.active) return [];
  const wrong = [
    ["route_localnet", "127.0.0.1 of published ports isn't answered"],
    ["forwarding", "its containers reach nothing outside"],
  ].filter(([name]) => setting(`ipv4/conf/${bridge}/${name}`) === "0");
  return wrong.map(([name, effect]) => ({
    kind: "network",
    problem: `net.ipv4.conf.${bridge}.${name} is 0: ${effect}`,
    repair: () => {
      writeSysctl(`/proc/sys/net/ipv4/conf/${bridge}/${name}`, "1");
      return "set to 1 again";
    },
  }));
}
