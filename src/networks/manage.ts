import { conflict, EngineError, invalidArgument, permissionDenied } from "../lib/errors.ts";
import { findLink, listAddresses, listRoutes } from "../kernel/netlink-route.ts";
import { type Address, addressFrom, formatAddress, formatSubnet, overlaps, parsePrefix, type Subnet, subnetOf } from "../lib/address.ts";
import { bridgeOption, parseBridgeOptions } from "./bridge-options.ts";
import { driverOf, emitNetworkEvent, isPredefined, type NetworkContext } from "./context.ts";
import { defaultPools } from "./ipam.ts";
import { checkName, newId, parseBip, planSubnets } from "./network-config.ts";
import type { NetworkRecord } from "./types.ts";

const MAIN_TABLE = 254;

export const subnetsOf = (network: NetworkRecord): Subnet[] => network.ipam.config.flatMap((config) => parsePrefix(config.subnet)?.subnet ?? []);

/** Blocks that the host routes by other links than `except`: a new network must not shadow them. Default routes don't count. */
export function routesInUse(ctx: NetworkContext, except: ReadonlySet<number> = new Set()): Subnet[] {
  const routes = listRoutes(ctx.host)
    .filter((route) => route.table === MAIN_TABLE && route.prefixLength > 0 && !except.has(route.link))
    .map((route) => subnetOf(addressFrom(route.destination), route.prefixLength));
  const addresses = listAddresses(ctx.host)
    .filter((entry) => entry.address.length > 0 && !except.has(entry.index))
    .map((entry) => subnetOf(addressFrom(entry.address), entry.prefixLength));
  return [...routes, ...addresses];
}

const pools = (ctx: NetworkContext): readonly { base: string; size: number }[] =>
  ctx.options.defaultAddressPools.length > 0 ? ctx.options.defaultAddressPools : defaultPools;

/** Validates, chooses subnets, makes the network in the kernel, then records it. @throws EngineError */
export async function createNetwork(ctx: NetworkContext, options: Partial<NetworkRecord> & { name: string }): Promise<NetworkRecord> {
  checkName(options.name);
  if (isPredefined(options.name)) throw permissionDenied(`operation is not permitted on predefined ${options.name} network`);
  if (ctx.records.byName(options.name) !== undefined) throw conflict(`network with name ${options.name} already exists`);
  const network = draft(options);
  const driver = driverOf(ctx, network.driver);
  if (network.driver === "host" || network.driver === "null") {
    throw permissionDenied(`only one instance of "${network.driver}" network is allowed`);
  }
  if (network.ipam.driver !== "default") throw invalidArgument(`IPAM driver ${JSON.stringify(network.ipam.driver)} is not known here; there is "default"`);
  if (!network.enableIPv4 && !network.enableIPv6) throw invalidArgument("IPv4 or IPv6 must be enabled");
  network.ipam.config = planSubnets({
    config: network.ipam.config,
    enableIPv4: network.enableIPv4,
    enableIPv6: network.enableIPv6,
    pools: pools(ctx),
    networks: ctx.records.list().flatMap(subnetsOf),
    routes: routesInUse(ctx),
  });
  driver.validate(network);
  claimBridge(ctx, network);
  driver.setUp(network);
  try {
    ctx.store.tx(() => {
      ctx.records.saveNetwork(network);
      emitNetworkEvent(ctx, "create", network);
    });
  } catch (error) {
    // the disk is full
    await driver.tearDown(network);
    throw error;
  }
  ctx.addresses.open(network, []);
  return network;
}

function draft(options: Partial<NetworkRecord> & { name: string }): NetworkRecord {
  return {
    id: newId(),
    name: options.name,
    driver: options.driver === undefined || options.driver === "" || options.driver === "default" ? "bridge" : options.driver,
    created: new Date().toISOString(),
    scope: "local",
    internal: options.internal ?? false,
    attachable: options.attachable ?? false,
    enableIPv4: options.enableIPv4 ?? true,
    enableIPv6: options.enableIPv6 ?? false,
    ipam: {
      driver: options.ipam?.driver === undefined || options.ipam.driver === "" ? "default" : options.ipam.driver,
      options: options.ipam?.options ?? {},
      config: options.ipam?.config ?? [],
    },
    options: options.options ?? {},
    labels: options.labels ?? {},
  };
}

/** One network a bridge; notes whether somebody else made it. */
function claimBridge(ctx: NetworkContext, network: NetworkRecord): void {
  const { name } = parseBridgeOptions(network);
  const other = ctx.records
    .list()
    .find((candidate) => candidate.driver === "bridge" && candidate.id !== network.id && parseBridgeOptions(candidate).name === name);
  if (other !== undefined)
    throw conflict(`cannot create network ${network.id} (${name}): conflicts with network ${other.id} (${name}): networks have same bridge name`);
  if (findLink(ctx.host, name) !== undefined) network.foreign = true;
}

