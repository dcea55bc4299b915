/**
 * What `source` gives, as fast as it is read. `lease` goes when the stream ends, fails or is cancelled; before the end `onEnd` is called.
 */
export function heldStream(lease: Disposable, source: AsyncIterable<Uint8Array>, onEnd: () => void | Promise<void> = () => {}): ReadableStream<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        try {
          const step = await chunks.next();
          if (step.done !== true) return controller.enqueue(step.value);
          await onEnd();
          lease[Symbol.dispose]();
          controller.close();
        } catch (error) {
          lease[Symbol.dispose]();
          controller.error(error);
        }
      },
      cancel: async () => {
        lease[Symbol.dispose]();
        await chunks.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}
