import { closeFd } from "../kernel/fs.ts";
import { type NamespaceDoor, openNamespaceDoor } from "../kernel/namespace.ts";
import { NetlinkSocket } from "../kernel/netlink.ts";
import { openRouteSocket, setLinkUp } from "../kernel/netlink-route.ts";
import type { Calls } from "../lib/worker-calls.ts";
import { dropAddresses } from "./bridge-addresses.ts";
import { makePort, type NewPort, removePort } from "./bridge-port.ts";

/** What every start and end of a container needs, and what somebody waits for, made in a Worker: whatever else waits longer, and is a chore (chores.worker.ts). */
export type LinkCall =
  | { verb: "makeNamespace" }
  | { verb: "makePort"; port: NewPort }
  | { verb: "removePort"; name: string; gone: boolean }
  | { verb: "dropAddresses"; bridge: string };

/** A new network namespace, held by `fd` alone, with its loopback up; `route` is an rtnetlink socket inside it. */
export interface FreshNamespace {
  fd: number;
  route: number;
}

/** Of `makeNamespace`; of `makePort`. */
export type LinkAnswer = FreshNamespace | boolean;

/** How such calls are made; answered by createLinkServer. */
export type LinkCalls = Pick<Calls<LinkCall, LinkAnswer>, "call">;

/** Of the first link of every namespace. */
const LOOPBACK_INDEX = 1;

function makeNamespace(door: NamespaceDoor): FreshNamespace {
  const { namespace, routeSocket } = door.create();
  try {
    new NetlinkSocket(routeSocket).request(setLinkUp({ index: LOOPBACK_INDEX }));
  } catch (error) {
    closeFd(routeSocket);
    closeFd(namespace);
    throw error;
  }
  return { fd: namespace, route: routeSocket };
}

/** The Worker's side, which stays as it is opened for as long as the Worker lives. What it gives throws EngineError and SysError. */
export function createLinkServer(): (call: LinkCall) => LinkAnswer {
  const door = openNamespaceDoor();
  const host = openRouteSocket();
  return (call) => {
    switch (call.verb) {
      case "makeNamespace":
        return makeNamespace(door);
      case "makePort":
        return makePort(host, door, call.port);
      case "removePort":
        removePort(host, call.name, call);
        return true;
      case "dropAddresses":
        dropAddresses(host, call.bridge);
        return true;
    }
  };
}
