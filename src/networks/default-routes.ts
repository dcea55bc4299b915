import { defaultGatewayName } from "./address-book.ts";
import { driverOf, isClosed, leadsOut, type NetworkContext } from "./context.ts";
import type { StoredEndpoint } from "./records.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

type Ways = Pick<Endpoint, "ipv4" | "ipv6" | "gateway" | "gateway6">;

/** Whether an endpoint can lead outside in a family. */
function leadsOutBy(ctx: NetworkContext, network: NetworkRecord | undefined, { ipv4, ipv6, gateway, gateway6 }: Ways, family: 4 | 6): boolean {
  if (network === undefined) return false;
  const isIn = (family === 4 ? ipv4 : ipv6) !== undefined;
  // a plugin says only when a container joins whether it leads anywhere, and may know the address alone
  if (driverOf(ctx, network.driver).ports === "driver") return !network.internal && (isIn || (ipv6 === undefined && family === 4));
  if (!isIn) return false;
  return leadsOut(network, family === 4 ? { ...(gateway !== undefined && { gateway }) } : { ...(gateway6 !== undefined && { gateway6 }) });
}

/** Whether an endpoint gives its container a default route, of either family. */
export const givesDefaultRoute = ({ defaultRoute, defaultRoutes }: StoredEndpoint): boolean => defaultRoute || defaultRoutes?.[6] === true;

interface Candidate {
  priority: number;
  networkName: string;
  /** The families by which it leads outside. */
  families: (4 | 6)[];
}

/** Docker's order (moby libnetwork sandbox.go, Endpoint.Less): the highest priority, then what leads outside by both families, then the first by name. */
const compareCandidates = (a: Candidate, b: Candidate): number =>
  b.priority - a.priority || b.families.length - a.families.length || (a.networkName < b.networkName ? -1 : 1);

const familiesOf = (ctx: NetworkContext, network: NetworkRecord | undefined, ways: Ways): (4 | 6)[] =>
  ([4, 6] as const).filter((family) => leadsOutBy(ctx, network, ways, family));

/**
 * Decides which of a container's endpoints gives its default route, for each family. Published ports go with `defaultRoute`: IPv4's, or IPv6's where
 * no network leads outside by IPv4. Returns the endpoints whose part changed, changed.
 */
export function settleDefaultRoutes(ctx: NetworkContext, endpoints: readonly StoredEndpoint[]): StoredEndpoint[] {
  const ranked = endpoints
    .map((endpoint) => {
      const families = familiesOf(ctx, ctx.records.byId(endpoint.networkId), endpoint);
      return { endpoint, priority: endpoint.gwPriority ?? 0, networkName: endpoint.networkName, families };
    })
    .sort(compareCandidates);
  const [four, six] = ([4, 6] as const).map((family) => ranked.find(({ families }) => families.includes(family))?.endpoint);
  return endpoints.filter((endpoint) => {
    const defaultRoutes = { 4: four === endpoint, 6: six === endpoint };
    const defaultRoute = (four ?? six) === endpoint;
    const before = endpoint.defaultRoutes;
    if (endpoint.defaultRoute === defaultRoute && before?.[4] === defaultRoutes[4] && before[6] === defaultRoutes[6]) return false;
    Object.assign(endpoint, { defaultRoute, defaultRoutes });
    return true;
  });
}

/** Which of `wanted` will give a container its default route, and so publish its ports, once it is on all of them. Undefined where none leads outside. */
export function foreseeDefaultRoute(ctx: NetworkContext, wanted: readonly { network: string; priority: number }[]): string | undefined {
  const ranked = wanted
    .map(({ network, priority }) => {
      const record = ctx.records.resolve(network);
      return { network, priority, networkName: record.name, families: familiesOf(ctx, record, waysOf(record)) };
    })
    .sort(compareCandidates);
  const by = (family: 4 | 6): string | undefined => ranked.find(({ families }) => families.includes(family))?.network;
  return by(4) ?? by(6);
}

/** What an endpoint on a network will have of each family. */
function waysOf(network: NetworkRecord): Ways {
  const [four, six] = ([4, 6] as const).map((family) => {
    const config = network.ipam.config.find(({ subnet }) => subnet.includes(":") === (family === 6));
    return { subnet: config?.subnet, gateway: isClosed(network) ? undefined : (config?.auxAddresses?.[defaultGatewayName[family]] ?? config?.gateway) };
  });
  return {
    ...(four?.subnet !== undefined && { ipv4: four.subnet }),
    ...(six?.subnet !== undefined && { ipv6: six.subnet }),
    ...(four?.gateway !== undefined && { gateway: four.gateway }),
    ...(six?.gateway !== undefined && { gateway6: six.gateway }),
  };
}
