import { existsSync } from "node:fs";
import { getLink } from "../kernel/netlink-route.ts";
import { driverOf, type NetworkContext } from "./context.ts";
import { settleDefaultRoutes } from "./default-routes.ts";
import { defaultRoutes } from "./endpoint-link.ts";
import type { StoredEndpoint } from "./records.ts";

/** Other networks give the default routes that went with the one that was left. */
export async function moveDefaultRoutes(ctx: NetworkContext, containerId: string): Promise<void> {
  await giveDefaultRoutes(ctx, containerId, settleDefaultRoutes(ctx, ctx.records.endpointsOfContainer(containerId)));
}

export async function giveDefaultRoutes(ctx: NetworkContext, containerId: string, changed: readonly StoredEndpoint[]): Promise<void> {
  // one may have gone, too, meanwhile
  const heirs = changed.filter((endpoint) => ctx.records.endpoint(endpoint.id) !== undefined);
  if (heirs.length === 0) return;
  for (const heir of heirs) ctx.records.updateEndpoint(heir);
  const path = ctx.namespaces.path(containerId);
  if (!existsSync(path)) return;
  using namespace = ctx.namespaces.open(path);
  for (const heir of heirs) {
    const network = ctx.records.byId(heir.networkId);
    if (network === undefined || heir.containerInterface === "") continue;
    namespace.route.request(...defaultRoutes(getLink(namespace.route, heir.containerInterface).index, network, heir));
    if (heir.defaultRoute) await driverOf(ctx, network.driver).setGateway?.(network, heir, true);
  }
}
