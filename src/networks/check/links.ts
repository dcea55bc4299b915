import { existsSync } from "node:fs";
import { deleteLink, findLink, type Link, listAddresses, listAddressesInTurns, listLinksInTurns } from "../../kernel/netlink-route.ts";
import { addressFrom, formatAddress } from "../../lib/address.ts";
import { createPause, nextTurn } from "../../lib/turns.ts";
import { ownAddresses } from "../bridge.ts";
import { bridgeNameOf, parseBridgeOptions } from "../bridge-options.ts";
import { driverOf, type NetworkContext } from "../context.ts";
import { givesDefaultRoute } from "../default-routes.ts";
import { configureEndpoint, defaultRoutes } from "../endpoint-link.ts";
import type { StoredEndpoint } from "../records.ts";
import { lapseOf } from "../separation.ts";
import type { NetworkRecord } from "../types.ts";
import { bridgeSettings } from "./host.ts";
import type { Finding } from "./types.ts";

const bridges = (ctx: NetworkContext): NetworkRecord[] => ctx.records.list().filter(({ driver }) => driver === "bridge");

const restore = async (ctx: NetworkContext, network: NetworkRecord): Promise<void> =>
  await driverOf(ctx, network.driver).restore(network, ctx.records.endpointsOf(network.id));

/** The bridges themselves. Cheap: the regular look asks it too. */
export async function bridgeFindings(ctx: NetworkContext): Promise<Finding[]> {
  const networks = bridges(ctx);
  const addresses = Map.groupBy(await listAddressesInTurns(), ({ index }) => index);
  const links = await linksByName();
  const found: Finding[] = [];
  const pause = createPause();
  for (const network of networks) {
    await pause();
    if (ctx.records.byId(network.id) === undefined) continue; // removed meanwhile
    const link = links.get(bridgeNameOf(network));
    const there = (link === undefined ? undefined : addresses.get(link.index)) ?? [];
    found.push(...bridgeFindingsOf(ctx, network, link, new Set(there.map(({ address }) => formatAddress(addressFrom(address))))));
  }
  return found;
}

/** @param there the link's addresses */
function bridgeFindingsOf(ctx: NetworkContext, network: NetworkRecord, link: Link | undefined, there: ReadonlySet<string>): Finding[] {
  const options = parseBridgeOptions(network);
  const { name } = options;
  const what = { kind: "network", network: network.name } as const;
  const again = (did: string) => async (): Promise<string> => {
    await restore(ctx, network);
    return did;
  };
  if (link === undefined) {
    const problem = `bridge ${name} of network ${network.name} is gone: its containers reach nobody`;
    return [{ ...what, problem, repair: again("made again, with the containers' links on it") }];
  }
  if (link.kind !== "bridge") {
    const problem = `link ${name}, which should be the bridge of network ${network.name}, is a ${link.kind || "physical link"}`;
    return [{ ...what, problem, next: `give that link another name; berth network check --repair then makes the bridge` }];
  }
  const found: Finding[] = [];
  if (!link.up) found.push({ ...what, problem: `bridge ${name} of network ${network.name} is down`, repair: again("set up again") });
  for (const { address } of ownAddresses(network, options)) {
    if (there.has(formatAddress(address))) continue;
    const problem = `bridge ${name} of network ${network.name} has lost its address ${formatAddress(address)}: containers have no gateway`;
    found.push({ ...what, problem, repair: again("given back") });
  }
  if (options.mtu !== undefined && options.mtu !== link.mtu) {
    found.push({ ...what, problem: `bridge ${name} of network ${network.name} has an MTU of ${link.mtu}, not ${options.mtu}`, repair: again("set again") });
  }
  const lapse = lapseOf(network, ctx.firewall);
  if (lapse !== undefined) found.push({ ...what, problem: lapse, repair: again("kept apart again") });
  return [...found, ...bridgeSettings(ctx, name).map((finding) => ({ ...finding, network: network.name }))];
}

/** A removed container's link goes with its namespace, which the kernel takes down in its own time. */
const DEPARTURE_MS = 1000;

/** A list: about each link asked by name, the kernel's lock on links would be waited for (net/core/rtnetlink.c, rtnl_getlink; lists do without it since 6.10). */
const linksByName = async (): Promise<Map<string, Link>> => new Map((await listLinksInTurns()).map((link) => [link.name, link]));

/** Containers' links and namespaces. */
export async function linkFindings(ctx: NetworkContext, atRest: ReadonlySet<string>): Promise<Finding[]> {
  const links = await linksByName();
  const lost = bridges(ctx).flatMap((network) => {
    const master = links.get(parseBridgeOptions(network).name);
    return ctx.records.endpointsOf(network.id).flatMap((endpoint) => endpointFindings(ctx, network, endpoint, links, master));
  });
  let left = strays(ctx, links);
  if (left.length > 0) {
    await Bun.sleep(DEPARTURE_MS);
    left = strays(ctx, await linksByName());
  }
  return [...lost, ...left, ...staleNamespaces(ctx, atRest)];
}

