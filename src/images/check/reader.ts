import { cancelled, internal } from "../../lib/errors.ts";
import { startWorker } from "../../lib/worker.ts";
import type { CheckJob, CheckRequest, CheckResponse, CheckResults } from "./protocol.ts";

/** Reads much, in a Worker of its own that lives as long as one check: one thing after another, so that containers keep their share of the disk. */
export interface Reader extends Disposable {
  /** @throws EngineError cancelled, also where the Worker has died, which says nothing of what it read; internal */
  run<J extends CheckJob>(job: J): Promise<CheckResults[J["op"]]>;
}

export function createReader(signal: AbortSignal | undefined): Reader {
  const worker = startWorker<CheckRequest, CheckResponse>("images/check/check.worker.ts");
  let waiting: PromiseWithResolvers<unknown> | undefined;
  let died: Error | undefined;
  worker.onMessage((message) => {
    if (message.type === "done") waiting?.resolve(message.result);
    else waiting?.reject(message.cancelled ? cancelled(message.message) : internal(message.message));
  });
  worker.onError((error) => {
    died = cancelled(`the check's Worker failed: ${error.message}`, error);
    waiting?.reject(died);
  });
  const onAbort = (): void => worker.post({ type: "cancel" });
  signal?.addEventListener("abort", onAbort);
  return {
    run: async <J extends CheckJob>(job: J): Promise<CheckResults[J["op"]]> => {
      if (signal?.aborted === true) throw cancelled("the check was cancelled");
      if (died !== undefined) throw died;
      waiting = Promise.withResolvers();
      worker.post({ type: "start", job });
      return (await waiting.promise) as CheckResults[J["op"]];
    },
    [Symbol.dispose]: () => {
      signal?.removeEventListener("abort", onAbort);
      worker[Symbol.dispose]();
    },
  };
}
