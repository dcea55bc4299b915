import { SysError } from "../kernel/ffi.ts";
import type { NamespaceDoor } from "../kernel/namespace.ts";
import { addChild, addDummy, addVlan, type ChildKind, setAlias } from "../kernel/netlink-links.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import { deleteLink, findLink, getLink, listLinks, setLinkUp } from "../kernel/netlink-route.ts";
import { parseMac } from "../lib/address.ts";
import { conflict, invalidArgument, messageOf, notImplemented } from "../lib/errors.ts";
import type { Logger } from "../lib/log.ts";
import type { Chores } from "./chores.ts";
import type { NamespaceHandle, NetworkDriver } from "./driver.ts";
import { configureEndpoint, defaultRoutes } from "./endpoint-link.ts";
import { parseParentOptions, parseVlan, type ParentOptions } from "./parent-options.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

export interface ParentDriverOptions {
  /** rtnetlink of the host. */
  host: NetlinkSocket;
  door: NamespaceDoor;
  chores: Chores;
  log: Logger;
  /** 6 hex digits that tell this engine's links from others'. */
  engineKey: string;
  /** All networks, those that are being made too. */
  networks(): readonly NetworkRecord[];
}

const dummyPrefix = { macvlan: "dm-", ipvlan: "di-" } as const;

/**
 * `macvlan` and `ipvlan`: endpoints are links on a link of the host's, the parent, and no rule of the engine's touches their packets. Without a parent they are on a
 * dummy of their own and reach only each other. A parent `eth0.10` that isn't there is made as a VLAN of eth0, and goes with the last network on it, as in Docker.
 */
export function createParentDriver(driver: "macvlan" | "ipvlan", options: ParentDriverOptions): NetworkDriver {
  const { host, door, chores, log } = options;
  const alias = `berth ${options.engineKey}`;
  const known = new Set<string>();
  const parentName = (network: NetworkRecord): string => parseParentOptions(driver, network).parent ?? `${dummyPrefix[driver]}${network.id.slice(0, 12)}`;

  /** @throws EngineError notImplemented where the kernel has no such links */
  const needKind = async (kind: string, network: NetworkRecord): Promise<void> => {
    if (known.has(kind)) return;
    if (!(await chores.knowsLinkKind(kind)))
      throw notImplemented(`network ${network.name}: this kernel can't make ${kind} links (it has no module ${kind === "vlan" ? "8021q" : kind})`);
    known.add(kind);
  };

  /** Undoes its own step. @throws SysError */
  const makeChild = (network: NetworkRecord, endpoint: Endpoint, namespace: NamespaceHandle, defaultRoute: boolean): void => {
    const { mode, mtu } = parseParentOptions(driver, network);
    const parent = getLink(host, parentName(network)).index;
    const name = endpoint.containerInterface;
    host.request(addChild({ name, parent, namespace: namespace.fd, child: childOf(mode, endpoint), ...(mtu !== undefined && { mtu }) }));
    try {
      const { index, mac } = getLink(namespace.route, name);
      if (mode.kind === "ipvlan") endpoint.macAddress = mac;
      configureEndpoint(door, namespace, index, endpoint, defaultRoute ? defaultRoutes(index, network, endpoint) : []);
    } catch (error) {
      namespace.route.request(deleteLink(name));
      throw error;
    }
  };

  /** Makes the parent where it isn't there. */
  const ensureParent = (network: NetworkRecord): void => {
    const name = parentName(network);
    if (findLink(host, name) !== undefined) return;
    if (parseParentOptions(driver, network).parent === undefined) host.request(addDummy(name));
    else {
      const { parent, id } = parseVlan(name);
      const below = findLink(host, parent);
      if (below === undefined) throw invalidArgument(`-o parent interface was not found on the host: ${parent}`);
      host.request(addVlan(name, below.index, id));
    }
    host.request(setAlias(name, alias), setLinkUp(getLink(host, name)));
  };

  return {
    name: driver,
    addresses: true,
    ports: "none",
    mac: driver === "macvlan" ? "random" : "none",

    // whoever answers there is outside: it is where somebody says that it is (moby's GetSkipGwAlloc)
    withoutGateway: () => ({ 4: true, 6: true }),

    async validate(network) {
      const { parent, mode } = parseParentOptions(driver, network);
      checkRivals(network, mode, parentName(network), options.networks());
      await needKind(driver, network);
      if (parent === undefined) {
        await needKind("dummy", network);
        network.driverState = { isolated: "true" };
      } else {
        if (findLink(host, parent) === undefined) {
          const { parent: below } = parseVlan(parent);
          if (findLink(host, below) === undefined) throw invalidArgument(`-o parent interface was not found on the host: ${below}`);
          await needKind("vlan", network);
        }
        // in layer 3 there is nobody to ask for the way: all of it is on the link
        network.driverState = mode.kind === "ipvlan" && mode.mode !== "l2" ? { defaultRoute: "link" } : {};
      }
    },

    setUp(network) {
      // between the check and now somebody may have been faster
      checkRivals(network, parseParentOptions(driver, network).mode, parentName(network), options.networks());
      ensureParent(network);
    },

    async tearDown(network, { forGood }) {
      const name = parentName(network);
      const link = findLink(host, name);
      const others = options.networks().some((other) => other.id !== network.id && isParent(other, name));
      if (link !== undefined && link.alias === alias && !(forGood && others)) await chores.deleteLink(name);
    },

    attach(network, endpoint, namespace, { defaultRoute }) {
      ensureParent(network);
      const make = (): void => makeChild(network, endpoint, namespace, defaultRoute);
      try {
        make();
      } catch (error) {
        if (!mayPass(error)) throw cannotMake(driver, parentName(network), error);
        return retry(make, (last) => cannotMake(driver, parentName(network), last));
      }
    },

    async detach(_network, endpoint, { namespace }) {
      using inside = namespace();
      if (inside !== undefined) await chores.deleteLinkInside(door.netlinkSocket(inside.fd, "route"), endpoint.containerInterface);
    },

    restore(network) {
      // the links themselves are in the containers' namespaces, and went with those that are gone
      ensureParent(network);
      sweep();
    },
  };

  /** Parents that this engine made for networks whose making or removal a crash cut short. */
  function sweep(): void {
    const wanted = new Set(options.networks().flatMap((network) => parentOf(network) ?? []));
    for (const link of listLinks(host)) {
      if (link.alias !== alias || wanted.has(link.name)) continue;
      chores
        .deleteLink(link.name)
        .catch((error: unknown) => log.warn("could not delete a forgotten parent link", { link: link.name, error: messageOf(error) }));
    }
  }
}

