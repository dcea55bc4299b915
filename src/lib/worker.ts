/**
 * Workers are compile entry points: `scripts/build` names every `*.worker.ts` beside main.ts, and this is the one piece of code that
 * starts them. Bun's Workers are long-lived here: churn has crashed older versions, so make one and keep it.
 */
export interface WorkerHandle<Request, Response> extends Disposable {
  post(message: Request, transfer?: (ArrayBuffer | MessagePort)[]): void;
  onMessage(listener: (message: Response) => void): void;
  /** An error inside a Worker, a promise's included, is its end. Where nobody listens a WorkerDeath is thrown, which ends the engine. */
  onError(listener: (error: Error) => void): void;
}

/** A Worker has died that another can't take the place of: who waits for it would wait for ever. */
export class WorkerDeath extends Error {}

/**
 * The folder of the sources: in the compiled executable, modules lie in one file under a virtual root, Workers beside it at their path under src/
 * (measured, Bun 1.4; a URL relative to the importing module works from source only).
 */
const sources = import.meta.url.includes("/$bunfs/") ? new URL("file:///$bunfs/root/") : new URL("../", import.meta.url);

/** Starts the Worker with this source, named by its path under src/: `store/checkpoint.worker.ts`. */
export function startWorker<Request, Response>(path: string): WorkerHandle<Request, Response> {
  const worker = new Worker(new URL(path, sources), { type: "module" });
  let onError: (error: Error) => void = (error) => {
    throw error;
  };
  worker.addEventListener("error", (event) => onError(new WorkerDeath(`worker ${path}: ${event.message}`)));
  worker.unref();
  return {
    post: (message, transfer) => worker.postMessage(message, transfer ?? []),
    onMessage: (listener) => {
      worker.addEventListener("message", (event: MessageEvent<Response>) => listener(event.data));
    },
    onError: (listener) => {
      onError = listener;
    },
    [Symbol.dispose]: () => worker.terminate(),
  };
}
