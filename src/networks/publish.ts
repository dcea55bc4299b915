import type { PortBinding } from "../oci/container.ts";
import { publish } from "./allocate.ts";
import type { NetworkContext } from "./context.ts";
import { ownAddressRules } from "./own-address-ports.ts";
import { portKey } from "./ports.ts";
import type { StoredEndpoint } from "./records.ts";
import { targetOf } from "./restore.ts";
import type { PortChange, PublishedPort } from "./types.ts";

/** Ports are published where the container's default route leads outside: answers go back that way. */
function publisherOf(ctx: NetworkContext, containerId: string): StoredEndpoint | undefined {
  const all = ctx.records.endpointsOfContainer(containerId);
  return all.find((endpoint) => endpoint.ports.length > 0) ?? all.find((endpoint) => endpoint.defaultRoute);
}

/**
 * Prepares what a running container publishes from now on: the new ports are held at once, all or none of them. Nobody else notices before `commit`;
 * without one all is as before. Undefined for a container that has no network to publish on. @throws EngineError in Docker's words
 */
export async function changePorts(
  ctx: NetworkContext,
  containerId: string,
  { remove, add }: { remove: readonly PublishedPort[]; add: Record<string, PortBinding[]> },
): Promise<PortChange | undefined> {
  const endpoint = publisherOf(ctx, containerId);
  const network = endpoint && ctx.records.byId(endpoint.networkId);
  if (endpoint === undefined || network === undefined) return undefined;
  const gone = new Set(remove.map(portKey));
  // their sockets would be in the way of new ones on the same numbers; their rules stay until the commit
  const suspended = ctx.ports.suspend(containerId, remove);
  const hasEnded = (): boolean => ctx.records.endpoint(endpoint.id) === undefined;
  let added: PublishedPort[] = [];
  try {
    added = await publish(ctx, network, endpoint.id, { containerId, containerName: endpoint.containerName, portBindings: add }, targetOf(endpoint));
  } catch (error) {
    suspended.resume();
    if (!hasEnded()) throw error;
  }
  const undo = (): void => {
    ctx.ports.release(containerId, added);
    suspended.resume();
  };
  let isDone = false;
  return {
    commit(write) {
      isDone = true;
      if (hasEnded()) return ctx.store.tx(write);
      const ports = [...endpoint.ports.filter((port) => !gone.has(portKey(port))), ...added];
      const before = [...suspended.rules, ...ownAddressRules(ctx, endpoint)];
      const after = [...ctx.ports.serve(containerId, added), ...ownAddressRules(ctx, { ...endpoint, ports })];
      ctx.firewall.removePorts(before);
      try {
        void ctx.firewall.addPorts(after);
        ctx.store.tx(() => {
          write();
          ctx.records.changePorts(endpoint, ports);
        });
      } catch (error) {
        ctx.firewall.removePorts(after);
        undo();
        void ctx.firewall.addPorts(before);
        throw error;
      }
      suspended.drop();
    },
    [Symbol.dispose]() {
      if (!isDone && !hasEnded()) undo();
    },
  };
}

/** The ports go along when another network gives the container its default route; host addresses and numbers stay. */
export function movePorts(ctx: NetworkContext, from: StoredEndpoint, to: StoredEndpoint): void {
  const { containerId } = from;
  // what was opened on the container's own address (gateway mode `routed`) is no port of the host
  const ports = from.ports.filter((port) => port.hostPort !== 0);
  if (ports.length === 0 || from.id === to.id) return;
  ctx.firewall.removePorts([...ctx.ports.rulesOf(containerId), ...ownAddressRules(ctx, from)]);
  ctx.ports.release(containerId);
  ctx.store.tx(() => {
    ctx.records.changePorts(from, []);
    ctx.records.changePorts(to, ports);
  });
  ctx.ports.restore(containerId, ports, targetOf(to));
  void ctx.firewall.addPorts([...ctx.ports.serve(containerId), ...ownAddressRules(ctx, to)]);
}
