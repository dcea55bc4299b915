import { statSync } from "node:fs";
import { messageOf, unavailable } from "../lib/errors.ts";
import { nextTurn } from "../lib/turns.ts";
import { createWorkerCalls } from "../lib/worker-calls.ts";

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
  /** Each the path of a directory. */
  const calls = createWorkerCalls<string, void>("kernel/disk-sync.worker.ts");
  const run = (path: string): Promise<void> =>
    calls.call(path).catch((error: unknown) => {
      throw unavailable(`writing to the disk: ${messageOf(error)}`, error);
    });

  return {
    sync: async (path) => {
      const { dev } = statSync(path);
      let device = devices.get(dev);
      if (device === undefined) devices.set(dev, (device = { running: Promise.resolve(), next: undefined }));
      const here = device;
      here.next ??= here.running
        .catch(() => {})
        .then(nextTurn)
        .then(() => {
          here.next = undefined;
          return (here.running = run(path));
        });
      await here.next;
    },
    [Symbol.dispose]: () => calls[Symbol.dispose](),
  };
}
