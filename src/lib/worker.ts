/**
 * Workers are compile entry points: `scripts/build` names every `*.worker.ts` beside main.ts, and this is the one piece of code that
 * starts them. Bun's Workers are long-lived here: churn has crashed older versions, so make one and keep it.
 */
export interface WorkerHandle<Request, Response> extends Disposable {
  post(message: Request, transfer?: (ArrayBuffer | MessagePort)[]): void;
  onMessage(listener: (message: Response) => void): void;
  /** An error inside a Worker prints nothing unless someone listens. */
  onError(listener: (error: Error) => void): void;
}

/** Starts the Worker whose source is `source`, given as `new URL("./name.worker.ts", import.meta.url)`. */
export function startWorker<Request, Response>(source: URL): WorkerHandle<Request, Response> {
  const worker = new Worker(source, { type: "module" });
  let onError: (error: Error) => void = (error) => {
    throw error;
  };
  worker.addEventListener("error", (event) => onError(new Error(`worker ${source.pathname}: ${event.message}`)));
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
