import { SysError } from "../kernel/ffi.ts";
import { conflict, EngineError, invalidArgument, messageOf, permissionDenied } from "../lib/errors.ts";
import { findLink } from "../kernel/netlink-route.ts";
import { createPause } from "../lib/turns.ts";
import { bridgeNameOf } from "./bridge-options.ts";
import { checkKind, checkUnused, takeConfiguration } from "./config-networks.ts";
import { allNetworks, driverOf, emitNetworkEvent, isPredefined, type NetworkContext } from "./context.ts";
import type { NetworkDriver } from "./driver.ts";
import { defaultNetwork } from "./default-network.ts";
import { isElsewhere, removeWithConsent } from "./elsewhere.ts";
import { hostUse } from "./host-use.ts";
import { checkName, planSubnets, poolsOf } from "./network-config.ts";
import { draft, withDefaultOptions } from "./draft.ts";
import type { NetworkRecord, NetworkWish } from "./types.ts";

/** Validates, chooses subnets, makes the network in the kernel, then records it. @throws EngineError */
export async function createNetwork(ctx: NetworkContext, wish: NetworkWish): Promise<NetworkRecord> {
  checkName(wish.name);
  if (isPredefined(wish.name)) throw permissionDenied(`operation is not permitted on predefined ${wish.name} network `); // the blank is Docker's
  checkFree(ctx, wish.name);
  checkKind(wish);
  const network = draft(withDefaultOptions(takeConfiguration(ctx, wish), ctx.options.defaultNetworkOpts));
  if (network.configOnly === true) return record(ctx, network);
  if (!ctx.drivers.has(network.driver)) await ctx.plugins.get(network.driver, "NetworkDriver");
  const driver = driverOf(ctx, network.driver);
  if (network.driver === "host" || network.driver === "null") {
    throw permissionDenied(`only one instance of "${network.driver}" network is allowed`);
  }
  if (!network.enableIPv4 && !network.enableIPv6) throw invalidArgument("IPv4 or IPv6 must be enabled");
  const asked = driver.withoutGateway?.(network);
  const withoutGateway = (asked instanceof Promise ? await asked : asked) ?? { 4: false, 6: false };
  if (network.ipam.driver !== "default") network.ipam.config = await ctx.ipam.requestPools(network, withoutGateway, ctx.addresses.subnets());
  else
    network.ipam.config = planSubnets({
      config: network.ipam.config,
      enableIPv4: network.enableIPv4,
      enableIPv6: network.enableIPv6,
      withoutGateway,
      pools: poolsOf(ctx),
      networks: ctx.addresses.subnets(),
      avoid: () => hostUse(ctx.host),
    });
  // somebody may have been faster while a plugin was asked
  checkFree(ctx, network.name);
  ctx.creating.add(network);
  ctx.addresses.open(network, []);
  try {
    await make(ctx, driver, network);
  } catch (error) {
    ctx.addresses.close(network.id);
    if (network.ipam.driver !== "default") await ctx.ipam.releasePools(network);
    throw error;
  } finally {
    ctx.creating.delete(network);
  }
  return network;
}

/** @throws EngineError conflict */
function checkFree(ctx: NetworkContext, name: string): void {
  if (allNetworks(ctx).some((network) => network.name === name)) throw conflict(`network with name ${name} already exists`);
}

async function make(ctx: NetworkContext, driver: NetworkDriver, network: NetworkRecord): Promise<void> {
  await checkWith(ctx, driver, network);
  let isMade = false;
  try {
    const waits = driver.setUp(network);
    if (waits !== undefined) await waits;
    isMade = true;
    if (network.driver === "bridge") await ctx.firewalld.changed();
    record(ctx, network);
  } catch (error) {
    // the kernel doesn't take the addresses, the disk is full; what a plugin refused to make, it needn't remove
    if (isMade || driver.mayRefuse !== true) await driver.tearDown(network, { forGood: true });
    if (error instanceof SysError) throw invalidArgument(`network ${network.name} can't be made: ${messageOf(error)}`, error);
    throw error;
  }
}

