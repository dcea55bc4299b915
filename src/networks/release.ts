import { messageOf } from "../lib/errors.ts";
import { driverOf, emitNetworkEvent, type NetworkContext } from "./context.ts";
import { ownAddressRules } from "./own-address-ports.ts";
import type { StoredEndpoint } from "./records.ts";

/** Kernel steps of an undo: each is tried whatever the others did, since an address must never stay behind for a rule that can't be deleted. */
function attempt(ctx: NetworkContext, what: string, endpoint: StoredEndpoint, step: () => void): void {
  try {
    step();
  } catch (error) {
    ctx.log.warn(`${what} failed`, { container: endpoint.containerId, network: endpoint.networkName, error: messageOf(error) });
  }
}

/** Frees what one endpoint has: rules and traffic at once, then sockets, rows, addresses. Its link goes with the container's namespace. */
export function releaseEndpoint(ctx: NetworkContext, endpoint: StoredEndpoint): void {
  const network = ctx.records.byId(endpoint.networkId);
  if (endpoint.ports.length > 0) {
    attempt(ctx, "taking out the rules of published ports", endpoint, () =>
      ctx.firewall.removePorts([...ctx.ports.rulesOf(endpoint.containerId), ...ownAddressRules(ctx, endpoint)]),
    );
    ctx.ports.release(endpoint.containerId);
  }
  if (network !== undefined) attempt(ctx, "silencing the endpoint", endpoint, () => driverOf(ctx, network.driver).detach(network, endpoint));
  ctx.store.tx(() => {
    ctx.records.deleteEndpoint(endpoint);
    if (network !== undefined) emitNetworkEvent(ctx, "disconnect", network, endpoint.containerId);
  });
  ctx.addresses.free(endpoint.networkId, endpoint.ipv4);
  ctx.addresses.free(endpoint.networkId, endpoint.ipv6);
}
