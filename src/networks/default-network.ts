import { addressesOf, findLink, type LinkAddress } from "../kernel/netlink-route.ts";
import { addressFrom, overlaps, parsePrefix, type Subnet, subnetOf } from "../lib/address.ts";
import type { NetworkContext } from "./context.ts";
import { asked, defaultOptions, familiesOf, plan, type Wishes, wishesOf, withDefaultRoute } from "./default-settings.ts";
import { draft } from "./draft.ts";
import { hostUse } from "./host-use.ts";
import type { NetworkRecord } from "./types.ts";

type Block = NetworkRecord["ipam"]["config"][number];

/** The default network as today's settings want it; running containers keep the subnets they are on. */
export function defaultNetwork(ctx: NetworkContext, present: NetworkRecord | undefined): NetworkRecord {
  const { options } = ctx;
  const name = options.bridge === "" ? ctx.defaultBridge : options.bridge;
  const link = findLink(ctx.host, name);
  const base = present ?? draft({ name: "bridge" });
  const inUse = present !== undefined && ctx.records.endpointsOf(present.id).length > 0;
  const network: NetworkRecord = {
    ...base,
    enableIPv6: inUse ? base.enableIPv6 : options.ipv6,
    options: defaultOptions(options, name),
  };
  // a bridge by that name which no record of ours knows is the administrator's
  if (options.bridge !== "" && link !== undefined && present === undefined) network.foreign = true;
  if (inUse) return network;
  const own = link === undefined ? [] : addressesOf(ctx.host, link.index);
  return { ...network, ipam: { driver: "default", config: familiesOf(options).map((family) => blockOf(ctx, network, family, own, link?.index)) } };
}

/** What dockerd makes of its settings (getDefaultBridgeIPAMConf in moby daemon/daemon_unix.go). @throws EngineError invalidArgument where they contradict each other */
function blockOf(ctx: NetworkContext, network: NetworkRecord, family: 4 | 6, own: readonly LinkAddress[], link: number | undefined): Block {
  const wishes = wishesOf(ctx.options, family, (range) => (network.foreign === true ? administrators(own, family, range) : undefined));
  return withDefaultRoute(ctx.options, family, complete(ctx, network, family, asked(wishes), link));
}

/** Subnet, gateway and range of one family. A subnet chosen before is kept while it suits the host. `link`: the bridge, which doesn't stand in its own way. */
function complete(ctx: NetworkContext, network: NetworkRecord, family: 4 | 6, wanted: Block | undefined, link: number | undefined): Block {
  const others = ctx.records
    .list()
    .filter((other) => other.id !== network.id && other.configOnly !== true)
    .flatMap((other) => other.ipam.config.flatMap((config) => parsePrefix(config.subnet)?.subnet ?? []));
  if (wanted !== undefined) return plan(ctx.options, family, wanted, others);
  const use = hostUse(ctx.host, new Set(link === undefined ? [] : [link]));
  const before = network.ipam.config.find((config) => parsePrefix(config.subnet)?.subnet.family === family);
  const kept = before === undefined ? undefined : parsePrefix(before.subnet)?.subnet;
  const inTheWay = [...others, ...(use[0] ?? [])];
  if (before?.gateway !== undefined && kept !== undefined && !inTheWay.some((other) => overlaps(other, kept)))
    return { subnet: before.subnet, gateway: before.gateway };
  return plan(ctx.options, family, undefined, others, use);
}

/** The address of an administrator's bridge that the default network uses: one whose subnet has the range, else the first. */
function administrators(own: readonly LinkAddress[], family: 4 | 6, range: Subnet | undefined): Wishes["bridge"] {
  const all = own
    .map((entry) => ({ address: addressFrom(entry.address), prefixLength: entry.prefixLength }))
    // link-local ones are the kernel's
    .filter(({ address }) => address.family === family && (family === 4 || address.value >> 118n !== 0x3fan))
    .map(({ address, prefixLength }) => ({ address, subnet: subnetOf(address, prefixLength) }));
  return all.find(({ subnet }) => range !== undefined && overlaps(subnet, range)) ?? all[0];
}
