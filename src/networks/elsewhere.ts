import { formatAddress, formatMac } from "../lib/address.ts";
import { randomBytes } from "node:crypto";
import { EngineError, messageOf, notFound, permissionDenied } from "../lib/errors.ts";
import { driverOf, type NetworkContext } from "./context.ts";
import type { NamespaceHandle } from "./driver.ts";
import type { GivenAddress } from "./address-book.ts";
import type { StoredEndpoint } from "./records.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

/** A plugin keeps records of the network's endpoints, or gives out its addresses. */
export const isElsewhere = (ctx: NetworkContext, network: NetworkRecord): boolean =>
  network.ipam.driver !== "default" || driverOf(ctx, network.driver).createEndpoint !== undefined;

export interface AddressWish {
  ipv4: string | undefined;
  ipv6: string | undefined;
  /** Empty: none asked for. */
  mac: string;
}

export interface AddressGift {
  ipv4: GivenAddress | undefined;
  ipv6: GivenAddress | undefined;
  /** Empty where neither the user nor the plugin of addresses needs one. */
  mac: string;
}

/**
 * Asks the plugins of a network for an endpoint's addresses, then tells its driver of the endpoint. Before a plugin hears of an endpoint there is a row that says
 * so: whatever becomes of the engine, somebody gives it back. One at a time for each network, so that what was just given back is there again.
 */
export async function makeElsewhere(
  ctx: NetworkContext,
  network: NetworkRecord,
  wish: AddressWish,
  steps: { id: string; containerId: string; build(gift: AddressGift): Promise<StoredEndpoint>; record(endpoint: StoredEndpoint): void },
): Promise<StoredEndpoint> {
  using _turn = await ctx.turns.lock(network.id);
  if (ctx.records.byId(network.id) === undefined) throw notFound(`network ${network.name} not found`);
  const { id, containerId } = steps;
  let isTold = false;
  let known: Endpoint = {
    ...{ id, networkId: network.id, networkName: network.name, containerId, hostInterface: "", containerInterface: "" },
    ...{ macAddress: "", dnsNames: [], ports: [] },
  };
  try {
    const gift = await askAddresses(ctx, network, wish, (given) => {
      known = { ...known, ...given };
      ctx.records.noteElsewhere(known);
    });
    const endpoint = await steps.build(gift);
    known = endpoint;
    ctx.records.noteElsewhere(endpoint);
    const driver = driverOf(ctx, network.driver);
    isTold = true;
    if (driver.createEndpoint !== undefined) Object.assign(endpoint, await driver.createEndpoint(network, endpoint));
    steps.record(endpoint);
    return endpoint;
  } catch (error) {
    await giveBack(ctx, network, known, isTold);
    throw error;
  }
}

async function askAddresses(ctx: NetworkContext, network: NetworkRecord, wish: AddressWish, note: (given: Partial<Endpoint>) => void): Promise<AddressGift> {
  const gift: AddressGift = { ipv4: undefined, ipv6: undefined, mac: wish.mac };
  if (network.ipam.driver === "default") {
    gift.ipv4 = ctx.addresses.take(network.id, 4, wish.ipv4);
    note(addressesOf(gift));
    gift.ipv6 = ctx.addresses.take(network.id, 6, wish.ipv6);
  } else {
    if (gift.mac === "" && network.ipam.requiresMac === true) gift.mac = formatMac(Uint8Array.of(0x02, ...randomBytes(5)));
    gift.ipv4 = await ctx.ipam.take(network, 4, wish.ipv4, gift.mac);
    note(addressesOf(gift));
    gift.ipv6 = await ctx.ipam.take(network, 6, wish.ipv6, gift.mac);
  }
  note(addressesOf(gift));
  return gift;
}

const addressesOf = ({ ipv4, ipv6 }: AddressGift): Partial<Endpoint> => ({
  ...(ipv4 && { ipv4: formatAddress(ipv4.address) }),
  ...(ipv6 && { ipv6: formatAddress(ipv6.address) }),
});

/** Takes an endpoint that no container has any more from its plugins. Its row is there; `namespace` is let go when they have heard of it. */
export async function leaveElsewhere(
  ctx: NetworkContext,
  network: NetworkRecord,
  endpoint: Endpoint,
  { lives, namespace }: { lives: boolean; namespace?: NamespaceHandle & Disposable },
): Promise<void> {
  using _namespace = namespace;
  using _turn = await ctx.turns.lock(network.id);
  const open = (): (NamespaceHandle & Disposable) | undefined => namespace && { ...namespace, [Symbol.dispose]() {} };
  await attempt(ctx, "leaving the network", endpoint, async () => await driverOf(ctx, network.driver).detach(network, endpoint, { lives, namespace: open }));
  await giveBack(ctx, network, endpoint, true);
}

/** The row stays where a plugin can't be reached: the next start tries again. */
async function giveBack(ctx: NetworkContext, network: NetworkRecord, endpoint: Endpoint, isTold: boolean): Promise<void> {
  let isDone =
    !isTold || (await attempt(ctx, "deleting the endpoint", endpoint, async () => await driverOf(ctx, network.driver).deleteEndpoint?.(network, endpoint)));
  for (const address of [endpoint.ipv4, endpoint.ipv6]) {
    if (address === undefined) continue;
    if (network.ipam.driver === "default") ctx.addresses.free(network.id, address);
    else isDone = (await attempt(ctx, "giving an address back", endpoint, () => ctx.ipam.free(network, address))) && isDone;
  }
  if (isDone && !ctx.closed()) ctx.records.forgetElsewhere(endpoint.id);
}

/** False where the plugin isn't there or can't be reached; what it says is wrong won't become right. */
async function attempt(ctx: NetworkContext, what: string, { id, networkName }: Endpoint, step: () => Promise<void>): Promise<boolean> {
  try {
    await step();
    return true;
  } catch (error) {
    ctx.log.warn(`${what}: a plugin failed`, { network: networkName, endpoint: id, error: messageOf(error) });
    return !(error instanceof EngineError) || (error.kind !== "unavailable" && error.kind !== "notFound");
  }
}

/** After a start: what a former engine was about to give back. In the background: plugins may start after the engine. */
export function restoreElsewhere(ctx: NetworkContext): void {
  for (const endpoint of ctx.records.elsewhere()) {
    const network = ctx.records.byId(endpoint.networkId);
    if (network === undefined) ctx.records.forgetElsewhere(endpoint.id);
    else void leaveElsewhere(ctx, network, endpoint, { lives: false });
  }
}

/** Deletes a network whose driver may refuse that: nobody joins meanwhile, and it stays where the driver does. */
export async function removeWithConsent(ctx: NetworkContext, network: NetworkRecord, remove: () => void): Promise<void> {
  using _turn = await ctx.turns.lock(network.id);
  if (ctx.records.byId(network.id) === undefined) throw notFound(`network ${network.name} not found`);
  if (ctx.records.endpointsOf(network.id).length > 0) throw permissionDenied(`error while removing network: network ${network.name} has active endpoints`);
  await driverOf(ctx, network.driver).tearDown(network, { forGood: true });
  if (network.ipam.driver !== "default") await ctx.ipam.releasePools(network);
  remove();
}
