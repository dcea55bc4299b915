import { findLink, type LinkAddress, listAddresses } from "../kernel/netlink-route.ts";
import {
  type Address,
  addressFrom,
  contains,
  formatAddress,
  formatSubnet,
  overlaps,
  parseAddress,
  parsePrefix,
  type Subnet,
  subnetOf,
} from "../lib/address.ts";
import { invalidArgument } from "../lib/errors.ts";
import { defaultGatewayName } from "./address-book.ts";
import { bridgeOption } from "./bridge-options.ts";
import type { NetworkContext } from "./context.ts";
import { draft } from "./draft.ts";
import { hostUse } from "./host-use.ts";
import { parseBip, planSubnets, poolsOf } from "./network-config.ts";
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
    options: {
      [bridgeOption.defaultBridge]: "true",
      [bridgeOption.icc]: String(options.icc),
      [bridgeOption.masquerade]: String(options.ipMasq),
      [bridgeOption.hostBinding]: options.ip === "" ? "0.0.0.0" : options.ip,
      [bridgeOption.name]: name,
      [bridgeOption.mtu]: String(options.mtu),
    },
  };
  // a bridge by that name which no record of ours knows is the administrator's
  if (options.bridge !== "" && link !== undefined && present === undefined) network.foreign = true;
  if (inUse) return network;
  const own = link === undefined ? [] : listAddresses(ctx.host).filter((entry) => entry.index === link.index);
  const families = options.ipv6 ? ([4, 6] as const) : ([4] as const);
  return { ...network, ipam: { driver: "default", config: families.map((family) => blockOf(ctx, network, family, own, link?.index)) } };
}

/** What dockerd makes of its settings (getDefaultBridgeIPAMConf in moby daemon/daemon_unix.go). @throws EngineError invalidArgument where they contradict each other */
function blockOf(ctx: NetworkContext, network: NetworkRecord, family: 4 | 6, own: readonly LinkAddress[], link: number | undefined): Block {
  const { options } = ctx;
  const [bip, bipFlag] = family === 4 ? [options.bip, "bip" as const] : [options.bip6, "bip6" as const];
  const [fixed, fixedFlag] = family === 4 ? [options.fixedCidr, "fixed-cidr"] : [options.fixedCidrV6, "fixed-cidr-v6"];
  const range = fixed === "" ? undefined : parsePrefix(fixed)?.subnet;
  const bridge = bip !== "" ? parseBip(bip, bipFlag) : network.foreign === true ? administrators(own, family, range) : undefined;
  if (range !== undefined && bridge !== undefined && (!overlaps(bridge.subnet, range) || range.prefixLength < bridge.subnet.prefixLength))
    throw invalidArgument(`--${fixedFlag} ${fixed} is outside the subnet ${formatSubnet(bridge.subnet)} of the default bridge`);
  const block = complete(ctx, network, family, { bridge, range, link });
  const { subnet } = parsePrefix(block.subnet)!;
  const [gateway, gatewayFlag] = family === 4 ? [options.defaultGateway, "default-gateway"] : [options.defaultGatewayV6, "default-gateway-v6"];
  if (gateway === "") return block;
  const address = parseAddress(gateway);
  if (address === undefined || !contains(subnet, address))
    throw invalidArgument(`--${gatewayFlag} ${gateway} is outside the subnet ${block.subnet} of the default bridge`);
  return { ...block, auxAddresses: { [defaultGatewayName[family]]: formatAddress(address) } };
}

interface Wishes {
  /** The bridge's own address and subnet. */
  bridge: { address: Address; subnet: Subnet } | undefined;
  /** Where containers' addresses come from. */
  range: Subnet | undefined;
  /** The bridge, which doesn't stand in its own way. */
  link: number | undefined;
}

/** Subnet, gateway and range of one family. A subnet chosen before is kept while it suits the host. */
function complete(ctx: NetworkContext, network: NetworkRecord, family: 4 | 6, { bridge, range, link }: Wishes): Block {
  const ipRange = range === undefined ? {} : { ipRange: formatSubnet(range) };
  const asked = bridge?.subnet ?? range;
  const others = ctx.records
    .list()
    .filter((other) => other.id !== network.id && other.configOnly !== true)
    .flatMap((other) => other.ipam.config.flatMap((config) => parsePrefix(config.subnet)?.subnet ?? []));
  if (asked !== undefined) {
    const gateway = bridge === undefined ? {} : { gateway: formatAddress(bridge.address) };
    return plan(ctx, family, { subnet: formatSubnet(asked), ...gateway, ...ipRange }, others);
  }
  const use = hostUse(ctx.host, new Set(link === undefined ? [] : [link]));
  const before = network.ipam.config.find((config) => parsePrefix(config.subnet)?.subnet.family === family);
  const kept = before === undefined ? undefined : parsePrefix(before.subnet)?.subnet;
  const inTheWay = [...others, ...(use[0] ?? [])];
  if (before?.gateway !== undefined && kept !== undefined && !inTheWay.some((other) => overlaps(other, kept)))
    return { subnet: before.subnet, gateway: before.gateway };
  return plan(ctx, family, undefined, others, use);
}

function plan(ctx: NetworkContext, family: 4 | 6, config: Block | undefined, networks: readonly Subnet[], use: readonly (readonly Subnet[])[] = [[]]): Block {
  return planSubnets({
    config: config === undefined ? [] : [config],
    enableIPv4: family === 4,
    enableIPv6: family === 6,
    pools: poolsOf(ctx),
    networks,
    avoid: () => use,
  })[0]!;
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
