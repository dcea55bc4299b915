import { existsSync } from "node:fs";
import { notFound, permissionDenied } from "../lib/errors.ts";
import { getLink } from "../kernel/netlink-route.ts";
import { allocate } from "./allocate.ts";
import { attach } from "./attach.ts";
import { driverOf, type NetworkContext } from "./context.ts";
import { settleDefaultRoutes } from "./default-routes.ts";
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
    await moveDefaultRoutes(ctx, options.containerId);
    throw error;
  }
  const publisher = present.find((other) => other.ports.length > 0);
  if (publisher !== undefined && endpoint.defaultRoute && publishes(ctx, endpoint)) movePorts(ctx, publisher, endpoint);
  return endpoint;
}

/** Takes a container off a network, with its interface. @throws EngineError notFound */
export async function disconnect(ctx: NetworkContext, containerId: string, reference: string): Promise<void> {
  const network = ctx.records.resolve(reference);
  const endpoint = ctx.records.endpointsOfContainer(containerId).find((candidate) => candidate.networkId === network.id);
  if (endpoint === undefined) throw notFound(`container ${containerId} is not connected to network ${network.name}`);
  const heirs = settleDefaultRoutes(
    ctx,
    ctx.records.endpointsOfContainer(containerId).filter((other) => other.id !== endpoint.id),
  );
  const publisher = heirs.find((heir) => heir.defaultRoute);
  if (publisher !== undefined && publishes(ctx, publisher)) movePorts(ctx, endpoint, publisher);
  await releaseEndpoint(ctx, endpoint, { lives: true });
  await giveDefaultRoutes(ctx, containerId, heirs);
}

const publishes = (ctx: NetworkContext, { networkId }: StoredEndpoint): boolean => {
  const network = ctx.records.byId(networkId);
  return network !== undefined && driverOf(ctx, network.driver).ports === "engine";
};

/** Other networks give the default routes that went with the one that was left. */
async function moveDefaultRoutes(ctx: NetworkContext, containerId: string): Promise<void> {
  await giveDefaultRoutes(ctx, containerId, settleDefaultRoutes(ctx, ctx.records.endpointsOfContainer(containerId)));
}

async function giveDefaultRoutes(ctx: NetworkContext, containerId: string, changed: readonly StoredEndpoint[]): Promise<void> {
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
