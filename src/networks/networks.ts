import { readFileSync } from "node:fs";
import type { Events } from "../events/types.ts";
import { openNamespaceDoor } from "../kernel/namespace.ts";
import { findLink, openRouteSocket } from "../kernel/netlink-route.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import { KeyedMutex } from "../lib/mutex.ts";
import type { Plugins } from "../plugins/types.ts";
import type { Store } from "../store/store.ts";
import { AddressBook } from "./address-book.ts";
import { allocate, namesOf } from "./allocate.ts";
import { attach, watchForStraggler } from "./attach.ts";
import { bridgeAlias, createBridgeDriver } from "./bridge.ts";
import { ContainerNamespaces } from "./container-namespaces.ts";
import { connect, disconnect } from "./connect.ts";
import { bridgesOf, driverOf, isPredefined, type NetworkContext, type NetworkOptions } from "./context.ts";
import { foreseeDefaultRoute } from "./default-routes.ts";
import { createResolvers } from "./dns/resolvers.ts";
import { createFirewall } from "./firewall.ts";
import { createFirewalld } from "./firewalld.ts";
import { checkNetworks, lookAfterNetworks } from "./check/check.ts";
import { createChores } from "./chores.ts";
import { createGuardLoop } from "./guard-loop.ts";
import type { LinkCalls } from "./link-calls.ts";
import { closeLink, openLink } from "./links.ts";
import { createNetwork, pruneNetworks, removeNetwork } from "./manage.ts";
import type { Awaitable, NetworkDriver } from "./driver.ts";
import { createParentDriver } from "./parent-driver.ts";
import { createHostDriver, createNullDriver } from "./plain-drivers.ts";
import { HostPorts } from "./ports.ts";
import { changePorts } from "./publish.ts";
import { NetworkRecords } from "./records.ts";
import { createRemoteNetworkDriver } from "./remote-driver.ts";
import { createRemoteIpam } from "./remote-ipam.ts";
import { releaseEndpoint, withdrawPorts } from "./release.ts";
import { containerResolvConf, hostResolvConf, isAsGenerated, parseResolvConf, RESOLVER_ADDRESS } from "./resolv-conf.ts";
import { enableForwarding, restore } from "./restore.ts";
import type { NetworkRecord, Networks } from "./types.ts";

export interface NetworksDeps {
  store: Store;
  events: Events;
  log: Logger;
  paths: { dataRoot: string; namespaces: string };
  /** Where drivers of networks and addresses come from that aren't the engine's own. */
  plugins: Plugins;
  /** Address of the system's message bus, where firewalld is found; the usual one unless told. */
  systemBus?: string | undefined;
  options: NetworkOptions;
  /** Namespaces and links, made in a Worker (link-calls.ts). */
  links: LinkCalls;
  /** Takes away a file and what is mounted on it (kernel/mount.ts), in a Worker: it waits for RCU. */
  removeMountedFile(path: string): Promise<void>;
}

/** How often rules, bridges and forwarding are looked after. */
const CHECK_MS = 20_000;

/** The default data root's bridge has a name people can know; others carry the engine's key. */
const DEFAULT_DATA_ROOT = "/var/lib/berth";
const DEFAULT_BRIDGE = "berth0";

