import { closeFd, O } from "../kernel/fs.ts";
import { setNonBlocking, writeFd } from "../kernel/pipe.ts";
import { conflict } from "../lib/errors.ts";
import type { AttachHub, OutputListener } from "../runtime/types.ts";

export interface HubOutput {
  /** A pipe's read end or a terminal's master. The hub closes it. */
  fd: number;
  name: "stdout" | "stderr";
}

export interface StreamHubOptions {
  outputs: readonly HubOutput[];
  /** A pipe's write end, or a terminal's master (which is not closed at the end of input: the terminal would hang up). */
  input?: { fd: number; isTerminal: boolean };
  /** Read at once, even if nobody listens; else from the first listener on, so that it misses nothing. */
  isEager: boolean;
}

export interface StreamHub extends AttachHub {
  /**
   * The process has ended: waits for the end of its output, or until that was silent for `silenceMs` (a child in the background may hold the
   * pipes for ever), then tells the listeners. Closes everything. 0: at once, nobody will listen.
   */
  finish(silenceMs: number): Promise<void>;
}

/** How long the output of an ended process waits for a listener. */
const LISTENER_MS = 1000;

/** Pipes or a terminal of an exec, fanned out. */
export function createStreamHub({ outputs, input, isEager }: StreamHubOptions): StreamHub {
  const listeners = new Set<OutputListener>();
  const readers = new Set<ReadableStreamDefaultReader<Uint8Array>>();
  let reading: Promise<unknown> | undefined;
  let lastRead = performance.now();
  let isFinished = false;
  let holds = 0;
  let released = Promise.withResolvers<void>();
  const firstListener = Promise.withResolvers<void>();
  let inputFd = input?.fd ?? -1;
  let writing: Promise<void> = Promise.resolve();

  const closeInput = (): void => {
    if (inputFd < 0) return;
    if (input?.isTerminal !== true) closeFd(inputFd);
    inputFd = -1;
  };

  const readOne = async ({ fd, name }: HubOutput): Promise<void> => {
    setNonBlocking(fd, input?.isTerminal === true && input.fd === fd ? O.RDWR : O.RDONLY);
    const reader = Bun.file(fd).stream().getReader() as ReadableStreamDefaultReader<Uint8Array>;
    readers.add(reader);
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        lastRead = performance.now();
        for (const listener of listeners) listener[name](value);
        if (holds > 0) await released.promise;
      }
    } catch (error) {
      // a terminal whose other side is closed says EIO: its end of file
      if ((error as { code?: string }).code !== "EIO") throw error;
    } finally {
      readers.delete(reader);
    }
  };
  const read = (): void => {
    reading ??= Promise.all(outputs.map(readOne));
  };
  if (isEager) read();

  const lift = (): void => {
    holds = 0;
    released.resolve();
  };

  return {
    hold: () => {
      let isHeld = !isFinished;
      if (isHeld && holds++ === 0) released = Promise.withResolvers();
      return {
        [Symbol.dispose]: () => {
          if (isHeld && holds > 0 && --holds === 0) released.resolve();
          isHeld = false;
        },
      };
    },
    subscribe: (listener) => {
      if (isFinished) {
        queueMicrotask(() => listener.end());
        return { [Symbol.dispose]: () => {} };
      }
      listeners.add(listener);
      firstListener.resolve();
      read();
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
    writeStdin: (chunk) => {
      if (input === undefined) return Promise.reject(conflict("stdin of the exec is not open"));
      const next = writing.then(() => writeAll(() => inputFd, chunk));
      writing = next.catch(() => {});
      return next;
    },
    closeStdin: () => {
      writing = writing.then(closeInput);
    },
    finish: async (silenceMs) => {
      // what the pipes still hold is little
      lift();
      // a short-lived process may have ended before whoever started it could listen: its output waits in the pipes
      if (outputs.length > 0 && reading === undefined && silenceMs > 0) await Promise.race([firstListener.promise, Bun.sleep(LISTENER_MS)]);
      if (reading !== undefined) {
        lastRead = performance.now();
        const ended = reading.then(() => true);
        while (!(await Promise.race([ended, Bun.sleep(silenceMs).then(() => performance.now() - lastRead >= silenceMs)])));
        for (const reader of readers) await reader.cancel();
      }
      isFinished = true;
      closeInput();
      for (const { fd } of outputs) closeFd(fd);
      for (const listener of listeners) listener.end();
      listeners.clear();
    },
  };
}

/** Full pipes and terminals answer EAGAIN: wait and try again. */
async function writeAll(target: () => number, chunk: Uint8Array): Promise<void> {
  for (let offset = 0, wait = 1; offset < chunk.length;) {
    if (target() < 0) throw conflict("stdin of the exec is closed");
    const n = writeFd(target(), chunk.subarray(offset));
    offset += n;
    wait = n > 0 ? 1 : Math.min(wait * 2, 50);
    if (n === 0) await Bun.sleep(wait);
  }
}
