import { existsSync } from "node:fs";
import { notFound, permissionDenied } from "../lib/errors.ts";
import { getLink } from "../kernel/netlink-route.ts";
import { allocate } from "./allocate.ts";
import { attach } from "./attach.ts";
import type { NetworkContext } from "./context.ts";
import { gatewayRoutes } from "./endpoint-link.ts";
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
  return endpoint;
}

/** Takes a container off a network, with its interface. @throws EngineError notFound */
export async function disconnect(ctx: NetworkContext, containerId: string, reference: string): Promise<void> {
  const network = ctx.records.resolve(reference);
  const endpoint = ctx.records.endpointsOfContainer(containerId).find((candidate) => candidate.networkId === network.id);
  if (endpoint === undefined) throw notFound(`container ${containerId} is not connected to network ${network.name}`);
  await releaseEndpoint(ctx, endpoint, { lives: true });
  if (endpoint.defaultRoute) moveDefaultRoute(ctx, containerId);
}

/** The next network that leads outside gives the default route. */
function moveDefaultRoute(ctx: NetworkContext, containerId: string): void {
  const candidates = ctx.records.endpointsOfContainer(containerId).filter(({ gateway, gateway6 }) => gateway !== undefined || gateway6 !== undefined);
  const [heir] = candidates.sort((a, b) => (b.gwPriority ?? 0) - (a.gwPriority ?? 0));
  if (heir === undefined) return;
  heir.defaultRoute = true;
  ctx.records.updateEndpoint(heir);
  const path = ctx.namespaces.path(containerId);
  if (!existsSync(path)) return;
  using namespace = ctx.namespaces.open(path);
  const { index } = getLink(namespace.route, heir.containerInterface);
  namespace.route.request(...gatewayRoutes(index, heir));
}
