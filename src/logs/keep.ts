import type { Logger } from "../lib/log.ts";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import type { KeepOptions, Logs } from "./types.ts";

export type KeeperRequest =
  ({ kind: "keep"; logPath: string; ctlPath: string } & KeepOptions) | { kind: "ended"; logPath: string } | { kind: "forget"; logPath: string };

export type KeeperReply = { kind: "rotated" | "forgotten"; logPath: string } | { kind: "warn"; logPath: string; message: string; error: string };

type KeepRequest = Extract<KeeperRequest, { kind: "keep" }>;

/** Between the thread's death and the next one's start: whatever ended it may end that one, too. */
const restartMs = 1000;

/**
 * Bounds logs in a thread of its own: a flood of 250 MB/s writes ten megabytes in 40 ms, and the event loop and its thread pool may be busy for
 * longer with the very clients that read it. Should the thread die, another one takes over its logs.
 */
export function createKeeper({ log }: { log: Logger }): Pick<Logs, "keep" | "forget"> {
  let worker: WorkerHandle<KeeperRequest, KeeperReply> | undefined;
  /** Of containers that run, by their path. */
  const kept = new Map<string, KeepRequest>();
  /** Logs that have rotated files: the thread may be at work on them. */
  const rotated = new Set<string>();
  const forgetting = new Map<string, () => void>();

  const onReply = (reply: KeeperReply): void => {
    const { logPath } = reply;
    if (reply.kind === "warn") return log.warn(reply.message, { log: logPath, error: reply.error });
    if (reply.kind === "rotated") return void rotated.add(logPath);
    forgetting.get(logPath)?.();
    forgetting.delete(logPath);
  };
  const start = (): WorkerHandle<KeeperRequest, KeeperReply> => {
    const handle = startWorker<KeeperRequest, KeeperReply>("logs/keeper.worker.ts");
    handle.onMessage(onReply);
    handle.onError((error) => {
      log.error("the thread that rotates logs has died: another takes its place in a second", { error });
      worker = undefined;
      for (const resolve of forgetting.values()) resolve();
      forgetting.clear();
      setTimeout(() => {
        if (kept.size > 0) worker ??= start();
      }, restartMs).unref();
    });
    for (const request of kept.values()) handle.post(request);
    return handle;
  };
  return {
    keep(logPath, ctlPath, options) {
      const request: KeepRequest = { kind: "keep", logPath, ctlPath, ...options };
      kept.set(logPath, request);
      if (worker === undefined) worker = start();
      else worker.post(request);
      return {
        [Symbol.dispose]: () => {
          if (kept.get(logPath) === request) kept.delete(logPath);
          worker?.post({ kind: "ended", logPath });
        },
      };
    },
    forget(logPath) {
      kept.delete(logPath);
      worker?.post({ kind: "forget", logPath });
      if (!rotated.delete(logPath) || worker === undefined) return Promise.resolve();
      return new Promise((resolve) => forgetting.set(logPath, resolve));
    },
  };
}
