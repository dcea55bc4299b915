import { existsSync } from "node:fs";
import { messageOf } from "../lib/errors.ts";
import { driverOf, emitNetworkEvent, type NetworkContext } from "./context.ts";
import { isElsewhere, leaveElsewhere } from "./elsewhere.ts";
import type { Awaitable, DetachOptions } from "./driver.ts";
import { closeLinks } from "./links.ts";
import { ownAddressRules } from "./own-address-ports.ts";
import type { StoredEndpoint } from "./records.ts";
import type { NetworkRecord } from "./types.ts";

/** Kernel steps of an undo: each is tried whatever the others did, since an address must never stay behind for a rule that can't be deleted. */
function attempt(ctx: NetworkContext, what: string, endpoint: StoredEndpoint, step: () => Awaitable<void>): Awaitable<void> {
  const onError = (error: unknown): void =>
    ctx.log.warn(`${what} failed`, { container: endpoint.containerId, network: endpoint.networkName, error: messageOf(error) });
  try {
    return step()?.catch(onError);
  } catch (error) {
    onError(error);
  }
}

/** How a driver gets at the container's namespace when it takes an endpoint's link away. */
function detachOptions(ctx: NetworkContext, { containerId }: StoredEndpoint, lives: boolean): DetachOptions {
  const path = ctx.namespaces.path(containerId);
  return { lives, namespace: () => (existsSync(path) ? ctx.namespaces.open(path) : undefined) };
}

interface ReleaseOptions {
  lives: boolean;
  write?: () => void;
}

/**
 * Frees what one endpoint has: rules and traffic at once, then sockets, rows, addresses. Its link goes with the container's namespace, or, where the container
 * `lives`, before the promise is kept. `write` is committed with the endpoint's row.
 */
export function releaseEndpoint(ctx: NetworkContext, endpoint: StoredEndpoint, { lives, write }: ReleaseOptions): Awaitable<void> {
  const network = ctx.records.byId(endpoint.networkId);
  ctx.attached.delete(endpoint.id);
  if (endpoint.ports.length > 0) {
    void attempt(ctx, "taking out the rules of published ports", endpoint, () =>
      ctx.firewall.removePorts([...ctx.ports.rulesOf(endpoint.containerId), ...ownAddressRules(ctx, endpoint)]),
    );
    ctx.ports.release(endpoint.containerId);
  }
  if (ctx.links.size > 0 && endpoint.networkName === "bridge")
    void attempt(ctx, "taking out the rules of links", endpoint, () => closeLinks(ctx, endpoint.containerId));
  if (network !== undefined && isElsewhere(ctx, network)) return releaseElsewhere(ctx, network, endpoint, { lives, ...(write && { write }) });
  const waits = network === undefined ? undefined : attempt(ctx, "silencing the endpoint", endpoint, () => silence(ctx, network, endpoint, lives));
  ctx.store.tx(() => {
    ctx.records.deleteEndpoint(endpoint);
    write?.();
    if (network !== undefined) emitNetworkEvent(ctx, "disconnect", network, endpoint.containerId);
  });
  ctx.addresses.free(endpoint.networkId, endpoint.ipv4);
  ctx.addresses.free(endpoint.networkId, endpoint.ipv6);
  return waits;
}

/** Rules and sockets of thousands of ports, in turns. Failures are logged: the release of the endpoint tries again. */
export async function withdrawPorts(ctx: NetworkContext, containerId: string): Promise<void> {
  try {
    await ctx.ports.releaseInTurns(containerId, (rules) => ctx.firewall.removePorts(rules));
  } catch (error) {
    ctx.log.warn("taking out the rules of published ports failed", { container: containerId, error: messageOf(error) });
  }
}

/** The row that plugins are to hear of it replaces the endpoint's. The namespace is held until they have. */
function releaseElsewhere(ctx: NetworkContext, network: NetworkRecord, endpoint: StoredEndpoint, { lives, write }: ReleaseOptions): Promise<void> {
  const namespace = detachOptions(ctx, endpoint, lives).namespace();
  ctx.store.tx(() => {
    ctx.records.deleteEndpoint(endpoint);
    ctx.records.noteElsewhere(endpoint);
    write?.();
    emitNetworkEvent(ctx, "disconnect", network, endpoint.containerId);
  });
  return leaveElsewhere(ctx, network, endpoint, { lives, ...(namespace && { namespace }) });
}

const silence = (ctx: NetworkContext, network: NetworkRecord, endpoint: StoredEndpoint, lives: boolean): Awaitable<void> =>
  driverOf(ctx, network.driver).detach(network, endpoint, detachOptions(ctx, endpoint, lives));
