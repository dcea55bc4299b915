import { existsSync } from "node:fs";
import { conflict, invalidArgument, permissionDenied } from "../lib/errors.ts";
import type { EndpointSettings } from "../oci/container.ts";
import type { RunningSandbox } from "../sandbox/types.ts";
import { changeRecord, emitNetworkEvent, isBeingRemoved, lookup, type Context, type Entry } from "./context.ts";
import { checkEndpoint } from "./endpoints.ts";
import { effectiveBindings } from "./ports.ts";
import { connectOptions } from "./spec.ts";
import type { ContainerRecord } from "./types.ts";

/** Joins a container to one more network, at once where it runs, else with its next start. Texts are Docker's. @throws EngineError */
export async function connectNetwork(ctx: Context, reference: string, network: string, settings: EndpointSettings): Promise<void> {
  const entry = lookup(ctx, reference);
  await entry.starting?.settled;
  using _lock = await ctx.mutex.lock(entry.record.id);
  const { name, driver, configOnly } = ctx.networks.resolve(network);
  if (configOnly === true) throw permissionDenied("cannot create endpoint on configuration-only network");
  checkEndpoint(ctx, name, settings);
  const { record } = entry;
  if (isBeingRemoved(entry)) throw conflict(`container ${record.id} is marked for removal and cannot be connected or disconnected to the network ${name}`);
  const mode = record.host.NetworkMode ?? "";
  if (driver === "host") throw permissionDenied("cannot connect container to host network - container must be created in host network mode");
  if (mode === "host" || mode.startsWith("container:")) {
    throw permissionDenied("container sharing network namespace with another container or host cannot be connected to any other network");
  }
  if (driver === "null" || Object.hasOwn(record.endpoints, "none")) {
    throw permissionDenied("container cannot be connected to multiple networks with one of the networks in private (none) mode");
  }
  if (Object.hasOwn(record.endpoints, name)) throw permissionDenied(`endpoint with name ${record.name} already exists in network ${name}`);
  await whereItRuns(ctx, entry, async ({ pid }) => {
    nameNamespace(ctx, record.id, pid);
    await ctx.networks.connect(connectOptions(record, name, settings, unpublished(ctx, record)));
  });
  changeRecord(ctx, entry, { endpoints: { ...record.endpoints, [name]: settings } });
}

/** Changes the networks of a container that runs; its files follow. */
async function whereItRuns(ctx: Context, entry: Entry, change: (sandbox: RunningSandbox) => Promise<void>): Promise<void> {
  if (entry.sandbox === undefined) return;
  const before = ctx.networks.endpointsOfContainer(entry.record.id);
  await change(entry.sandbox);
  entry.sandbox?.networksChanged(before);
}

/** One that was started on no network has a namespace that the runtime made: networks/ doesn't know it yet. */
function nameNamespace(ctx: Context, id: string, pid: number): void {
  if (!existsSync(`${ctx.paths.namespaces}/${id}`)) ctx.networks.nameNamespace(id, `/proc/${pid}/ns/net`);
}

/** The ports of a container that has been on no network, or on internal ones only, where nothing is published. */
function unpublished(ctx: Context, { id, host, config }: ContainerRecord): ReturnType<typeof effectiveBindings> {
  const isPublished = ctx.networks.endpointsOfContainer(id).some(({ ports }) => ports.length > 0);
  return isPublished ? {} : effectiveBindings(host, config.ExposedPorts);
}

/** @throws EngineError */
export async function disconnectNetwork(ctx: Context, reference: string, network: string, { force }: { force: boolean }): Promise<void> {
  const entry = lookup(ctx, reference);
  await entry.starting?.settled;
  using _lock = await ctx.mutex.lock(entry.record.id);
  const name = nameOf(ctx, entry, network, force);
  const { record } = entry;
  if (record.host.NetworkMode === "host" && name === "host")
    throw permissionDenied("container cannot be disconnected from host network or connected to host network");
  if (!Object.hasOwn(record.endpoints, name)) throw invalidArgument(`container ${record.id} is not connected to network ${name}`);
  const { [name]: _gone, ...endpoints } = record.endpoints;
  const forget = (): void => changeRecord(ctx, entry, { endpoints });
  // together with its endpoint, so that nobody who is killed in between leaves the one without the other
  if (entry.sandbox !== undefined && isOn(ctx, entry, name)) return await whereItRuns(ctx, entry, () => ctx.networks.disconnect(record.id, name, forget));
  ctx.store.tx(() => {
    forget();
    // of one at rest nobody else knows
    if (entry.sandbox === undefined) emitNetworkEvent(ctx, record, name, "disconnect");
  });
}

const isOn = (ctx: Context, { record }: Entry, network: string): boolean =>
  ctx.networks.endpointsOfContainer(record.id).some(({ networkName }) => networkName === network);

/** Takes a container that an earlier engine left running off networks that its record doesn't know: that engine was killed before it had answered. */
export async function undoConnections(ctx: Context, entry: Entry): Promise<void> {
  using _lock = await ctx.mutex.lock(entry.record.id);
  for (const { networkName } of ctx.networks.endpointsOfContainer(entry.record.id)) {
    if (!Object.hasOwn(entry.record.endpoints, networkName)) await whereItRuns(ctx, entry, () => ctx.networks.disconnect(entry.record.id, networkName));
  }
}

/** A forced disconnection works for a network that isn't there any more. */
function nameOf(ctx: Context, { record }: Entry, network: string, force: boolean): string {
  if (force && Object.hasOwn(record.endpoints, network)) return network;
  return ctx.networks.resolve(network).name;
}