export function createNetworks(deps: NetworksDeps): Networks {
  let closed = false;
  let watch: ReturnType<typeof setInterval> | undefined;
  const ctx = assemble(deps, () => closed);
  const { records, namespaces } = ctx;

  return {
    list: () => records.list(),
    resolve: (reference) => records.resolve(reference),
    async create(wanted) {
      const network = await createNetwork(ctx, wanted);
      if (network.enableIPv6) enableForwarding(ctx);
      return network;
    },
    remove: (reference) => removeNetwork(ctx, reference),
    subnetsOf: (networkId) => ctx.addresses.status(networkId),
    prune: (keep) => pruneNetworks(ctx, keep),
    drivers: () => [...new Set([...ctx.drivers.keys(), ...ctx.plugins.known("NetworkDriver")])].sort(),
    endpointsOf: (networkId) => records.endpointsOf(networkId),
    get revision() {
      return records.revision;
    },
    endpointsOfContainer: (containerId) => records.endpointsOfContainer(containerId),
    createNamespace: (containerId) => namespaces.create(containerId),
    nameNamespace: (containerId, path) => namespaces.name(containerId, path),
    removeNamespace: (containerId) => namespaces.remove(containerId),
    allocate: (wanted) => allocate(ctx, wanted),
    connect: (wanted) => connect(ctx, wanted),
    foreseeDefaultRoute: (wanted) => foreseeDefaultRoute(ctx, wanted),
    disconnect: (containerId, network, write) => disconnect(ctx, containerId, network, write),
    openLink: (link) => openLink(ctx, link),
    closeLink: (link) => closeLink(ctx, link),
    rename({ settings, ...names }) {
      for (const endpoint of records.endpointsOfContainer(names.containerId)) {
        const dnsNames = isPredefined(endpoint.networkName) ? [] : namesOf({ ...names, settings: settings[endpoint.networkName] ?? {} });
        records.renameEndpoint(endpoint, { containerName: names.containerName, dnsNames });
      }
    },
    changePorts: (containerId, change) => changePorts(ctx, containerId, change),
    attach: (endpoint, namespacePath) => attach(ctx, endpoint, namespacePath),
    release: (containerId, how) => release(ctx, containerId, how),
    resolvConf: (wanted) => resolvConfOf(ctx, wanted),
    renewedResolvConf(text, wanted) {
      const hasResolver = parseResolvConf(text).nameservers.includes(RESOLVER_ADDRESS);
      const needsResolver = wanted.endpoints.some(({ networkName }) => !isPredefined(networkName));
      return needsResolver && !hasResolver && isAsGenerated(text) ? resolvConfOf(ctx, wanted) : undefined;
    },
    check: (wanted) => checkNetworks(ctx, wanted),
    async restore(running) {
      await restore(ctx, running);
      namespaces.prepare();
      watch = setInterval(() => void lookAfter(ctx), CHECK_MS);
      watch.unref();
    },
    async close({ containersLive }) {
      if (closed) return;
      closed = true;
      clearInterval(watch);
      ctx.ports.close();
      await ctx.resolvers.close();
      namespaces.closeAll();
      await ctx.firewalld.close({ bridgesStay: containersLive });
      if (!containersLive) await takeDown(ctx);
      await Promise.all([...ctx.leaving.values()].map(({ gone }) => gone));
      for (const resource of [ctx.firewall, ctx.host, ctx.door, ctx.chores]) resource[Symbol.dispose]();
    },
  };
}

/** See Networks.release. */
function release(ctx: NetworkContext, containerId: string, { isShared = false }: { isShared?: boolean } = {}): Awaitable<void> {
  const releaseAll = (): void => {
    for (const endpoint of ctx.records.endpointsOfContainer(containerId).toReversed()) {
      void releaseEndpoint(ctx, endpoint, { lives: isShared });
      if (endpoint.hostInterface !== "") watchForStraggler(ctx, endpoint.hostInterface);
    }
  };
  ctx.namespaces.forget(containerId);
  ctx.resolvers.stop(containerId);
  if (ctx.ports.hasMany(containerId)) return withdrawPorts(ctx, containerId).then(releaseAll);
  releaseAll();
}

