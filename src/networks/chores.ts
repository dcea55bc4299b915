import type { FlowFilter } from "../kernel/netlink-conntrack.ts";
import { createWorkerCalls } from "../lib/worker-calls.ts";
import type { NewPort } from "./bridge-port.ts";
import type { Chore, ChoreAnswer } from "./chores.worker.ts";
import type { FreshNamespace, LinkCalls } from "./link-calls.ts";
import type { RuleTable } from "./compare-rules.ts";

/**
 * Calls that would hold up the event loop, made in Workers: what containers need each time in the one that starts their processes, in the order in which it was
 * asked for, the rest in one that starts with the first need. Whatever changes links waits for the kernel's one lock on them (RTNL), which it keeps, for all
 * namespaces, while it takes down others: 100 ms and more on a busy host (measured, Linux 6.18).
 */
export interface Chores extends Disposable {
  /** @throws EngineError internal */
  makeNamespace(): Promise<FreshNamespace>;
  /** bridge-port.ts: an endpoint's link, false where its bridge isn't there. The namespace must stay open until then. @throws EngineError */
  makePort(port: NewPort): Promise<boolean>;
  /** The same file. */
  removePort(name: string, how: { gone: boolean }): Promise<void>;
  /** bridge-addresses.ts. */
  dropAddresses(bridge: string): Promise<void>;
  /** RTM_DELLINK waits 7–16 ms for RCU. Resolves when the link is gone, also when there was none. */
  deleteLink(name: string): Promise<void>;
  /** The same in the namespace that `socket`, an rtnetlink socket, was opened in; closes the socket. */
  deleteLinkInside(socket: number, name: string): Promise<void>;
  /** Puts a link into the namespace `to`, under another name; `socket` as above, or none for the host. */
  moveLink(options: { socket?: number; name: string; newName: string; to: number }): Promise<void>;
  /** Whether the kernel makes links of a kind; it may have to load a module. */
  knowsLinkKind(kind: string): Promise<boolean>;
  /** A walk through the kernel's table of connections takes 5 ms even when it is empty. */
  deleteFlows(filters: FlowFilter[]): Promise<void>;
  /** Thousands of ports take a while to list. Lines of rules and elements that the tables should have and don't, or have and shouldn't. */
  compareRules(tables: RuleTable[]): Promise<string[]>;
}

export function createChores(links: LinkCalls): Chores {
  const calls = createWorkerCalls<Chore, ChoreAnswer>("networks/chores.worker.ts");
  return {
    makeNamespace: async () => (await links.call({ verb: "makeNamespace" })) as FreshNamespace,
    async makePort(port) {
      const { endpoint } = port;
      return (await links.call({ verb: "makePort", port: { ...port, endpoint: { ...endpoint, ports: [] } } })) === true;
    },
    removePort: async (name, how) => void (await links.call({ verb: "removePort", name, ...how })),
    dropAddresses: async (bridge) => void (await links.call({ verb: "dropAddresses", bridge })),
    deleteLink: async (name) => void (await calls.call({ kind: "deleteLink", name })),
    deleteLinkInside: async (socket, name) => void (await calls.call({ kind: "deleteLink", name, socket })),
    moveLink: async (options) => void (await calls.call({ kind: "moveLink", ...options })),
    knowsLinkKind: async (linkKind) => (await calls.call({ kind: "knowsLinkKind", linkKind })) === true,
    deleteFlows: async (filters) => void (await calls.call({ kind: "deleteFlows", filters })),
    compareRules: async (tables) => {
      const differences = await calls.call({ kind: "compareRules", tables });
      return Array.isArray(differences) ? differences : [];
    },
    [Symbol.dispose]: () => calls[Symbol.dispose](),
  };
}
