import type { Socket } from "bun";
import { closeFd } from "../kernel/fs.ts";
import { connectSeqpacket, sendPacket, shutdownWrite } from "../kernel/pipe.ts";
import { conflict } from "../lib/errors.ts";
import type { AttachHub, OutputListener } from "./types.ts";

const STDERR = 3;
/** conmon cuts packets of more than 32 KiB silently. */
const STDIN_PACKET = 8192;

/** conmon's attach socket with its owner's controls. */
export interface MonitorHub extends AttachHub {
  /** Connects now. Output from here on is seen: before init starts, that is all of it. @throws SysError */
  connect(): Promise<void>;
  /** conmon is gone: delivers what is left in the socket, then `end` to every listener. Repeatable. */
  finish(): Promise<void>;
  /** Calls `action` once, when somebody holds. */
  onHold(action: () => void): void;
  /** Ends all holds for good: conmon must not stay blocked when it has an exit to tell. */
  lift(): void;
}

/**
 * The engine's only connection to one conmon: a second attacher that reads slowly would stop the container, and any attacher's leaving
 * closes stdin. Connected for life where stdin is open, else from the first listener to the last; while connected it always reads.
 */
export function createMonitorHub(options: { bundle: string; openStdin: boolean }): MonitorHub {
  const { bundle, openStdin } = options;
  const listeners = new Set<OutputListener>();
  let fd = -1;
  let socket: Socket<undefined> | undefined;
  let connecting: Promise<void> | undefined;
  let disconnected: Promise<void> = Promise.resolve();
  let isFinished = false;
  let holds = 0;
  let isLifted = false;
  let onHold: (() => void) | undefined;
  let writing: Promise<void> = Promise.resolve();

  const deliver = (packet: Uint8Array): void => {
    const bytes = packet.subarray(1);
    for (const listener of listeners) {
      if (packet[0] === STDERR) listener.stderr(bytes);
      else listener.stdout(bytes);
    }
  };

  const open = async (): Promise<void> => {
    fd = connectSeqpacket(bundle, "attach");
    const closed = Promise.withResolvers<void>();
    disconnected = closed.promise;
    const lose = (): void => {
      fd = -1;
      socket = undefined;
      connecting = undefined;
      closed.resolve();
    };
    try {
      const handlers = {
        data: (_: Socket<undefined>, packet: Uint8Array) => deliver(packet),
        close: lose,
        error: lose,
        end: (each: Socket<undefined>) => void each.end(),
      };
      // `fd` works (one packet a call, closed by Bun) but is missing in Bun's types
      socket = await Bun.connect({ fd, socket: handlers } as unknown as Bun.UnixSocketOptions<undefined>);
      // somebody may have asked to wait meanwhile
      if (holds > 0 && !isLifted) socket.pause();
    } catch (error) {
      closeFd(fd);
      lose();
      throw error;
    }
  };
  const connect = (): Promise<void> =>
    (connecting ??= open().catch((error: unknown) => {
      connecting = undefined;
      throw error;
    }));

  const leave = (listener: OutputListener): void => {
    listeners.delete(listener);
    if (listeners.size === 0 && !openStdin) socket?.terminate();
  };

  const release = (): void => {
    if (--holds === 0) socket?.resume();
  };
  const tellHold = (): void => {
    const action = onHold;
    onHold = undefined;
    action?.();
  };
  const lift = (): void => {
    isLifted = true;
    socket?.resume();
  };

  return {
    connect,
    lift,
    onHold: (action) => {
      onHold = action;
      if (holds > 0) tellHold();
    },
    hold: () => {
      if (isLifted) return { [Symbol.dispose]: () => {} };
      if (++holds === 1) socket?.pause();
      tellHold();
      return { [Symbol.dispose]: once(release) };
    },
    subscribe: (listener) => {
      if (isFinished) {
        queueMicrotask(() => listener.end());
        return { [Symbol.dispose]: () => {} };
      }
      listeners.add(listener);
      // no socket any more: the container has just ended, and `finish` is about to say so
      connect().catch(() => {});
      return { [Symbol.dispose]: () => leave(listener) };
    },
    writeStdin: (chunk) => {
      if (!openStdin) return Promise.reject(conflict("stdin of the container is not open"));
      const next = writing.then(async () => {
        await connect();
        await sendAll(() => fd, chunk);
      });
      writing = next.catch(() => {});
      return next;
    },
    closeStdin: () => {
      if (!openStdin) return;
      // after what has been written before; where conmon is gone there is nothing to close
      writing = writing.then(connect).then(
        () => {
          if (fd >= 0) shutdownWrite(fd);
        },
        () => {},
      );
    },
    finish: async () => {
      if (isFinished) return;
      lift();
      await connecting?.catch(() => {});
      await disconnected;
      isFinished = true;
      for (const listener of listeners) listener.end();
      listeners.clear();
    },
  };
}

function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) action();
    isDone = true;
  };
}

/** EAGAIN is conmon's back-pressure (its queue takes 106–180 KiB): wait and try again. */
async function sendAll(socket: () => number, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.length;) {
    const packet = chunk.subarray(offset, offset + STDIN_PACKET);
    for (let wait = 1; ; wait = Math.min(wait * 2, 50)) {
      if (socket() < 0) throw conflict("the container has ended");
      if (sendPacket(socket(), packet)) break;
      await Bun.sleep(wait);
    }
    offset += packet.length;
  }
}
