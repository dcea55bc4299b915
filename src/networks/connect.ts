import { existsSync } from "node:fs";
import { notFound, permissionDenied } from "../lib/errors.ts";
import { getLink } from "../kernel/netlink-route.ts";
import { allocate } from "./allocate.ts";
import { attach } from "./attach.ts";
import { driverOf, leadsOut, type NetworkContext } from "./context.ts";
import { defaultRoutes } from "./endpoint-link.ts";
import { movePorts } from "./publish.ts";
import type { StoredEndpoint } from "./records.ts";
import { releaseEndpoint } from "./release.ts";
import type { ConnectOptions } from "./types.ts";

/** Puts a container that may be running onto one more network. @throws EngineError */
export async function connect(ctx: NetworkContext, options: ConnectOptions): Promise<StoredEndpoint> {
  const network = ctx.records.resolve(options.network);
  const present = ctx.records.endpointsOfContainer(options.containerId);
  if (present.some((endpoint) => endpoint.networkId === network.id)) {
    throw permissionDenied(`endpoint with name ${options.containerName} already exists in network ${network.name}`);
  }
  const endpoint = await allocate(ctx, options);
  const path = ctx.namespaces.path(options.containerId);
  if (!existsSync(path)) return endpoint;
  try {
    await attach(ctx, endpoint, path);
  } catch (error) {
    await releaseEndpoint(ctx, endpoint, { lives: true });
    throw error;
  }
  const publisher = present.find((other) => other.ports.length > 0);
  if (publisher !== undefined && endpoint.defaultRoute) movePorts(ctx, publisher, endpoint);
  return endpoint;
}

/** Takes a container off a network, with its interface. @throws EngineError notFound */
export async function disconnect(ctx: NetworkContext, containerId: string, reference: string): Promise<void> {
  const network = ctx.records.resolve(reference);
  const endpoint = ctx.records.endpointsOfContainer(containerId).find((candidate) => candidate.networkId === network.id);
  if (endpoint === undefined) throw notFound(`container ${containerId} is not connected to network ${network.name}`);
  const heir = endpoint.defaultRoute ? heirOf(ctx, endpoint) : undefined;
  if (heir !== undefined && publishes(ctx, heir)) movePorts(ctx, endpoint, heir);
  await releaseEndpoint(ctx, endpoint, { lives: true });
  // it may have gone, too, meanwhile
  if (heir !== undefined && ctx.records.endpoint(heir.id) !== undefined) await moveDefaultRoute(ctx, heir);
}

const publishes = (ctx: NetworkContext, { networkId }: StoredEndpoint): boolean => {
  const network = ctx.records.byId(networkId);
  return network !== undefined && driverOf(ctx, network.driver).ports === "engine";
};

/** The next network that leads outside. */
function heirOf(ctx: NetworkContext, { id, containerId }: StoredEndpoint): StoredEndpoint | undefined {
  return ctx.records
    .endpointsOfContainer(containerId)
    .filter((other) => other.id !== id && leadsOut(ctx.records.byId(other.networkId), other))
    .sort((a, b) => (b.gwPriority ?? 0) - (a.gwPriority ?? 0))[0];
}

/** From now on `heir` gives the default route. */
async function moveDefaultRoute(ctx: NetworkContext, heir: StoredEndpoint): Promise<void> {
  const { containerId } = heir;
  heir.defaultRoute = true;
  ctx.records.updateEndpoint(heir);
  const path = ctx.namespaces.path(containerId);
  if (!existsSync(path)) return;
  using namespace = ctx.namespaces.open(path);
  const { index } = getLink(namespace.route, heir.containerInterface);
  const network = ctx.records.byId(heir.networkId);
  if (network === undefined) return;
  namespace.route.request(...defaultRoutes(index, network, heir));
  await driverOf(ctx, network.driver).setGateway?.(network, heir, true);
}
