import { statSync } from "node:fs";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import type { Logger } from "../lib/log.ts";
import type { Store } from "./store.ts";

/** Between two looks, in milliseconds. */
const OFTEN = 1000;
/** The longest pause at rest: a look fetches code into memory that an engine at rest has just given back. It finds what was written outside `tx`. */
const SELDOM = 8000;

export interface CheckpointFailure {
  message: string;
  /** Nothing that the engine did wrong. */
  isDiskFull: boolean;
}

/**
 * Within a second of a commit, where the write-ahead log has grown, a Worker checkpoints it: the fsyncs that this takes never stop the engine's loop.
 * The Worker starts with the first need.
 */
export function startCheckpoints(store: Store, log: Logger): Disposable {
  let worker: WorkerHandle<string, CheckpointFailure | undefined> | undefined;
  let busy = false;
  let seen = 0;
  /** The last answer: a disk that stays full is told of once. */
  let reported = "";
  let pause = OFTEN;
  let timer: ReturnType<typeof setTimeout>;
  const arm = (): void => {
    clearTimeout(timer);
    timer = setTimeout(look, pause);
    timer.unref();
  };
  const look = (): void => {
    const modified = statSync(`${store.path}-wal`, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    const isNew = busy || modified !== seen;
    pause = isNew ? OFTEN : Math.min(2 * pause, SELDOM);
    arm();
    if (busy || !isNew) return;
    seen = modified;
    busy = true;
    if (worker === undefined) {
      worker = startWorker<string, CheckpointFailure | undefined>("store/checkpoint.worker.ts");
      worker.onMessage((failure) => {
        busy = false;
        if (failure !== undefined && failure.message !== reported) {
          const told = "checkpoint of the records failed; they stay in the write-ahead log";
          if (failure.isDiskFull) log.warn(told, { error: failure.message });
          else log.error(told, { error: failure.message });
        }
        reported = failure?.message ?? "";
      });
      worker.onError((error) => {
        log.error("the thread that checkpoints the records has died; the next look starts another", { error });
        worker = undefined;
        busy = false;
        seen = 0;
      });
    }
    worker.post(store.path);
  };
  store.watchCommits(() => {
    if (pause === OFTEN) return;
    pause = OFTEN;
    arm();
  });
  arm();
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      worker?.[Symbol.dispose]();
    },
  };
}
