import { FFIType } from "bun:ffi";
import { EVENT_DATA, EVENT_SIZE, STOP } from "./epoll.ts";
import { libc, stable } from "./ffi.ts";

/** Blocks in epoll_wait(2) and posts the ids that are ready; ends at the id STOP. */
declare const self: { addEventListener(type: "message", listener: (event: MessageEvent<number>) => void): void; postMessage(ids: number[]): void };

const c = libc({ epoll_wait: { args: [FFIType.i32, FFIType.ptr, FFIType.i32, FFIType.i32], returns: FFIType.i32 } });
const MOST = 64;

self.addEventListener("message", ({ data: epoll }) => {
  const events = stable(EVENT_SIZE * MOST);
  for (;;) {
    const n = c.epoll_wait(epoll, events, MOST, -1);
    const ids: number[] = [];
    for (let i = 0; i < n; i++) ids.push(events.readUInt32LE(i * EVENT_SIZE + EVENT_DATA));
    if (ids.includes(STOP)) process.exit();
    if (ids.length > 0) self.postMessage(ids);
  }
});
