import { listAddresses, listRoutes } from "../kernel/netlink-route.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import { addressFrom, parseAddress, type Subnet, subnetOf } from "../lib/address.ts";
import { hostResolvConf } from "./resolv-conf.ts";

/** Shorter IPv4 prefixes are default routes in disguise: OpenVPN's `def1` sets 0.0.0.0/1 and 128.0.0.0/1. */
const LEAST_PREFIX = 8;

/**
 * What automatic choices of subnets keep away from. First all that the host has a route for, its addresses and its name servers; then, for hosts
 * whose routes cover every pool (a VPN's 10.0.0.0/8 and 172.16.0.0/12), its neighbours, addresses and name servers alone, as dockerd does.
 * @param except links that don't count
 */
export function hostUse(host: NetlinkSocket, except: ReadonlySet<number> = new Set()): Subnet[][] {
  const routes = listRoutes(host).filter((route) => route.prefixLength > 0 && !except.has(route.link));
  const near = [
    ...listAddresses(host)
      .filter((entry) => entry.address.length > 0 && !except.has(entry.index))
      .map((entry) => subnetOf(addressFrom(entry.address), entry.prefixLength)),
    ...hostResolvConf()
      .nameservers.flatMap((server) => parseAddress(server) ?? [])
      .map((address) => subnetOf(address, address.family === 4 ? 32 : 128)),
  ];
  const asSubnets = (list: typeof routes): Subnet[] => list.map((route) => subnetOf(addressFrom(route.destination), route.prefixLength));
  const real = routes.filter((route) => route.destination.length === 16 || route.prefixLength >= LEAST_PREFIX);
  return [
    [...near, ...asSubnets(real)],
    [...near, ...asSubnets(real.filter((route) => route.onLink))],
  ];
}
