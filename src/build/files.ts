import { EngineError, internal, messageOf } from "../lib/errors.ts";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import type { FilesRequest, FilesResults, FromWorker, ToWorker } from "./files-protocol.ts";

/** The main thread's side of files.worker.ts. The Worker is started with the first request and kept. */
export interface BuildFiles extends Disposable {
  /** `stream` feeds the op `context`. @throws EngineError */
  run<R extends FilesRequest>(request: R, stream?: ReadableStream<Uint8Array>): Promise<FilesResults[R["op"]]>;
}

interface Pending {
  resolve(result: never): void;
  reject(error: Error): void;
  source?: { read(): Promise<Uint8Array | undefined>; cancel(): Promise<void> };
}

export function createBuildFiles(): BuildFiles {
  const pending = new Map<number, Pending>();
  let worker: WorkerHandle<ToWorker, FromWorker> | undefined;
  let last = 0;

  const start = (): WorkerHandle<ToWorker, FromWorker> => {
    const started = startWorker<ToWorker, FromWorker>("build/files.worker.ts");
    started.onMessage((message) => {
      const one = pending.get(message.id);
      if (one === undefined) return;
      if ("pull" in message) return void feed(started, message.id, one);
      pending.delete(message.id);
      void one.source?.cancel().catch(() => {}); // what the archive's end left unread
      if ("error" in message) one.reject(new EngineError(message.error.kind, message.error.message));
      else one.resolve(message.result as never);
    });
    started.onError((error) => {
      worker = undefined;
      for (const one of pending.values()) {
        void one.source?.cancel().catch(() => {});
        one.reject(internal(`the builder's file worker failed: ${error.message}`, error));
      }
      pending.clear();
    });
    return started;
  };

  return {
    run: (request, stream) =>
      new Promise((resolve, reject) => {
        worker ??= start();
        const id = ++last;
        pending.set(id, { resolve, reject, source: stream === undefined ? undefined : sourceOf(stream) });
        worker.post({ id, request });
      }),
    [Symbol.dispose]: () => {
      worker?.[Symbol.dispose]();
      worker = undefined;
      for (const one of pending.values()) one.reject(internal("the builder was closed"));
      pending.clear();
    },
  };
}

function sourceOf(stream: ReadableStream<Uint8Array>): Pending["source"] {
  const reader = stream.getReader();
  return {
    read: async () => {
      const step = await reader.read();
      return step.done ? undefined : step.value;
    },
    cancel: () => reader.cancel(),
  };
}

async function feed(worker: WorkerHandle<ToWorker, FromWorker>, id: number, { source }: Pending): Promise<void> {
  try {
    worker.post({ id, chunk: await source?.read() });
  } catch (error) {
    worker.post({ id, failed: messageOf(error) });
  }
}
