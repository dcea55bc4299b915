import { internal } from "../lib/errors.ts";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import type { LinkRemoval, LinkRemoved } from "./link-remover.worker.ts";

/** Deletes links in a Worker: RTM_DELLINK waits 7–16 ms for RCU. The Worker is started at the first need, which most engines never have. */
export interface LinkRemover extends Disposable {
  /** Resolves when the link is gone, also when there was none. */
  remove(name: string): Promise<void>;
}

export function createLinkRemover(): LinkRemover {
  let worker: WorkerHandle<LinkRemoval, LinkRemoved> | undefined;
  let next = 0;
  const waiting = new Map<number, PromiseWithResolvers<void>>();

  const start = (): WorkerHandle<LinkRemoval, LinkRemoved> => {
    const handle = startWorker<LinkRemoval, LinkRemoved>("networks/link-remover.worker.ts");
    handle.onMessage(({ id, error }) => {
      const entry = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) entry?.resolve();
      else entry?.reject(internal(error));
    });
    handle.onError((error) => {
      for (const entry of waiting.values()) entry.reject(error);
      waiting.clear();
      worker = undefined;
    });
    return handle;
  };

  return {
    remove(name) {
      worker ??= start();
      const id = next++;
      const entry = Promise.withResolvers<void>();
      waiting.set(id, entry);
      worker.post({ id, name });
      return entry.promise;
    },
    [Symbol.dispose]() {
      worker?.[Symbol.dispose]();
      worker = undefined;
    },
  };
}