const isOurKind = (driver: string): driver is "macvlan" | "ipvlan" => driver === "macvlan" || driver === "ipvlan";

/** The parent of a network of either kind. */
function parentOf(network: NetworkRecord): string | undefined {
  if (!isOurKind(network.driver)) return undefined;
  return parseParentOptions(network.driver, network).parent ?? `${dummyPrefix[network.driver]}${network.id.slice(0, 12)}`;
}

const isParent = (network: NetworkRecord, name: string): boolean => parentOf(network) === name;

/** Who may share a parent (moby's createNetwork). @throws EngineError conflict */
function checkRivals(network: NetworkRecord, mode: ParentOptions["mode"], parent: string, networks: readonly NetworkRecord[]): void {
  for (const other of networks) {
    if (other.id === network.id || other.driver !== network.driver || !isParent(other, parent)) continue;
    if (mode.kind === "ipvlan") throw conflict(`network ${other.name} is already using parent interface ${parent}`);
    if (mode.mode === "passthru") throw conflict(`cannot use mode passthru, macvlan network ${other.id} is already using parent interface ${parent}`);
    if (other.options["macvlan_mode"] === "passthru")
      throw conflict(`macvlan network ${other.id} is already using parent interface ${parent} in mode passthru`);
  }
}

function childOf(mode: ParentOptions["mode"], endpoint: Endpoint): ChildKind {
  if (mode.kind === "ipvlan") return mode;
  const mac = parseMac(endpoint.macAddress);
  if (mac === undefined) throw invalidArgument(`invalid MAC address ${endpoint.macAddress}`);
  return { ...mode, mac };
}

/** How long links that are going are waited for. */
const RETRIES = 20;
const RETRY_MS = 50;

/**
 * Links go with their namespaces, which the kernel takes down in its own time: until then the next container doesn't get the address (ipvlan), the MAC (macvlan) or
 * the parent (passthru) of the one that has just ended.
 */
const mayPass = (error: unknown): boolean => error instanceof SysError && ["EBUSY", "EADDRINUSE", "EINVAL"].includes(error.code);

async function retry(step: () => void, wrap: (error: unknown) => unknown): Promise<void> {
  for (let left = RETRIES; ; left--) {
    await Bun.sleep(RETRY_MS);
    try {
      step();
      return;
    } catch (error) {
      if (left <= 1 || !mayPass(error)) throw wrap(error);
    }
  }
}

/** A macvlan and an ipvlan on one parent, a second one in mode passthru: the kernel says EBUSY or EINVAL. */
function cannotMake(driver: string, parent: string, error: unknown): unknown {
  if (!(error instanceof SysError)) return error;
  const what = `failed to create the ${driver} port on ${parent}: ${messageOf(error)}`;
  return error.code === "EBUSY" ? conflict(`${what} (another kind of network, or one in mode passthru, is on it)`, error) : invalidArgument(what, error);
}
