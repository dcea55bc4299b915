import { FFIType } from "bun:ffi";
import { startWorker, type WorkerHandle } from "../lib/worker.ts";
import { createWakeup, wake } from "./eventfd.ts";
import { check, int, libc, stable } from "./ffi.ts";

const c = libc({
  epoll_create1: { args: [FFIType.i32], returns: FFIType.i32 },
  epoll_ctl: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
});

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const INTEREST = { read: 1, priority: 2, write: 4 } as const;
const EPOLLONESHOT = 1 << 30;
/** epoll_event is packed on x86-64 only. */
export const EVENT_SIZE = process.arch === "x64" ? 12 : 16;
export const EVENT_DATA = process.arch === "x64" ? 4 : 8;
/** The id of the event that ends the Worker. */
export const STOP = 0;

/**
 * Waits for descriptors that Bun's own event loop refuses: pidfds (readable when the process ended) and listening sockets that must not
 * be adopted. One Worker blocked in epoll_wait(2), started at the first wait.
 */
export interface Readiness extends Disposable {
  /**
   * Resolves once when `fd` is readable (or writable, or has something urgent, where that is asked for), or has failed. The caller keeps `fd` open
   * until then, or calls `abandon`.
   */
  wait(fd: number, direction?: keyof typeof INTEREST): Promise<void>;
  /** Forgets a wait; its promise never settles. Call it before closing the descriptor. */
  abandon(fd: number): void;
}

export function createReadiness(): Readiness {
  const waiting = new Map<number, { fd: number; resolve: () => void }>();
  let nextId = STOP + 1;
  let started: { epoll: number; stop: number; worker: WorkerHandle<number, number[]> } | undefined;

  const start = (): NonNullable<typeof started> => {
    const epoll = check(c.epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    const stop = createWakeup();
    check(c.epoll_ctl(epoll, EPOLL_CTL_ADD, stop, event(INTEREST.read, STOP)), "epoll_ctl");
    const worker = startWorker<number, number[]>("kernel/epoll.worker.ts");
    worker.onMessage((ids) => {
      for (const id of ids) {
        const entry = waiting.get(id);
        if (entry === undefined) continue;
        waiting.delete(id);
        check(c.epoll_ctl(epoll, EPOLL_CTL_DEL, int(entry.fd), event(0, 0)), "epoll_ctl");
        entry.resolve();
      }
    });
    worker.post(epoll);
    return { epoll, stop, worker };
  };

  return {
    wait: (fd, direction = "read") => {
      started ??= start();
      const { epoll } = started;
      const id = nextId++;
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.set(id, { fd, resolve });
      check(c.epoll_ctl(epoll, EPOLL_CTL_ADD, int(fd), event(INTEREST[direction] | EPOLLONESHOT, id)), "epoll_ctl");
      return promise;
    },
    abandon: (fd) => {
      for (const [id, entry] of waiting) {
        if (entry.fd !== fd || started === undefined) continue;
        waiting.delete(id);
        check(c.epoll_ctl(started.epoll, EPOLL_CTL_DEL, int(fd), event(0, 0)), "epoll_ctl");
      }
    },
    [Symbol.dispose]: () => {
      if (started === undefined) return;
      // terminate() doesn't end a thread that blocks in a system call: this event does; the descriptors end with the process
      wake(started.stop);
      started = undefined;
      waiting.clear();
    },
  };
}

function event(events: number, id: number): Buffer {
  const value = stable(EVENT_SIZE);
  value.writeUInt32LE(events >>> 0, 0);
  value.writeUInt32LE(id, EVENT_DATA);
  return value;
}