function endpointFindings(
  ctx: NetworkContext,
  network: NetworkRecord,
  endpoint: StoredEndpoint,
  links: Map<string, Link>,
  master: Link | undefined,
): Finding[] {
  const { hostInterface, containerId, containerInterface, containerName } = endpoint;
  const path = ctx.namespaces.path(containerId);
  // between its record and its start, or at its end
  if (hostInterface === "" || !existsSync(path)) return [];
  const what = { kind: "container", network: network.name, container: containerId } as const;
  const link = links.get(hostInterface) ?? findLink(ctx.host, hostInterface);
  if (link === undefined) {
    const problem = `container ${containerName} has lost its link to network ${network.name} (${hostInterface} is gone, or has another name)`;
    return [{ ...what, problem, repair: () => attachAgain(ctx, network, endpoint, path) }];
  }
  if (master !== undefined && (link.master !== master.index || !link.up)) {
    const state = link.up ? `is no port of its bridge ${master.name}` : "is down";
    const again = async (): Promise<string> => {
      await restore(ctx, network);
      return "joined again";
    };
    return [{ ...what, problem: `the link of container ${containerName} to network ${network.name} (${hostInterface}) ${state}`, repair: again }];
  }
  using namespace = ctx.namespaces.open(path);
  const inside = findLink(namespace.route, containerInterface);
  if (inside === undefined) {
    const problem = `interface ${containerInterface} of container ${containerName} has another name now: the container has changed it itself`;
    return [{ ...what, level: "hint", problem, next: `restart the container to have ${containerInterface} back` }];
  }
  const there = new Set(listAddresses(namespace.route).map(({ address }) => formatAddress(addressFrom(address))));
  const lost = [endpoint.ipv4, endpoint.ipv6].filter((address) => address !== undefined && !there.has(address));
  if (lost.length === 0 && inside.up) return [];
  const state = inside.up ? `has lost its address ${lost.join(" and ")}` : "is down";
  const configure = (): string => {
    using again = ctx.namespaces.open(path);
    configureEndpoint(ctx.door, again, inside.index, endpoint, givesDefaultRoute(endpoint) ? defaultRoutes(inside.index, network, endpoint) : []);
    return "configured again";
  };
  return [{ ...what, problem: `interface ${containerInterface} of container ${containerName} (network ${network.name}) ${state}`, repair: configure }];
}

/** Endpoints looked at in one go: the loop is the others' in between. */
const AT_A_TIME = 50;

/**
 * Links that somebody deleted: neither of their ends is there under any name, and the container can't have done it itself. Others' doing (a container that
 * moved its own link, an administrator who gave one another name) is only told of by the check.
 */
export async function lostLinks(ctx: NetworkContext): Promise<Finding[]> {
  const found: Finding[] = [];
  const links = await linksByName();
  for (const network of bridges(ctx)) {
    const missing = ctx.records.endpointsOf(network.id).filter(({ hostInterface }) => !links.has(hostInterface));
    for (const [i, { id }] of missing.entries()) {
      if (i % AT_A_TIME === AT_A_TIME - 1) await nextTurn();
      if (isLost(ctx, id)) found.push(lostLink(ctx, network, id));
    }
  }
  return found;
}

function isLost(ctx: NetworkContext, id: string): boolean {
  const endpoint = ctx.records.endpoint(id);
  if (endpoint === undefined || endpoint.ownsLinks === true || endpoint.hostInterface === "" || !ctx.attached.has(id)) return false;
  const path = ctx.namespaces.path(endpoint.containerId);
  if (findLink(ctx.host, endpoint.hostInterface) !== undefined || !existsSync(path)) return false;
  using namespace = ctx.namespaces.open(path);
  return findLink(namespace.route, endpoint.containerInterface) === undefined;
}

function lostLink(ctx: NetworkContext, network: NetworkRecord, id: string): Finding {
  const endpoint = ctx.records.endpoint(id) as StoredEndpoint;
  const { containerId: container, containerName, hostInterface } = endpoint;
  const problem = `container ${containerName} has lost its link to network ${network.name} (${hostInterface} is gone)`;
  const repair = async (): Promise<string> =>
    // it may have been stopped meanwhile
    isLost(ctx, id) ? await attachAgain(ctx, network, endpoint, ctx.namespaces.path(container)) : "nothing: it is there, or the container isn't";
  return { kind: "container", network: network.name, container, problem, repair };
}

/** A new link for a running container, after what is left of the old one went. */
async function attachAgain(ctx: NetworkContext, network: NetworkRecord, endpoint: StoredEndpoint, path: string): Promise<string> {
  using namespace = ctx.namespaces.open(path);
  // its other end may be on the host under another name: with this one it goes, too
  if (findLink(namespace.route, endpoint.containerInterface) !== undefined) namespace.route.request(deleteLink(endpoint.containerInterface));
  await driverOf(ctx, network.driver).attach(network, endpoint, namespace, { defaultRoute: givesDefaultRoute(endpoint) });
  return "given a new link with the same addresses";
}

/** Links of ours that belong to nobody. */
function strays(ctx: NetworkContext, links: Map<string, Link>): Finding[] {
  const known = new Set(ctx.records.endpoints().map(({ hostInterface }) => hostInterface));
  return bridges(ctx).flatMap((network) => {
    const master = links.get(parseBridgeOptions(network).name);
    return [...links.values()]
      .filter((link) => link.master !== 0 && link.master === master?.index && /^veth[0-9a-f]{8}$/.test(link.name) && !known.has(link.name))
      .map((link): Finding => ({
        kind: "network",
        network: network.name,
        level: "hint",
        problem: `link ${link.name} on bridge ${master!.name} belongs to no container`,
        repair: async () => {
          await ctx.chores.deleteLink(link.name);
          return "removed";
        },
      }));
  });
}

function staleNamespaces(ctx: NetworkContext, atRest: ReadonlySet<string>): Finding[] {
  return ctx.namespaces
    .list()
    .filter((id) => atRest.has(id))
    .map((id) => ({
      kind: "container",
      container: id,
      level: "hint",
      problem: `container ${id.slice(0, 12)} doesn't run, but its network namespace is still there`,
      repair: async () => {
        await ctx.namespaces.remove(id);
        return "removed";
      },
    }));
}
