import type { Logger } from "../lib/log.ts";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import type { KeepOptions, Logs } from "./types.ts";

export type KeeperRequest =
  ({ kind: "keep"; logPath: string; ctlPath: string } & KeepOptions) | { kind: "ended"; logPath: string } | { kind: "forget"; logPath: string };

export type KeeperReply = { kind: "rotated" | "forgotten"; logPath: string } | { kind: "warn"; logPath: string; message: string; error: string };

/**
 * Bounds logs in a thread of its own: a flood of 250 MB/s writes ten megabytes in 40 ms, and the event loop and its thread pool may be busy for
 * longer with the very clients that read it.
 */
export function createKeeper({ log }: { log: Logger }): Pick<Logs, "keep" | "forget"> {
  let worker: WorkerHandle<KeeperRequest, KeeperReply> | undefined;
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
      log.error("the thread that rotates logs failed", { error });
      // What waits for it must not wait for ever, and the next log gets a new one.
      worker = undefined;
      for (const resolve of forgetting.values()) resolve();
      forgetting.clear();
    });
    return handle;
  };
  return {
    keep(logPath, ctlPath, options) {
      worker ??= start();
      worker.post({ kind: "keep", logPath, ctlPath, ...options });
      return { [Symbol.dispose]: () => worker?.post({ kind: "ended", logPath }) };
    },
    forget(logPath) {
      worker?.post({ kind: "forget", logPath });
      if (!rotated.delete(logPath) || worker === undefined) return Promise.resolve();
      return new Promise((resolve) => forgetting.set(logPath, resolve));
    },
  };
}
