import { FFIType } from "bun:ffi";
import { EVENT_DATA, EVENT_SIZE } from "./epoll.ts";
import { check, errno, int, libc, stable, SysError } from "./ffi.ts";
import { closeFd } from "./fs.ts";

const c = libc({
  epoll_create1: { args: [FFIType.i32], returns: FFIType.i32 },
  epoll_ctl: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
  epoll_wait: { args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
});

const EPOLL_CLOEXEC = 0o2000000;
const CTL = { add: 1, delete: 2, modify: 3 } as const;
const EPOLLIN = 1;
const EPOLLOUT = 4;
const EINTR = 4;
const MOST = 64;

export type Interest = "read" | "write" | "none";

/** One descriptor that is watched. Dispose it before the descriptor is closed. */
export interface Watch extends Disposable {
  /** What to wait for from now on; with `none` nothing is reported, errors neither. */
  want(interest: Interest): void;
}

/**
 * An event loop of the calling thread, for Workers that do nothing else. Unlike Bun's, it hands out one readiness at a time: a handler decides how
 * much it takes, so that a descriptor which is always readable starves no other (Bun 1.4 reads a UDP socket until it is empty).
 */
export interface Poller extends Disposable {
  /** `onReady` is called while `fd` is ready as wanted, or has failed. @throws SysError */
  watch(fd: number, interest: Interest, onReady: () => void): Watch;
  /** Waits up to `timeout` ms (-1: for ever) and calls the handlers of what is ready, each once. @throws SysError, and what a handler throws */
  turn(timeout: number): void;
}

export function createPoller(): Poller {
  const epoll = check(c.epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const handlers = new Map<number, () => void>();
  const events = stable(EVENT_SIZE * MOST);
  const request = stable(EVENT_SIZE);
  let nextId = 1;

  const control = (operation: keyof typeof CTL, fd: number, interest: Interest, id: number): void => {
    request.writeUInt32LE(interest === "write" ? EPOLLOUT : EPOLLIN, 0);
    request.writeUInt32LE(id, EVENT_DATA);
    check(c.epoll_ctl(epoll, CTL[operation], int(fd), request), "epoll_ctl");
  };

  return {
    watch(fd, first, onReady) {
      const id = nextId++;
      let now: Interest = "none";
      const want = (next: Interest): void => {
        if (next === now) return;
        control(next === "none" ? "delete" : now === "none" ? "add" : "modify", fd, next, id);
        now = next;
      };
      want(first);
      handlers.set(id, onReady);
      const end = (): void => {
        handlers.delete(id);
        want("none");
      };
      return { want, [Symbol.dispose]: end };
    },
    turn(timeout) {
      const count = c.epoll_wait(epoll, events, MOST, int(timeout));
      if (count < 0) {
        const code = errno();
        if (code !== EINTR) throw new SysError("epoll_wait", code);
      }
      // an id, not a descriptor: a handler may close one whose number the next handler's gets
      for (let i = 0; i < count; i++) handlers.get(events.readUInt32LE(i * EVENT_SIZE + EVENT_DATA))?.();
    },
    [Symbol.dispose]: () => closeFd(epoll),
  };
}
