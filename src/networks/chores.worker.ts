import { NETLINK_NETFILTER, NetlinkSocket } from "../kernel/netlink.ts";
import { deleteFlows, type FlowFilter } from "../kernel/netlink-conntrack.ts";
import { knowsLinkKind, moveLink } from "../kernel/netlink-links.ts";
import { deleteLink, getLink, listAddresses, openRouteSocket } from "../kernel/netlink-route.ts";
import { answerCalls } from "../lib/worker-calls.ts";
import { compareRules, type RuleTable } from "./compare-rules.ts";

/** What would hold up the event loop. */
export type Chore =
  | { kind: "deleteLink"; name: string; socket?: number }
  | { kind: "knowsLinkKind"; linkKind: string }
  | { kind: "moveLink"; socket?: number; name: string; newName: string; to: number }
  | { kind: "deleteFlows"; filters: FlowFilter[] }
  | { kind: "compareRules"; tables: RuleTable[] };

/** Of `knowsLinkKind`, and of `compareRules` lines of rules. */
export type ChoreAnswer = boolean | string[];

function removeLink(name: string, fd: number | undefined): void {
  using socket = fd === undefined ? openRouteSocket() : new NetlinkSocket(fd);
  try {
    socket.request(deleteLink(name));
  } catch (error) {
    if ((error as { code?: string }).code !== "ENODEV") throw error;
  }
}

function relocate({ socket: fd, name, newName, to }: { socket?: number; name: string; newName: string; to: number }): void {
  using socket = fd === undefined ? openRouteSocket() : new NetlinkSocket(fd);
  socket.request(moveLink(getLink(socket, name).index, newName, to));
}

function forgetFlows(filters: FlowFilter[]): void {
  using route = openRouteSocket();
  using netfilter = NetlinkSocket.open(NETLINK_NETFILTER);
  const own = new Set(listAddresses(route).map(({ address }) => Buffer.from(address).toString("hex")));
  const LOOPBACK = 127;
  deleteFlows(netfilter, filters, (address) => (address.length === 4 && address[0] === LOOPBACK) || own.has(Buffer.from(address).toString("hex")));
}

function perform(chore: Chore): ChoreAnswer {
  switch (chore.kind) {
    case "knowsLinkKind": {
      using socket = openRouteSocket();
      return knowsLinkKind(socket, chore.linkKind);
    }
    case "deleteLink":
      removeLink(chore.name, chore.socket);
      return true;
    case "moveLink":
      relocate(chore);
      return true;
    case "deleteFlows":
      forgetFlows(chore.filters);
      return true;
    case "compareRules":
      return compareRules(chore.tables);
  }
}

answerCalls(perform);
