import { FFIType } from "bun:ffi";
import { rmSync } from "node:fs";
import { check, libc } from "../src/kernel/ffi.ts";
import { closeFd } from "../src/kernel/fs.ts";
import { AF_UNIX, openSocket, receiveMessage, SOCK_DGRAM, SOCK_STREAM, unixAddress } from "../src/kernel/socket.ts";

const c = libc({
  bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  listen: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
});

function boundSocket(path: string, type: number): number {
  const fd = openSocket(AF_UNIX, type);
  const address = unixAddress(path);
  check(c.bind(fd, address, address.length), "bind", path);
  return fd;
}

/** A listening stream socket that this process never accepts from, as a service manager makes it for others. */
export function activatedSocket(path: string): { fd: number } & Disposable {
  const fd = boundSocket(path, SOCK_STREAM);
  check(c.listen(fd, 16), "listen", path);
  return { fd, [Symbol.dispose]: () => closeFd(fd) };
}

/** The socket of a service manager (sd_notify(3)); `read` gives the messages that have come since the last call. */
export function notifySocket(path: string): { read(): string[] } & Disposable {
  const fd = boundSocket(path, SOCK_DGRAM);
  const buffer = Buffer.alloc(8192);
  return {
    read: () => {
      const messages: string[] = [];
      for (let length = receiveMessage(fd, buffer); length !== undefined; length = receiveMessage(fd, buffer)) {
        messages.push(buffer.toString("utf8", 0, length));
      }
      return messages;
    },
    [Symbol.dispose]: () => {
      closeFd(fd);
      rmSync(path, { force: true });
    },
  };
}
