import { statSync } from "node:fs";
import { unavailable } from "../lib/errors.ts";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";

export interface SyncRequest {
  id: number;
  /** A directory. */
  path: string;
}
export interface SyncAnswer {
  id: number;
  /** Empty where all went well. */
  failure: string;
}

export interface DiskSync extends Disposable {
  /**
   * All that was written before the call to the file system of directory `path` is on the disk once this resolves. Who asks while a sync runs waits for
   * the next, together with all others who asked meanwhile; so do all who ask in the same turn of the event loop.
   * @throws EngineError unavailable where the disk failed
   */
  sync(path: string): Promise<void>;
}

interface Device {
  running: Promise<void>;
  next: Promise<void> | undefined;
}

/** syncfs(2) in a Worker of its own, which starts with the first need: it takes as long as the disk does. */
export function createDiskSync(): DiskSync {
  const devices = new Map<number, Device>();
  const waiting = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  let worker: WorkerHandle<SyncRequest, SyncAnswer> | undefined;
  let counter = 0;

  const start = (): WorkerHandle<SyncRequest, SyncAnswer> => {
    const started = startWorker<SyncRequest, SyncAnswer>("kernel/disk-sync.worker.ts");
    const answer = (id: number, failure: string): void => {
      const waiter = waiting.get(id);
      waiting.delete(id);
      if (failure === "") waiter?.resolve();
      else waiter?.reject(unavailable(`writing to the disk: ${failure}`));
    };
    started.onMessage(({ id, failure }) => answer(id, failure));
    started.onError((error) => {
      worker = undefined;
      for (const id of [...waiting.keys()]) answer(id, error.message);
    });
    return started;
  };

  const run = (path: string): Promise<void> => {
    const id = ++counter;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    waiting.set(id, { resolve, reject });
    (worker ??= start()).post({ id, path });
    return promise;
  };

  return {
    sync: async (path) => {
      const { dev } = statSync(path);
      let device = devices.get(dev);
      if (device === undefined) devices.set(dev, (device = { running: Promise.resolve(), next: undefined }));
      const here = device;
      here.next ??= here.running
        .catch(() => {})
        .then(() => new Promise<void>((resolve) => setImmediate(resolve)))
        .then(() => {
          here.next = undefined;
          return (here.running = run(path));
        });
      await here.next;
    },
    [Symbol.dispose]: () => worker?.[Symbol.dispose](),
  };
}
