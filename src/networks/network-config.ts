import { randomBytes } from "node:crypto";
import { invalidArgument, permissionDenied } from "../lib/errors.ts";
import { type Address, contains, formatAddress, formatSubnet, overlaps, parseAddress, parsePrefix, type Subnet } from "../lib/address.ts";
import { AddressPool, chooseSubnet, defaultPools, localPool, type PoolOption } from "./ipam.ts";
import type { NetworkRecord } from "./types.ts";

type IpamConfig = NetworkRecord["ipam"]["config"][number];

/** 64 hex digits. */
export const newId = (): string => randomBytes(32).toString("hex");

/** Docker's rule for names of containers, and spaces within: Docker takes any name for a network, and docker-py's users have such. */
const namePattern = /^[a-zA-Z0-9](?:[a-zA-Z0-9_. -]*[a-zA-Z0-9_.-])?$/;

/** @throws EngineError invalidArgument */
export function checkName(name: string): void {
  if (name.trim() === "") throw invalidArgument("invalid name: name is empty");
  if (name.length > 255) throw invalidArgument(`invalid network name: ${JSON.stringify(name)}: it must have 1 to 255 characters`);
  if (!namePattern.test(name))
    throw invalidArgument(`invalid network name: ${JSON.stringify(name)}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, and spaces within`);
}

function checkWithin(what: string, text: string, subnet: Subnet): string | undefined {
  const address = parseAddress(text);
  if (address === undefined) return `invalid ${what}: invalid address`;
  if (address.family !== subnet.family) return `invalid ${what}: parent subnet is an IPv${subnet.family} block`;
  return contains(subnet, address) ? undefined : `invalid ${what}: parent subnet ${formatSubnet(subnet)} doesn't contain this address`;
}

/** All that is wrong with one block, in moby's words (daemon/network.go). */
function problemsOf(config: IpamConfig): string[] {
  const prefix = parsePrefix(config.subnet);
  const bound = config.ipRange !== undefined || config.gateway !== undefined || config.auxAddresses !== undefined;
  if (config.subnet === "" && !bound) return [];
  if (prefix !== undefined && isSize(prefix) && !bound) return [];
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
  if (config.gateway !== undefined) problems.push(checkWithin(`gateway ${config.gateway}`, config.gateway, subnet));
  for (const [name, text] of Object.entries(config.auxAddresses ?? {})) problems.push(checkWithin(`auxiliary address ${name}`, text, subnet));
  return problems.filter((problem) => problem !== undefined);
}

export interface SubnetPlan {
  /** As asked for; empty strings count as absent. */
  config: readonly IpamConfig[];
  enableIPv4: boolean;
  enableIPv6: boolean;
  /** Families whose subnets get no gateway of our choice. */
  withoutGateway?: { 4: boolean; 6: boolean };
  pools: readonly PoolOption[];
  /** Of other networks: overlapping one of these is an error. */
  networks: readonly Subnet[];
  /** What the host uses: only automatic choices keep away from it, from as much as can be (see `chooseSubnet`). */
  avoid(): readonly (readonly Subnet[])[];
}

/** Where automatic subnets come from: the settings' pools or Docker's; for IPv6 a unique local prefix where the settings have none. */
export function poolsOf({ options }: { options: { defaultAddressPools: readonly PoolOption[]; engineId: string } }): readonly PoolOption[] {
  const pools = options.defaultAddressPools.length > 0 ? options.defaultAddressPools : defaultPools;
  return pools.some(({ base }) => base.includes(":")) ? pools : [...pools, localPool(options.engineId)];
}

/** A block without addresses, `0.0.0.0/24` or `::/64`, asks for any subnet of that size; `/0` for any at all. */
const isSize = ({ address, subnet }: { address: Address; subnet: Subnet }): boolean => address.value === 0n && subnet.base === 0n;

