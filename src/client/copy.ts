import { ApiError } from "./errors.ts";
import type { Client } from "./client.ts";
import type { ImageOffer, MissingLayer, ProgressLine } from "./types.ts";

/** Layers on their way at once. */
const mostAtOnce = 3;
/** Progress is told at most so often, in milliseconds. */
const tellEvery = 100;

export interface CopyOptions {
  /** `os/arch[/variant]`; the one that the name stands for at its source. */
  platform?: string;
  signal?: AbortSignal;
}

/**
 * Copies an image from one engine to another: only the layers that the other lacks, and of those what hasn't come in an earlier try. Where one of them is an
 * engine that can't tell (Docker's), the whole image goes as an archive, and a line says so. Lines are as those of pull; a failure of the other engine is the last.
 */
export async function* copyImage(
  from: Client,
  to: Client,
  image: string,
  { platform, signal }: CopyOptions = {},
): AsyncGenerator<ProgressLine, void, undefined> {
  const offer = await unlessUnknown(from.images.offer(image, platform));
  const missing = offer && (await unlessUnknown(to.images.missing(offer)));
  if (offer === undefined || missing === undefined) {
    yield { status: `The engine at ${(offer === undefined ? from : to).host.text} can't tell what an image lacks: all of ${image} is copied` };
    const archive = await from.images.save([image], platform === undefined ? {} : { platforms: [platform] });
    yield* await to.images.load(archive.body as ReadableStream<Uint8Array>, { quiet: false });
    return;
  }
  const bytes = missing.reduce((sum, { ranges }) => sum + ranges.reduce((all, { start, end }) => all + end - start, 0), 0);
  yield { status: `Copying ${image} (${offer.platform}): ${missing.length} of ${offer.layers.length} layers, ${bytes} bytes` };
  yield* sendLayers(from, to, offer, missing, signal);
  yield* await to.images.copy(offer, signal);
}

/** Undefined where the engine has no such endpoint. */
async function unlessUnknown<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404 && /page not found/.test(error.message)) return undefined;
    throw error;
  }
}

async function* sendLayers(
  from: Client,
  to: Client,
  { image }: ImageOffer,
  missing: readonly MissingLayer[],
  signal: AbortSignal | undefined,
): AsyncGenerator<ProgressLine, void, undefined> {
  const lines: ProgressLine[] = [];
  let wake: () => void = () => {};
  const tell = (line: ProgressLine): void => {
    lines.push(line);
    wake();
  };
  const stop = new AbortController();
  const any = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const waiting = [...missing];
  const worker = async (): Promise<void> => {
    for (let layer = waiting.shift(); layer !== undefined && !any.aborted; layer = waiting.shift()) await sendLayer(from, to, image, layer, tell, any);
  };
  let over = false;
  const all = Promise.all(Array.from({ length: mostAtOnce }, worker)).finally(() => {
    over = true;
    wake();
  });
  all.catch(() => stop.abort());
  try {
    while (!over || lines.length > 0) {
      const line = lines.shift();
      if (line !== undefined) yield line;
      else if (!over) await new Promise<void>((resolve) => (wake = resolve));
    }
    await all;
  } finally {
    stop.abort();
  }
}

async function sendLayer(
  from: Client,
  to: Client,
  image: string,
  { digest, size, ranges }: MissingLayer,
  tell: (line: ProgressLine) => void,
  signal: AbortSignal,
): Promise<void> {
  const id = digest.slice("sha256:".length, "sha256:".length + 12);
  for (const { start, end } of ranges) {
    const source = await from.images.offeredLayer(image, digest, start, signal);
    let at = start;
    let toldAt = 0;
    const counted = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        const part = chunk.subarray(0, end - at);
        at += part.length;
        if (part.length > 0) controller.enqueue(part);
        if (at >= end) controller.terminate();
        const now = performance.now();
        if (now - toldAt < tellEvery) return;
        toldAt = now;
        tell({ status: "Copying", id, progressDetail: { current: at, total: size } });
      },
    });
    await to.images.receiveLayer({ digest, size }, start, (source as ReadableStream<never>).pipeThrough(counted as never), signal);
  }
  tell({ status: "Copied", id });
}
