import { existsSync } from "node:fs";
import type { NamespaceDoor } from "../kernel/namespace.ts";
import { NetlinkSocket } from "../kernel/netlink.ts";
import { addVeth, deleteLink, findLink, getLink, joinBridge, noAutomaticAddress, setBridgePort, silenceBridgePort } from "../kernel/netlink-route.ts";
import { configureEndpoint, defaultRoutes, ipv6Settings } from "./endpoint-link.ts";
import type { Endpoint, NetworkRecord } from "./types.ts";

/** How a link is a port of its bridge. */
export interface PortOptions {
  bridge: string;
  /** No frame passes from it to another isolated one. */
  isolated: boolean;
}

/** What an endpoint's veth pair is made from, and the namespace that one end of it is put into. */
export interface NewPort extends PortOptions {
  network: NetworkRecord;
  /** Its published ports are the rules' business: they needn't be told here. */
  endpoint: Endpoint;
  /** It gives the container its default route. */
  defaultRoute: boolean;
  mac: Uint8Array;
  mtu?: number;
  /** Open on the namespace. */
  namespace: number;
  /** An rtnetlink socket inside it. */
  route: number;
}

/** Makes the link, with both its ends up and known to the bridge. False: there is no such bridge. On failure nothing of it stays. @throws EngineError, SysError */
export function makePort(host: NetlinkSocket, door: NamespaceDoor, port: NewPort): boolean {
  const { network, endpoint, namespace, mac, mtu } = port;
  if (findLink(host, port.bridge) === undefined) return false;
  const name = endpoint.hostInterface;
  try {
    const veth = addVeth({ host: name, namespace, peer: endpoint.containerInterface, mac, ...(mtu !== undefined && { mtu }) });
    host.request(veth, ...(existsSync(ipv6Settings) ? [noAutomaticAddress(name)] : []));
    // its owner closes it
    const route = new NetlinkSocket(port.route);
    const { index } = getLink(route, endpoint.containerInterface);
    configureEndpoint(door, { fd: namespace, route }, index, endpoint, port.defaultRoute ? defaultRoutes(index, network, endpoint) : []);
    joinPort(host, name, port);
    route.settleCarriers(endpoint.containerInterface);
  } catch (error) {
    removePort(host, name, { gone: true });
    throw error;
  }
  return true;
}

/** Also for one that is a port already: its options may have changed. @throws SysError */
export function joinPort(host: NetlinkSocket, name: string, { bridge, isolated }: PortOptions): void {
  host.request(joinBridge(name, getLink(host, bridge).index), setBridgePort(name, { hairpin: true, isolated }));
  // in this order: the bridge has a carrier as soon as one of its ports has
  host.settleCarriers(name, bridge);
}

/** From now on no packet passes; where it is to be `gone`, the link is deleted, too, which waits for RCU. One that isn't there is passed over. @throws SysError */
export function removePort(host: NetlinkSocket, name: string, { gone }: { gone: boolean }): void {
  try {
    const link = findLink(host, name);
    if (link === undefined) return;
    if (link.master !== 0) host.request(silenceBridgePort(link.index));
    if (gone) host.request(deleteLink(name));
  } catch (error) {
    // the kernel has just removed it: the namespace of its other end went, as it does some time after a killed engine
    if ((error as { code?: string }).code !== "ENODEV") throw error;
  }
}
