import type { Download } from "../lib/lent.ts";
import { CREDITS } from "./protocol.ts";
import type { ChunkControl, JobOptions } from "./workers.ts";

/**
 * The chunks of a pack as a stream. The work starts with the first read, goes on as fast as they are read (the Worker waits for credits) and stops when
 * the stream is cancelled. After the first chunk the Worker waits: whoever reads may have the rest poured out by it.
 */
export function packStream(run: (options: JobOptions) => Promise<unknown>, signal?: AbortSignal): Download {
  const stop = new AbortController();
  const chunks: { bytes: Uint8Array; control: ChunkControl }[] = [];
  const state: { started: boolean; outcome?: { error?: unknown }; wake: () => void } = { started: false, wake: () => {} };
  /** Of the first chunk, which was read. */
  let held: ChunkControl | undefined;
  let isFirst = true;
  const start = async (): Promise<void> => {
    try {
      await run({
        signal: signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]),
        credits: 1,
        onChunk: (bytes, control) => {
          chunks.push({ bytes, control });
          state.wake();
        },
      });
      state.outcome = {};
    } catch (error) {
      state.outcome = { error };
    }
    state.wake();
  };
  const changed = (): Promise<void> => new Promise((resolve) => (state.wake = resolve));
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        if (!state.started) void start();
        state.started = true;
        if (held !== undefined) for (let n = 0; n < CREDITS; n++) held.credit();
        held = undefined;
        while (chunks.length === 0 && state.outcome === undefined) await changed();
        const next = chunks.shift();
        if (next !== undefined) {
          controller.enqueue(next.bytes);
          if (isFirst) held = next.control;
          else next.control.credit();
          isFirst = false;
        } else if (state.outcome!.error === undefined) controller.close();
        else controller.error(state.outcome!.error);
      },
      cancel: () => stop.abort(),
    },
    { highWaterMark: 0 },
  );
  const pour: Download["pour"] = async (to) => {
    if (held === undefined) throw new Error("only what comes after the first piece can be poured");
    held.pour(to);
    held = undefined;
    while (state.outcome === undefined) await changed();
    if (state.outcome.error !== undefined) throw state.outcome.error;
  };
  return Object.assign(stream, { pour });
}
