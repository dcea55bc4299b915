import type { ProgressLine } from "../../client/types.ts";
import { showProgress } from "../format/progress.ts";
import type { Streams } from "../io.ts";

/** How often the bar is told, in milliseconds. */
const every = 100;

/** A bar on the terminal's standard error for bytes that go by while `work` lasts, which counts them. `total`: 0 where nobody knows. */
export async function withBar<T>(io: Streams, id: string, status: string, total: number, work: (count: (bytes: number) => void) => Promise<T>): Promise<T> {
  let current = 0;
  let over = false;
  async function* lines(): AsyncGenerator<ProgressLine> {
    for (let wait = true; wait;) {
      wait = !over;
      if (current > 0) yield { status, id, progressDetail: { current, ...(total > 0 && { total }) } };
      if (wait) await Bun.sleep(every);
    }
  }
  const shown = io.err.isTty ? showProgress(lines(), io.err) : undefined;
  try {
    return await work((bytes) => (current += bytes));
  } finally {
    over = true;
    await shown;
  }
}

/** The same bytes, counted as they are read. */
export function counted(stream: ReadableStream<Uint8Array>, count: (bytes: number) => void): ReadableStream<Uint8Array> {
  return stream.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        count(chunk.length);
        controller.enqueue(chunk);
      },
    }),
  );
}
