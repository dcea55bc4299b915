import { driverOf, leadsOut, type NetworkContext } from "./context.ts";
import type { StoredEndpoint } from "./records.ts";

/** Whether an endpoint can lead outside in a family. */
function leadsOutBy(ctx: NetworkContext, endpoint: StoredEndpoint, family: 4 | 6): boolean {
  const network = ctx.records.byId(endpoint.networkId);
  const { ipv4, ipv6, gateway, gateway6 } = endpoint;
  if (network === undefined) return false;
  const isIn = (family === 4 ? ipv4 : ipv6) !== undefined;
  // a plugin says only when a container joins whether it leads anywhere, and may know the address alone
  if (driverOf(ctx, network.driver).ports === "driver") return !network.internal && (isIn || (ipv6 === undefined && family === 4));
  if (!isIn) return false;
  return leadsOut(network, family === 4 ? { ...(gateway !== undefined && { gateway }) } : { ...(gateway6 !== undefined && { gateway6 }) });
}

/** Whether an endpoint gives its container a default route, of either family. */
export const givesDefaultRoute = ({ defaultRoute, defaultRoutes }: StoredEndpoint): boolean => defaultRoute || defaultRoutes?.[6] === true;

/**
 * Decides which of a container's endpoints gives its default route, for each family: the highest priority, then who was there first. Published
 * ports go with `defaultRoute`: IPv4's, or IPv6's where no network leads outside by IPv4. Returns the endpoints whose part changed, changed.
 */
export function settleDefaultRoutes(ctx: NetworkContext, endpoints: readonly StoredEndpoint[]): StoredEndpoint[] {
  const ranked = endpoints.toSorted((a, b) => (b.gwPriority ?? 0) - (a.gwPriority ?? 0) || a.order - b.order);
  const [four, six] = ([4, 6] as const).map((family) => ranked.find((each) => leadsOutBy(ctx, each, family)));
  return endpoints.filter((endpoint) => {
    const defaultRoutes = { 4: four === endpoint, 6: six === endpoint };
    const defaultRoute = (four ?? six) === endpoint;
    const before = endpoint.defaultRoutes;
    if (endpoint.defaultRoute === defaultRoute && before?.[4] === defaultRoutes[4] && before[6] === defaultRoutes[6]) return false;
    Object.assign(endpoint, { defaultRoute, defaultRoutes });
    return true;
  });
}