/** @throws EngineError notFound, permissionDenied for predefined networks and while endpoints are there */
export async function removeNetwork(ctx: NetworkContext, reference: string): Promise<void> {
  const network = ctx.records.resolve(reference);
  if (isPredefined(network.name)) throw permissionDenied(`${network.name} is a pre-defined network and cannot be removed`);
  const endpoints = ctx.records.endpointsOf(network.id);
  if (endpoints.length > 0) {
    const list = endpoints.map((endpoint) => `name:"${endpoint.containerName}" id:"${endpoint.id.slice(0, 12)}"`).join(", ");
    throw permissionDenied(`error while removing network: network ${network.name} has active endpoints (${list})`);
  }
  // the row goes first: from here on nobody can join, and a crash leaves only a bridge for restore to find
  ctx.store.tx(() => {
    ctx.records.deleteNetwork(network.id);
    emitNetworkEvent(ctx, "destroy", network);
  });
  ctx.addresses.close(network.id);
  await driverOf(ctx, network.driver).tearDown(network);
}

/** Makes sure that `bridge`, `host` and `none` are recorded, and that the default bridge's subnet suits the host of today. */
export function ensurePredefined(ctx: NetworkContext): void {
  for (const [name, driver] of [
    ["host", "host"],
    ["none", "null"],
  ] as const) {
    if (ctx.records.byName(name) === undefined) ctx.store.tx(() => ctx.records.saveNetwork({ ...draft({ name, driver }), enableIPv4: true }));
  }
  const present = ctx.records.byName("bridge");
  if (ctx.options.bridge === "none") {
    if (present !== undefined && ctx.records.endpointsOf(present.id).length === 0) ctx.store.tx(() => ctx.records.deleteNetwork(present.id));
    return;
  }
  const wanted = defaultBridge(ctx, present);
  if (present === undefined || JSON.stringify(present) !== JSON.stringify(wanted)) ctx.store.tx(() => ctx.records.saveNetwork(wanted));
}

/** The default network as today's settings want it; running containers keep the subnet they are on. */
function defaultBridge(ctx: NetworkContext, present: NetworkRecord | undefined): NetworkRecord {
  const { options } = ctx;
  const name = options.bridge === "" ? ctx.defaultBridge : options.bridge;
  const link = findLink(ctx.host, name);
  const base = present ?? draft({ name: "bridge" });
  const network: NetworkRecord = {
    ...base,
    options: {
      [bridgeOption.defaultBridge]: "true",
      [bridgeOption.icc]: "true",
      [bridgeOption.masquerade]: "true",
      [bridgeOption.hostBinding]: options.ip === "" ? "0.0.0.0" : options.ip,
      [bridgeOption.name]: name,
      [bridgeOption.mtu]: "1500",
    },
  };
  // a bridge by that name which no record of ours knows is the administrator's
  if (options.bridge !== "" && link !== undefined && present === undefined) network.foreign = true;
  if (present !== undefined && ctx.records.endpointsOf(present.id).length > 0) return { ...network, ipam: present.ipam };
  return { ...network, ipam: { driver: "default", options: {}, config: [defaultSubnet(ctx, network, link?.index)] } };
}

function defaultSubnet(ctx: NetworkContext, network: NetworkRecord, link: number | undefined): NetworkRecord["ipam"]["config"][number] {
  const asConfig = (address: Address, subnet: Subnet): { subnet: string; gateway: string } => ({
    subnet: formatSubnet(subnet),
    gateway: formatAddress(address),
  });
  if (ctx.options.bip !== "") {
    const bip = parseBip(ctx.options.bip);
    return asConfig(bip.address, bip.subnet);
  }
  if (link !== undefined && network.foreign === true) {
    const own = listAddresses(ctx.host).find((entry) => entry.index === link && entry.address.length === 4);
    if (own !== undefined) return asConfig(addressFrom(own.address), subnetOf(addressFrom(own.address), own.prefixLength));
  }
  const others = ctx.records.list().filter((other) => other.id !== network.id);
  const taken = [...others.flatMap(subnetsOf), ...routesInUse(ctx, new Set(link === undefined ? [] : [link]))];
  const before = network.ipam.config[0];
  const kept = before === undefined ? undefined : parsePrefix(before.subnet)?.subnet;
  if (before !== undefined && kept !== undefined && !taken.some((other) => overlaps(other, kept))) return before;
  return planSubnets({ config: [], enableIPv4: true, enableIPv6: false, pools: pools(ctx), networks: [], routes: taken })[0]!;
}

/** Networks that no container is on, for prune; `keep` filters by what the client asked. */
export async function pruneNetworks(ctx: NetworkContext, keep: (network: NetworkRecord) => boolean): Promise<string[]> {
  const deleted: string[] = [];
  for (const network of ctx.records.list()) {
    if (isPredefined(network.name) || keep(network) || ctx.records.endpointsOf(network.id).length > 0) continue;
    try {
      await removeNetwork(ctx, network.id);
      deleted.push(network.name);
    } catch (error) {
      // somebody joined or removed it meanwhile
      if (!(error instanceof EngineError)) throw error;
      ctx.log.warn("a network was not pruned", { network: network.name, error: error.message });
    }
  }
  ctx.events.emit("network", "prune", "", { reclaimed: "0" });
  return deleted;
}
