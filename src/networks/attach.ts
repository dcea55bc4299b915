import { driverOf, type NetworkContext } from "./context.ts";
import { givesDefaultRoute } from "./default-routes.ts";
import { cancelled, messageOf, notFound } from "../lib/errors.ts";
import { nextTurn } from "../lib/turns.ts";
import { ownAddressRules } from "./own-address-ports.ts";
import { PORTS_AT_ONCE } from "./ports.ts";
import type { StoredEndpoint } from "./records.ts";
import type { Endpoint } from "./types.ts";

/** How long the kernel gets to tear down a dead namespace before its link is deleted by name. */
const STRAGGLER_MS = 10_000;

/** Makes an endpoint so in the kernel: about a millisecond on the main thread. On failure nothing of it stays. */
export async function attach(ctx: NetworkContext, endpoint: Endpoint, namespacePath: string): Promise<void> {
  const network = ctx.records.byId(endpoint.networkId);
  const stored = ctx.records.endpoint(endpoint.id);
  if (network === undefined || stored === undefined) throw notFound(`endpoint ${endpoint.id} of network ${endpoint.networkName} not found`);
  const driver = driverOf(ctx, network.driver);
  using namespace = ctx.namespaces.open(namespacePath);
  const { macAddress } = stored;
  const waits = driver.attach(network, stored, namespace, { defaultRoute: givesDefaultRoute(stored) });
  if (waits !== undefined) await waits;
  ctx.attached.add(stored.id);
  // what only the kernel knew before
  if (stored.macAddress !== macAddress || driver.createEndpoint !== undefined) ctx.records.updateEndpoint(stored);
  try {
    ctx.resolvers.ensure(stored.containerId, namespace);
    if (stored.ports.length > 0) await openPorts(ctx, stored);
  } catch (error) {
    ctx.attached.delete(stored.id);
    await driver.detach(network, stored, { namespace: () => ctx.namespaces.open(namespacePath), lives: false });
    throw error;
  }
}

/** Thousands of ports in turns. @throws EngineError cancelled where the container has ended meanwhile */
async function openPorts(ctx: NetworkContext, stored: StoredEndpoint): Promise<void> {
  const rules = [...ctx.ports.serve(stored.containerId), ...ownAddressRules(ctx, stored)];
  const flows: (Promise<void> | undefined)[] = [];
  for (let at = 0; at < rules.length; at += PORTS_AT_ONCE) {
    if (at > 0) await nextTurn();
    if (ctx.records.endpoint(stored.id) === undefined) throw cancelled(`publishing ports of container ${stored.containerId} was cancelled`);
    flows.push(ctx.firewall.addPorts(rules.slice(at, at + PORTS_AT_ONCE)));
  }
  await Promise.all(flows);
}

/**
 * A released endpoint's link goes with its namespace. Should it be there later, it is deleted: a thread that Bun started during a visit pins the namespace until it
 * ends (measured, Bun 1.4).
 */
export function watchForStraggler(ctx: NetworkContext, link: string): void {
  const timer = setTimeout(() => {
    if (ctx.closed()) return;
    if (ctx.records.endpoints().some((endpoint) => endpoint.hostInterface === link)) return;
    ctx.chores
      .removePort(link, { gone: true })
      .catch((error: unknown) => ctx.log.warn("could not delete a link that outlived its container", { link, error: messageOf(error) }));
  }, STRAGGLER_MS);
  timer.unref();
}