/** The blocks of the families that are on. @throws EngineError invalidArgument with all problems */
export function checkSubnets(config: readonly IpamConfig[], enabled: { 4: boolean; 6: boolean }): IpamConfig[] {
  const wanted = config.map(withoutEmpty).filter(({ subnet }) => {
    const family = parsePrefix(subnet)?.subnet.family;
    return family === undefined || enabled[family];
  });
  const problems = wanted.flatMap(problemsOf);
  if (problems.length > 0) throw invalidArgument(`invalid network config:\n${problems.join("\n")}`);
  return wanted;
}

/** Complete blocks: subnets chosen where none was given, gateways filled in. @throws EngineError invalidArgument with all problems, permissionDenied for an overlap */
export function planSubnets(plan: SubnetPlan): IpamConfig[] {
  const enabled = { 4: plan.enableIPv4, 6: plan.enableIPv6 };
  const wanted = checkSubnets(plan.config, enabled);
  const blocks: IpamConfig[] = [];
  const taken = [...plan.networks];
  const avoid = lazy(plan.avoid);
  for (const family of [4, 6] as const) {
    if (!enabled[family]) continue;
    const given = wanted.filter((config) => config.subnet !== "" && parsePrefix(config.subnet)?.subnet.family === family);
    for (const config of given.length === 0 ? [{ subnet: "" }] : given) {
      const asked = parsePrefix(config.subnet);
      const size = asked === undefined || asked.subnet.prefixLength === 0 ? {} : { size: asked.subnet.prefixLength };
      const subnet = asked === undefined || isSize(asked) ? chooseSubnet({ pools: plan.pools, family, ...size, taken }, avoid()) : asked.subnet;
      if (taken.some((other) => overlaps(other, subnet))) throw permissionDenied("invalid pool request: Pool overlaps with other one on this address space");
      taken.push(subnet);
      blocks.push(withGateway({ ...config, subnet: formatSubnet(subnet) }, subnet, plan.withoutGateway?.[family] === true));
    }
  }
  return blocks;
}

function lazy<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** Fills the gateway in, and checks that it and the auxiliary addresses can be had. @throws EngineError permissionDenied in Docker's words */
function withGateway(config: IpamConfig, subnet: Subnet, none: boolean): IpamConfig {
  const gateway = config.gateway ?? (none ? undefined : firstFree(subnet, config));
  const pool = new AddressPool(subnet);
  const own = gateway === undefined ? undefined : parseAddress(gateway);
  if (own !== undefined && !pool.reserve(own)) throw permissionDenied(`failed to allocate gateway (${gateway}): Address already in use`);
  for (const [name, text] of Object.entries(config.auxAddresses ?? {})) {
    const address = parseAddress(text);
    if (address !== undefined && !pool.reserve(address))
      throw permissionDenied(`failed to allocate secondary ip address (${name}:${text}): Address already in use`);
  }
  return gateway === undefined ? config : { ...config, gateway };
}

/** The gateway Docker chooses: the first address that isn't spoken for. */
function firstFree(subnet: Subnet, config: IpamConfig): string {
  const pool = new AddressPool(subnet, config.ipRange === undefined ? subnet : parsePrefix(config.ipRange)?.subnet);
  for (const text of Object.values(config.auxAddresses ?? {})) {
    const address = parseAddress(text);
    if (address !== undefined) pool.reserve(address);
  }
  const first = pool.take();
  if (first === undefined) throw permissionDenied(`failed to allocate gateway (): no available addresses on this pool: ${formatSubnet(subnet)}`);
  return formatAddress(first);
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
export function parseBip(bip: string, flag: "bip" | "bip6" = "bip"): { address: Address; subnet: Subnet } {
  const parsed = parsePrefix(bip);
  if (parsed === undefined || parsed.address.value === parsed.subnet.base) {
    const example = flag === "bip" ? "172.26.0.1/16" : "fd00:a::1/64";
    throw invalidArgument(`invalid --${flag} ${JSON.stringify(bip)}: it must be the address of the bridge with its prefix length, e.g. ${example}`);
  }
  return parsed;
}
