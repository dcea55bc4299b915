import type { Digest } from "../oci/digest.ts";
import type { ImageContext, ImageRecord } from "./types.ts";

/** A layer's tar that is no blob here: it is made again from its snapshot. */
export interface RemadeLayer {
  size: number;
  /** The stream fails at its end where it isn't what the image says. */
  open(signal?: AbortSignal): ReadableStream<Uint8Array>;
}

/** Undefined where `digest` isn't that of an uncompressed layer of the image, or where it can't be made. */
export function remadeLayer(ctx: ImageContext, image: ImageRecord, digest: Digest): RemadeLayer | undefined {
  const snapshot = image.layers[image.config.rootfs.diff_ids.indexOf(digest)];
  const size = ctx.snapshots.tarSize(digest);
  if (snapshot === undefined || size === undefined) return undefined;
  return { size, open: (signal) => ctx.snapshots.diffTar(snapshot, { expect: digest, ...(signal && { signal }) }) };
}

/** The bytes of [start, end) of a stream. */
export function cut(stream: ReadableStream<Uint8Array>, { start, end }: { start: number; end: number }): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  let at = 0;
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return controller.close();
          const part = value.subarray(Math.max(0, Math.min(start - at, value.length)), Math.max(0, Math.min(end - at, value.length)));
          at += value.length;
          if (part.length > 0) controller.enqueue(part);
          // One whose end is asked for is read to its end, where it may yet fail.
          if (at > end) {
            await reader.cancel();
            return controller.close();
          }
          if (part.length > 0) return undefined;
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
