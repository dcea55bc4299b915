import type { Socket } from "bun";
import { briefSleep } from "../kernel/clock.ts";
import { closeFd } from "../kernel/fs.ts";
import { connectSeqpacket, sendPacket, shutdownWrite, takePacket } from "../kernel/pipe.ts";
import { conflict } from "../lib/errors.ts";
import type { AttachHub, OutputListener } from "./types.ts";

const STDERR = 3;
/** conmon cuts packets of more than 32 KiB silently. */
const STDIN_PACKET = 8192;
/** Its own have a byte for the stream and at most 8 KiB; its queue holds a few less than so many. */
const OUTPUT_PACKET = 8193;
const TOGETHER = 24;
/** So many full ones in a row are a flood; it is over when nothing came so often. */
const FLOOD_BEGINS = 8;
const MOST_MISSES = 3;
const TORRENT_MICROS = 50;

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

  let memory: Buffer | undefined;
  /** Full packets in a row. */
  let full = 0;
  let isFlooded = false;
  /** Faster than a timer can follow. */
  let isTorrent = false;

  const deliver = (stream: number | undefined, bytes: Uint8Array): void => {
    for (const listener of listeners) {
      if (stream === STDERR) listener.stderr(bytes);
      else listener.stdout(bytes);
    }
  };
  /** What waits in the socket, joined as far as it is one stream's. The number of packets. */
  const takeWaiting = (): number => {
    const all = (memory ??= Buffer.allocUnsafeSlow(OUTPUT_PACKET * TOGETHER));
    let stream: number | undefined;
    // Each packet is put one byte further ahead, so that the byte for its stream falls on the last of what is there already.
    let end = 1;
    let count = 0;
    for (; count < TOGETHER && fd >= 0; count++) {
      const last = all[end - 1] as number;
      const length = takePacket(fd, all.subarray(end - 1, end - 1 + OUTPUT_PACKET));
      const next = all[end - 1];
      if (count > 0) all[end - 1] = last;
      if (length === 0) break;
      if (count > 0 && next !== stream) {
        deliver(stream, all.subarray(1, end));
        all.copyWithin(1, end, end + length - 1);
        end = 1;
      }
      stream = next;
      end += length - 1;
    }
    if (end > 1) deliver(stream, all.subarray(1, end));
    return count;
  };
  /**
   * A flood of 8 KiB packets costs most by the waking up for each. So they are let come together and taken at once, and clients have one large piece
   * to read instead of many: for a millisecond, or, where the monitor fills its queue in that time, for a tenth of one, in which the event loop stands.
   */
  const takeFlood = (misses: number): void => {
    if (!isFlooded) return;
    const count = takeWaiting();
    const missed = count === 0 ? misses + 1 : 0;
    if (missed > MOST_MISSES || fd < 0) {
      isFlooded = false;
      // also to be told of the end
      if (holds === 0) socket?.resume();
      return;
    }
    isTorrent = isTorrent ? count > 0 : count >= TOGETHER / 3;
    if (!isTorrent) return void setTimeout(takeFlood, 1, missed);
    if (count < TOGETHER) briefSleep(TORRENT_MICROS);
    setImmediate(takeFlood, missed);
  };
  const receive = (packet: Uint8Array): void => {
    deliver(packet[0], packet.subarray(1));
    full = packet.length === OUTPUT_PACKET ? full + 1 : 0;
    if (full < FLOOD_BEGINS || isFlooded || holds > 0 || isLifted) return;
    full = 0;
    isFlooded = true;
    socket?.pause();
    setImmediate(takeFlood, 0);
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
        data: (_: Socket<undefined>, packet: Uint8Array) => receive(packet),
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
    isFlooded = false;
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
      if (++holds === 1) {
        isFlooded = false;
        socket?.pause();
      }
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
