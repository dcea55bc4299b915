import { readSync, writeSync } from "node:fs";
import { check, int, libc } from "../../src/kernel/ffi.ts";
import { AF_INET, SOCK_STREAM, socketAddress } from "../../src/kernel/socket.ts";

/**
 * `serve PORT` answers one association with what it says, in capitals. `ask ADDRESS PORT TEXT` asks that and prints the answer. Neither Bun nor busybox
 * speaks SCTP.
 */
const c = libc({
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  accept: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
});
const IPPROTO_SCTP = 132;
const bytes = (address: string): Uint8Array => Uint8Array.from(address.split("."), Number);

const [verb, ...args] = process.argv.slice(2);
const fd = check(c.socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP), "socket");
const bind = (address: string, port: number): void => {
  const name = socketAddress(bytes(address), port);
  check(c.bind(fd, name, name.length), "bind", address);
};
const buffer = Buffer.alloc(1000);

if (verb === "serve") {
  bind("0.0.0.0", Number(args[0]));
  check(c.listen(fd, 5), "listen");
  console.log("listening");
  const peer = check(c.accept(fd, null, null), "accept");
  const text = buffer.toString("utf8", 0, readSync(peer, buffer));
  writeSync(peer, text.toUpperCase());
  readSync(peer, buffer); // until the other side has it, and ends
} else {
  const [address = "", port = "", text = ""] = args;
  // one address of its own: others would be offered to the peer within the association, where no address is translated
  bind(address, 0);
  const name = socketAddress(bytes(address), Number(port));
  check(c.connect(int(fd), name, name.length), "connect", address);
  writeSync(fd, text);
  console.log(buffer.toString("utf8", 0, readSync(fd, buffer)));
}