function assemble(deps: NetworksDeps, closed: () => boolean): NetworkContext {
  const { store, events, log, paths, options, plugins, removeMountedFile: removeFile } = deps;
  const records = new NetworkRecords(store, log);
  const door = openNamespaceDoor();
  const host = openRouteSocket();
  const chores = createChores(deps.links);
  const firewall = createFirewall({
    enabled: options.iptables,
    engineKey: options.engineKey,
    acceptMark: options.bridgeAcceptFwmark,
    ip6tables: options.ip6tables,
    guard: options.publishMode === "firewall",
    loop: createGuardLoop(host, options.engineKey),
    chores,
    log,
  });
  const creating = new Set<NetworkRecord>();
  const firewalld = createFirewalld({
    enabled: firewall.active,
    address: deps.systemBus,
    bridges: () => bridgesOf([...records.list(), ...creating]),
    hasLink: (name) => findLink(host, name) !== undefined,
    log,
  });
  const remote = new Map<string, NetworkDriver>();
  const parents = { host, door, chores, log, engineKey: options.engineKey, networks: () => [...records.list(), ...creating] };
  const drivers = [
    createBridgeDriver({ host, firewall, chores, directRouting: options.allowDirectRouting, alias: bridgeAlias(options.engineKey), log }),
    createParentDriver("macvlan", parents),
    createParentDriver("ipvlan", parents),
    createHostDriver(),
    createNullDriver(),
  ];
  const namespaces = new ContainerNamespaces(door, paths.namespaces, {
    make: () => chores.makeNamespace(),
    removeFile,
    onError: (error) => log.warn("no network namespace could be made ahead", { error: messageOf(error) }),
  });
  return {
    options,
    defaultBridge: paths.dataRoot === DEFAULT_DATA_ROOT ? DEFAULT_BRIDGE : `br${options.engineKey}`,
    store,
    events,
    log,
    records,
    addresses: new AddressBook(),
    leaving: new Map(),
    attached: new Set(),
    links: new Map(),
    ports: new HostPorts({ dnat: { 4: firewall.active, 6: firewall.active && options.ip6tables }, proxies: options.userlandProxy, log }),
    firewall,
    firewalld,
    namespaces,
    resolvers: createResolvers({ door, records, namespaces, options, log }),
    door,
    host,
    chores,
    closed,
    creating,
    plugins,
    pluginDriver(name) {
      const driver = remote.get(name) ?? createRemoteNetworkDriver(name, { plugins, host, door, chores, log });
      remote.set(name, driver);
      return driver;
    },
    ipam: createRemoteIpam(plugins, log),
    turns: new KeyedMutex(),
    drivers: new Map(drivers.map((driver) => [driver.name, driver])),
  };
}

function resolvConfOf({ options }: NetworkContext, { host, endpoints, dns, search, options: dnsOptions }: Parameters<Networks["resolvConf"]>[0]): string {
  const wanted = {
    host,
    networks: endpoints.map(({ networkName }) => networkName),
    ipv6: endpoints.some(({ ipv6 }) => ipv6 !== undefined),
    dns: dns.length > 0 ? dns : options.dns,
    search: search.length > 0 ? search : options.dnsSearch,
    options: dnsOptions.length > 0 ? dnsOptions : options.dnsOpts,
  };
  return containerResolvConf(wanted, hostResolvConf(), parseResolvConf(readIfThere("/etc/resolv.conf")));
}

async function lookAfter(ctx: NetworkContext): Promise<void> {
  try {
    ctx.firewall.check();
    await lookAfterNetworks(ctx);
    await ctx.firewalld.look();
  } catch (error) {
    ctx.log.error("networks could not be looked after", { error: messageOf(error) });
  }
}

/** No container lives: nothing of ours stays on the host. The records bring it back at the next start. */
async function takeDown(ctx: NetworkContext): Promise<void> {
  ctx.firewall.unload();
  const networks = ctx.records.list();
  const results = await Promise.allSettled(networks.map(async (network) => await driverOf(ctx, network.driver).tearDown(network, { forGood: false })));
  results.forEach((result, i) => {
    if (result.status === "rejected") ctx.log.warn("could not take a network down", { network: networks[i]?.name, error: messageOf(result.reason) });
  });
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return "";
    throw error;
  }
}