/** What can be known to be wrong before anything is made. */
async function checkWith(ctx: NetworkContext, driver: NetworkDriver, network: NetworkRecord): Promise<void> {
  await waitForName(ctx, network);
  const waits = driver.validate(network);
  if (waits !== undefined) await waits;
  claimBridge(ctx, network);
}

function record(ctx: NetworkContext, network: NetworkRecord): NetworkRecord {
  ctx.store.tx(() => {
    ctx.records.saveNetwork(network);
    emitNetworkEvent(ctx, "create", network);
  });
  return network;
}

/** One network a bridge; notes whether somebody else made it. */
function claimBridge(ctx: NetworkContext, network: NetworkRecord): void {
  if (network.driver !== "bridge") return;
  const name = bridgeNameOf(network);
  const other = allNetworks(ctx).find((candidate) => candidate.driver === "bridge" && candidate.id !== network.id && bridgeNameOf(candidate) === name);
  if (other !== undefined)
    throw permissionDenied(`cannot create network ${network.id} (${name}): conflicts with network ${other.id} (${name}): networks have same bridge name`);
  if (findLink(ctx.host, name) !== undefined) network.foreign = true;
}

/** @throws EngineError notFound, permissionDenied for predefined networks and while endpoints are there */
export async function removeNetwork(ctx: NetworkContext, reference: string): Promise<void> {
  const network = ctx.records.resolve(reference);
  if (isPredefined(network.name)) throw permissionDenied(`${network.name} is a pre-defined network and cannot be removed`);
  checkUnused(ctx, network);
  const endpoints = ctx.records.endpointsOf(network.id);
  if (endpoints.length > 0) {
    const list = endpoints.map((endpoint) => `name:"${endpoint.containerName}" id:"${endpoint.id.slice(0, 12)}"`).join(", ");
    throw permissionDenied(`error while removing network: network ${network.name} has active endpoints (${list})`);
  }
  const remove = (): void => {
    ctx.store.tx(() => {
      ctx.records.deleteNetwork(network.id);
      emitNetworkEvent(ctx, "destroy", network);
    });
  };
  const free = (): void => ctx.addresses.close(network.id);
  if (isElsewhere(ctx, network))
    return await removeWithConsent(ctx, network, () => {
      remove();
      free();
    });
  // the row goes first: from here on nobody can join, and a crash leaves only a bridge for restore to find
  remove();
  const driver = driverOf(ctx, network.driver);
  if (driver.withdraw === undefined) {
    free();
    return await driver.tearDown(network, { forGood: true });
  }
  const failed = (error: unknown): void => ctx.log.warn("could not take a removed network down", { network: network.name, error: messageOf(error) });
  const withdrawn = driver.withdraw(network).catch(failed).finally(free);
  const gone = withdrawn
    .then(() => driver.tearDown(network, { forGood: true }))
    .catch(failed)
    .finally(() => {
      ctx.leaving.delete(network.id);
      void ctx.firewalld.changed();
    });
  ctx.leaving.set(network.id, { bridge: bridgeNameOf(network), gone });
  await withdrawn;
}

/** A bridge by the name that a new network wants may be on its way out. */
async function waitForName(ctx: NetworkContext, network: NetworkRecord): Promise<void> {
  if (network.driver !== "bridge" || ctx.leaving.size === 0) return;
  const name = bridgeNameOf(network);
  await Promise.all([...ctx.leaving.values()].map(({ bridge, gone }) => (bridge === name ? gone : undefined)));
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
  const wanted = defaultNetwork(ctx, present);
  if (present === undefined || JSON.stringify(present) !== JSON.stringify(wanted)) ctx.store.tx(() => ctx.records.saveNetwork(wanted));
}

/** Networks that no container is on, for prune; `keep` filters by what the client asked. */
export async function pruneNetworks(ctx: NetworkContext, keep: (network: NetworkRecord) => boolean): Promise<string[]> {
  const deleted: string[] = [];
  const pause = createPause();
  for (const network of ctx.records.list()) {
    await pause();
    if (isPredefined(network.name) || network.configOnly === true || keep(network) || ctx.records.endpointsOf(network.id).length > 0) continue;
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
