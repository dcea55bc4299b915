import type { FlowFilter } from "../kernel/netlink-conntrack.ts";
import { createWorkerCalls } from "../lib/worker-calls.ts";
import type { Chore, ChoreAnswer } from "./chores.worker.ts";
import type { RuleTable } from "./compare-rules.ts";

/** Calls that would hold up the event loop, made in a Worker. It is started at the first need, which many engines never have. */
export interface Chores extends Disposable {
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

export function createChores(): Chores {
  const calls = createWorkerCalls<Chore, ChoreAnswer>("networks/chores.worker.ts");
  return {
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
