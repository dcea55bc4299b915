import type { FlowFilter } from "../kernel/netlink-conntrack.ts";
import { internal } from "../lib/errors.ts";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import type { Chore, ChoreDone } from "./chores.worker.ts";
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

type Answer = ChoreDone["answer"];
type Work = Chore extends infer Each ? (Each extends Chore ? Omit<Each, "id"> : never) : never;

export function createChores(): Chores {
  let worker: WorkerHandle<Chore, ChoreDone> | undefined;
  let next = 0;
  const waiting = new Map<number, PromiseWithResolvers<Answer>>();

  const start = (): WorkerHandle<Chore, ChoreDone> => {
    const handle = startWorker<Chore, ChoreDone>("networks/chores.worker.ts");
    handle.onMessage(({ id, error, answer }) => {
      const entry = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) entry?.resolve(answer);
      else entry?.reject(internal(error));
    });
    handle.onError((error) => {
      for (const entry of waiting.values()) entry.reject(error);
      waiting.clear();
      worker = undefined;
    });
    return handle;
  };

  const run = (work: Work): Promise<Answer> => {
    worker ??= start();
    const id = next++;
    const entry = Promise.withResolvers<Answer>();
    waiting.set(id, entry);
    worker.post({ ...work, id });
    return entry.promise;
  };

  return {
    deleteLink: async (name) => void (await run({ kind: "deleteLink", name })),
    deleteLinkInside: async (socket, name) => void (await run({ kind: "deleteLink", name, socket })),
    moveLink: async (options) => void (await run({ kind: "moveLink", ...options })),
    knowsLinkKind: async (linkKind) => (await run({ kind: "knowsLinkKind", linkKind })) === true,
    deleteFlows: async (filters) => void (await run({ kind: "deleteFlows", filters })),
    compareRules: async (tables) => {
      const differences = await run({ kind: "compareRules", tables });
      return Array.isArray(differences) ? differences : [];
    },
    [Symbol.dispose]() {
      worker?.[Symbol.dispose]();
      worker = undefined;
    },
  };
}
