import { randomBytes } from "node:crypto";
import { invalidArgument } from "../lib/errors.ts";
import { type Address, contains, formatAddress, formatSubnet, overlaps, parseAddress, parsePrefix, type Subnet } from "../lib/address.ts";
import { chooseSubnet, type PoolOption } from "./ipam.ts";
import type { NetworkRecord } from "./types.ts";

type IpamConfig = NetworkRecord["ipam"]["config"][number];

/** 64 hex digits. */
export const newId = (): string => randomBytes(32).toString("hex");

/** Docker's rule for names of containers, and spaces within: Docker takes any name for a network, and docker-py's users have such. */
const namePattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9_. -]*[a-zA-Z0-9_.-])?$/;

/** @throws EngineError invalidArgument */
export function checkName(name: string): void {
  if (name.trim() === "" || name.length > 255) throw invalidArgument(`invalid network name: ${JSON.stringify(name)}: it must have 1 to 255 characters`);
  if (!namePattern.test(name))
    throw invalidArgument(`invalid network name: ${JSON.stringify(name)}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, and spaces within`);
}

function checkWithin(what: string, text: string, subnet: Subnet): string | undefined {
  const address = parseAddress(text);
  if (address === undefined) return `invalid ${what} ${text}: it is not an IP address`;
  if (address.family !== subnet.family) return `invalid ${what} ${text}: parent subnet is an IPv${subnet.family} block`;
  return contains(subnet, address) ? undefined : `invalid ${what} ${text}: parent subnet ${formatSubnet(subnet)} doesn't contain this address`;
}

/** All that is wrong with one block, in moby's words (daemon/network.go). */
function problemsOf(config: IpamConfig): string[] {
  const prefix = parsePrefix(config.subnet);
  if (prefix === undefined) return [`invalid subnet ${config.subnet}: invalid CIDR block notation`];
  const { subnet } = prefix;
  const problems: (string | undefined)[] = [];
  if (prefix.address.value !== subnet.base) problems.push(`invalid subnet ${config.subnet}: it should be ${formatSubnet(subnet)}`);
  if (config.ipRange !== undefined) {
    const range = parsePrefix(config.ipRange);
    if (range === undefined) problems.push(`invalid ip-range ${config.ipRange}: invalid CIDR block notation`);
    else if (range.address.family !== subnet.family) problems.push(`invalid ip-range ${config.ipRange}: parent subnet is an IPv${subnet.family} block`);
    else {
      if (range.subnet.prefixLength < subnet.prefixLength) {
        problems.push(`invalid ip-range ${config.ipRange}: CIDR block is bigger than its parent subnet ${formatSubnet(subnet)}`);
      }
      if (range.address.value !== range.subnet.base) problems.push(`invalid ip-range ${config.ipRange}: it should be ${formatSubnet(range.subnet)}`);
      if (!overlaps(range.subnet, subnet)) problems.push(`invalid ip-range ${config.ipRange}: parent subnet ${formatSubnet(subnet)} doesn't contain ip-range`);
    }
  }
  if (config.gateway !== undefined) problems.push(checkWithin("gateway", config.gateway, subnet));
  for (const [name, text] of Object.entries(config.auxAddresses ?? {})) problems.push(checkWithin(`auxiliary address ${name}`, text, subnet));
  return problems.filter((problem) => problem !== undefined);
}

export interface SubnetPlan {
  /** As asked for; empty strings count as absent. */
  config: readonly IpamConfig[];
  enableIPv4: boolean;
  enableIPv6: boolean;
  pools: readonly PoolOption[];
  /** Of other networks: overlapping one of these is an error. */
  networks: readonly Subnet[];
  /** Routes and addresses of the host: only automatic choices keep away from them. */
  routes: readonly Subnet[];
}

/** Complete blocks: subnets chosen where none was given, gateways filled in. @throws EngineError invalidArgument with all problems */
export function planSubnets(plan: SubnetPlan): IpamConfig[] {
  const wanted = plan.config.map(withoutEmpty).filter((config) => config.subnet !== "");
  const problems = wanted.flatMap(problemsOf);
  if (problems.length > 0) throw invalidArgument(`invalid network config:\n${problems.join("\n")}`);

  const blocks: IpamConfig[] = [];
  const taken = [...plan.networks];
  for (const family of [4, 6] as const) {
    if (!(family === 4 ? plan.enableIPv4 : plan.enableIPv6)) continue;
    const given = wanted.filter((config) => parsePrefix(config.subnet)?.subnet.family === family);
    if (given.length === 0) given.push({ subnet: formatSubnet(chooseSubnet(poolsFor(plan.pools, family), family, [...taken, ...plan.routes])) });
    for (const config of given) {
      const { subnet } = parsePrefix(config.subnet)!;
      if (taken.some((other) => overlaps(other, subnet))) throw invalidArgument("invalid pool request: Pool overlaps with other one on this address space");
      taken.push(subnet);
      blocks.push({ ...config, gateway: config.gateway ?? firstFree(subnet, config) });
    }
  }
  return blocks;
}

/** IPv6 subnets without a pool of their own come from a random unique local prefix (RFC 4193). */
function poolsFor(pools: readonly PoolOption[], family: 4 | 6): readonly PoolOption[] {
  if (family === 4 || pools.some((pool) => pool.base.includes(":"))) return pools;
  const global = randomBytes(5).toString("hex");
  return [{ base: `fd${global.slice(0, 2)}:${global.slice(2, 6)}:${global.slice(6)}::/48`, size: 64 }];
}

/** The gateway Docker chooses: the first address that isn't spoken for. */
function firstFree(subnet: Subnet, config: IpamConfig): string {
  const aux = new Set(Object.values(config.auxAddresses ?? {}).map((text) => parseAddress(text)?.value));
  const start = config.ipRange === undefined ? subnet.base : (parsePrefix(config.ipRange)?.subnet.base ?? subnet.base);
  let value = start === subnet.base ? start + 1n : start;
  while (aux.has(value)) value++;
  return formatAddress({ family: subnet.family, value });
}

function withoutEmpty(config: IpamConfig): IpamConfig {
  const result: IpamConfig = { subnet: config.subnet ?? "" };
  if (config.ipRange !== undefined && config.ipRange !== "") result.ipRange = config.ipRange;
  if (config.gateway !== undefined && config.gateway !== "") result.gateway = bare(config.gateway);
  if (config.auxAddresses !== undefined && Object.keys(config.auxAddresses).length > 0) result.auxAddresses = config.auxAddresses;
  return result;
}

/** Some clients send a gateway with a prefix length. */
const bare = (gateway: string): string => gateway.split("/")[0] ?? gateway;

/** `172.26.0.1/16`: the bridge's address and through it the subnet. @throws EngineError invalidArgument */
export function parseBip(bip: string): { address: Address; subnet: Subnet } {
  const parsed = parsePrefix(bip);
  if (parsed === undefined || parsed.address.value === parsed.subnet.base) {
    throw invalidArgument(`invalid --bip ${JSON.stringify(bip)}: it must be the address of the bridge with its prefix length, e.g. 172.26.0.1/16`);
  }
  return parsed;
}
