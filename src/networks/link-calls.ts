import { closeFd } from "../kernel/fs.ts";
import { type NamespaceDoor, openNamespaceDoor } from "../kernel/namespace.ts";
import { NetlinkSocket } from "../kernel/netlink.ts";
import { openRouteSocket, setLinkUp } from "../kernel/netlink-route.ts";
import { makePort, type NewPort, removePort } from "./bridge-port.ts";

/** What every start and end of a container needs, made in a Worker: whatever else waits longer, and is a chore (chores.worker.ts). */
export type LinkCall = { verb: "makeNamespace" } | { verb: "makePort"; port: NewPort } | { verb: "removePort"; name: string; gone: boolean };

/** A new network namespace, held by `fd` alone, with its loopback up; `route` is an rtnetlink socket inside it. */
export interface FreshNamespace {
  fd: number;
  route: number;
}

/** Of `makeNamespace`; of `makePort`. */
export type LinkAnswer = FreshNamespace | boolean;

/** Of the first link of every namespace. */
const LOOPBACK_INDEX = 1;

let opened: { door: NamespaceDoor; host: NetlinkSocket } | undefined;
/** Both for as long as the Worker lives: containers come one after the other. */
const shared = (): { door: NamespaceDoor; host: NetlinkSocket } => (opened ??= { door: openNamespaceDoor(), host: openRouteSocket() });

function makeNamespace(): FreshNamespace {
  const { namespace, routeSocket } = shared().door.create();
  try {
    new NetlinkSocket(routeSocket).request(setLinkUp({ index: LOOPBACK_INDEX }));
  } catch (error) {
    closeFd(routeSocket);
    closeFd(namespace);
    throw error;
  }
  return { fd: namespace, route: routeSocket };
}

/** @throws EngineError, SysError */
export function performLinkCall(call: LinkCall): LinkAnswer {
  switch (call.verb) {
    case "makeNamespace":
      return makeNamespace();
    case "makePort":
      return makePort(shared().host, shared().door, call.port);
    case "removePort":
      removePort(shared().host, call.name, call);
      return true;
  }
}
