import { receiveFrom, sendTo } from "../../kernel/datagram.ts";
import { SysError } from "../../kernel/ffi.ts";
import { closeFd } from "../../kernel/fs.ts";
import { acceptSocket } from "../../kernel/pipe.ts";
import { receiveMessage, sendSome } from "../../kernel/socket.ts";
import type { Timer } from "../../lib/timers.ts";
import type { Loop } from "./loop.ts";
import { framed } from "./message.ts";
import type { Answerer } from "./resolver.ts";

/** Datagrams at a time: then it's the next container's turn. */
const BATCH = 16;
/** Datagrams of one container in a window: 25,600 a second. What is beyond waits in the kernel's queue, and is dropped there where that is full. */
const WINDOW_MS = 10;
const WINDOW_MOST = 256;

const CONNECTIONS_MOST = 64;
const ACCEPTS = 8;
const IDLE_MS = 10_000;
const REST_MS = 1_000;
/** Of one question by TCP. */
const LONGEST = 4_096;

/** Serves one container's two bound sockets, which it takes over. Errors of a client end that client. */
export function listen(sockets: { udp: number; tcp: number }, loop: Loop, answer: Answerer): Disposable {
  const udp = listenUdp(sockets.udp, loop, answer);
  const tcp = listenTcp(sockets.tcp, loop, answer);
  return {
    [Symbol.dispose]() {
      udp[Symbol.dispose]();
      tcp[Symbol.dispose]();
    },
  };
}

function listenUdp(fd: number, loop: Loop, answer: Answerer): Disposable {
  let windowStart = 0;
  let left = WINDOW_MOST;
  let pause: Timer | undefined;
  let isOpen = true;

  const watch = loop.poller.watch(fd, "read", () => {
    const now = loop.now();
    if (now - windowStart >= WINDOW_MS) {
      windowStart = now;
      left = WINDOW_MOST;
    }
    // an answer brings in what the engine has said meanwhile, the end of this container too
    for (let i = 0; i < BATCH && left > 0 && isOpen; i++) {
      const datagram = receiveFrom(fd, loop.scratch);
      if (datagram === undefined) return;
      left--;
      answer(loop.scratch.subarray(0, datagram.length), "udp", (reply) => {
        if (isOpen) sendTo(fd, reply, datagram.from);
      });
    }
    if (left > 0 || !isOpen) return;
    watch.want("none");
    pause = loop.timers.add(windowStart + WINDOW_MS, () => watch.want("read"));
  });

  return {
    [Symbol.dispose]() {
      isOpen = false;
      loop.timers.cancel(pause);
      watch[Symbol.dispose]();
      closeFd(fd);
    },
  };
}

interface Connection extends Disposable {
  readonly usedAt: number;
  readonly isBusy: boolean;
}

function listenTcp(fd: number, loop: Loop, answer: Answerer): Disposable {
  /** The one that was used longest ago is first. */
  const connections = new Set<Connection>();
  let sweep: Timer | undefined;
  let rest: Timer | undefined;

  const end = (connection: Connection): void => {
    if (connections.delete(connection)) connection[Symbol.dispose]();
  };
  const sweepIdle = (): void => {
    const limit = loop.now() - IDLE_MS;
    for (const connection of connections) if (connection.usedAt <= limit && !connection.isBusy) end(connection);
    sweep = connections.size === 0 ? undefined : loop.timers.add(loop.now() + IDLE_MS / 4, sweepIdle);
  };

  /** Without descriptors left, it tries again later. */
  const accept = (): number | undefined => {
    try {
      return acceptSocket(fd);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      watch.want("none");
      rest = loop.timers.add(loop.now() + REST_MS, () => watch.want("read"));
      return undefined;
    }
  };

  const watch = loop.poller.watch(fd, "read", () => {
    for (let i = 0; i < ACCEPTS; i++) {
      const socket = accept();
      if (socket === undefined) return;
      const [oldest] = connections;
      if (connections.size >= CONNECTIONS_MOST && oldest !== undefined) end(oldest);
      const connection = serveConnection(socket, loop, answer, {
        used: () => {
          connections.delete(connection);
          connections.add(connection);
        },
        ended: () => end(connection),
      });
      connections.add(connection);
      sweep ??= loop.timers.add(loop.now() + IDLE_MS / 4, sweepIdle);
    }
  });

  return {
    [Symbol.dispose]() {
      loop.timers.cancel(sweep);
      loop.timers.cancel(rest);
      for (const connection of connections) end(connection);
      watch[Symbol.dispose]();
      closeFd(fd);
    },
  };
}

/** Questions of one connection, answered in order, one at a time: what comes meanwhile waits in the kernel. */
function serveConnection(fd: number, loop: Loop, answer: Answerer, on: { used(): void; ended(): void }): Connection {
  let received: Buffer = Buffer.alloc(0);
  let unsent: Uint8Array = new Uint8Array();
  let isBusy = false;
  let isReading = true;
  let isWorking = false;
  let isOpen = true;
  let usedAt = loop.now();

  const flush = (): void => {
    if (unsent.length > 0) unsent = unsent.subarray(sendSome(fd, unsent));
  };
  const work = (): void => {
    if (isWorking) return;
    isWorking = true;
    while (isOpen && !isBusy && unsent.length === 0 && received.length >= 2) {
      const length = received.readUInt16BE(0);
      if (length > LONGEST) return on.ended();
      if (received.length < 2 + length) break;
      const message = received.subarray(2, 2 + length);
      received = received.subarray(2 + length);
      isBusy = true;
      if (!answer(message, "tcp", reply)) return on.ended();
    }
    isWorking = false;
    if (!isOpen) return;
    if (!isBusy && unsent.length === 0 && !isReading) return on.ended();
    watch.want(unsent.length > 0 ? "write" : isBusy ? "none" : "read");
  };
  const reply = (bytes: Uint8Array): void => {
    if (!isOpen) return;
    isBusy = false;
    unsent = framed(bytes);
    guarded(flush);
    work();
  };
  const guarded = (step: () => void): void => {
    try {
      step();
    } catch (error) {
      on.ended();
      if (!(error instanceof SysError)) throw error;
    }
  };

  const ready = (): void => {
    usedAt = loop.now();
    on.used();
    if (unsent.length > 0) {
      flush();
      return work();
    }
    const length = receiveMessage(fd, loop.scratch.subarray(0, LONGEST));
    if (length === undefined) return;
    if (length === 0) isReading = false;
    else received = Buffer.concat([received, loop.scratch.subarray(0, length)]);
    work();
  };
  const watch = loop.poller.watch(fd, "read", () => guarded(ready));

  return {
    get usedAt() {
      return usedAt;
    },
    get isBusy() {
      return isBusy;
    },
    [Symbol.dispose]() {
      isOpen = false;
      watch[Symbol.dispose]();
      closeFd(fd);
    },
  };
}
