import { existsSync } from "node:fs";
import { notFound, permissionDenied } from "../lib/errors.ts";
import { allocate } from "./allocate.ts";
import { attach } from "./attach.ts";
import { driverOf, type NetworkContext } from "./context.ts";
import { giveDefaultRoutes, moveDefaultRoutes } from "./move-default-routes.ts";
import { settleDefaultRoutes } from "./default-routes.ts";
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

/** Takes a container off a network, with its interface; `write` is committed with it. @throws EngineError notFound */
export async function disconnect(ctx: NetworkContext, containerId: string, reference: string, write?: () => void): Promise<void> {
  const network = ctx.records.resolve(reference);
  const endpoint = ctx.records.endpointsOfContainer(containerId).find((candidate) => candidate.networkId === network.id);
  if (endpoint === undefined) throw notFound(`container ${containerId} is not connected to network ${network.name}`);
  const heirs = settleDefaultRoutes(
    ctx,
    ctx.records.endpointsOfContainer(containerId).filter((other) => other.id !== endpoint.id),
  );
  const publisher = heirs.find((heir) => heir.defaultRoute);
  if (publisher !== undefined && publishes(ctx, publisher)) movePorts(ctx, endpoint, publisher);
  await releaseEndpoint(ctx, endpoint, { lives: true, ...(write && { write }) });
  await giveDefaultRoutes(ctx, containerId, heirs);
}

const publishes = (ctx: NetworkContext, { networkId }: StoredEndpoint): boolean => {
  const network = ctx.records.byId(networkId);
  return network !== undefined && driverOf(ctx, network.driver).ports === "engine";
};
