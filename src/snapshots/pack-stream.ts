import type { JobOptions } from "./workers.ts";

/**
 * The chunks of a pack as a stream. The work starts with the first read, goes on as fast as they are read (the Worker waits for credits) and stops when
 * the stream is cancelled.
 */
export function packStream(run: (options: JobOptions) => Promise<unknown>, signal?: AbortSignal): ReadableStream<Uint8Array> {
  const stop = new AbortController();
  const chunks: { bytes: Uint8Array; credit: () => void }[] = [];
  const state: { started: boolean; outcome?: { error?: unknown }; wake: () => void } = { started: false, wake: () => {} };
  const start = async (): Promise<void> => {
    try {
      await run({
        signal: signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]),
        onChunk: (bytes, credit) => {
          chunks.push({ bytes, credit });
          state.wake();
        },
      });
      state.outcome = {};
    } catch (error) {
      state.outcome = { error };
    }
    state.wake();
  };
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        if (!state.started) void start();
        state.started = true;
        while (chunks.length === 0 && state.outcome === undefined) await new Promise<void>((resolve) => (state.wake = resolve));
        const next = chunks.shift();
        if (next !== undefined) {
          controller.enqueue(next.bytes);
          next.credit();
        } else if (state.outcome!.error === undefined) controller.close();
        else controller.error(state.outcome!.error);
      },
      cancel: () => stop.abort(),
    },
    { highWaterMark: 0 },
  );
}
