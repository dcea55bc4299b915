import { statSync } from "node:fs";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import type { Logger } from "../lib/log.ts";
import type { Store } from "./store.ts";

/**
 * Once a second, where the write-ahead log has grown, a Worker checkpoints it: the fsyncs that this takes never stop the engine's loop.
 * The Worker starts with the first need.
 */
export function startCheckpoints(store: Store, log: Logger): Disposable {
  let worker: WorkerHandle<string, string> | undefined;
  let busy = false;
  let seen = 0;
  /** The last answer: a disk that stays full is told of once. */
  let reported = "";
  const timer = setInterval(() => {
    const modified = statSync(`${store.path}-wal`, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (busy || modified === seen) return;
    seen = modified;
    busy = true;
    if (worker === undefined) {
      worker = startWorker<string, string>("store/checkpoint.worker.ts");
      worker.onMessage((failure) => {
        busy = false;
        if (failure !== reported && failure !== "") log.error("checkpoint of the records failed; they stay in the write-ahead log", { error: failure });
        reported = failure;
      });
    }
    worker.post(store.path);
  }, 1000);
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      worker?.[Symbol.dispose]();
    },
  };
}
