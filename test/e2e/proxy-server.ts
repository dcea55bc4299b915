import { appendFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";

/**
 * An http proxy, a program of its own that runs in an engine's network: `bun proxy-server.ts PORT LOG [USER:PASSWORD]`. Whatever host is asked for, the
 * registry on 127.0.0.1:5000 answers; a tunnel leads nowhere. The log has a line for each request: its first. It prints a line when it listens.
 */
const [port, log, user] = process.argv.slice(2);
const wanted = user === undefined ? undefined : `basic ${Buffer.from(user).toString("base64")}`.toLowerCase();

function answer(socket: Socket, head: string, rest: Buffer): void {
  const [first = "", ...headers] = head.split("\r\n");
  appendFileSync(log!, `${first}\n`);
  const given = headers.find((line) => line.toLowerCase().startsWith("proxy-authorization: "))?.slice("proxy-authorization: ".length);
  if (wanted !== undefined && given?.toLowerCase() !== wanted)
    return void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
  const [method, url] = first.split(" ");
  if (method === "CONNECT") return void socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
  const { pathname, search } = new URL(url!);
  const passed = headers.filter((line) => !/^(?:proxy-|connection:)/i.test(line));
  socket.pause();
  const registry = connect(5000, "127.0.0.1", () => {
    registry.write([`${method} ${pathname}${search} HTTP/1.1`, ...passed, "Connection: close", "", ""].join("\r\n"));
    registry.write(rest);
    socket.pipe(registry);
    registry.pipe(socket);
  });
  registry.on("error", () => socket.destroy());
}

createServer((socket) => {
  let text = Buffer.alloc(0);
  const onData = (chunk: Buffer): void => {
    text = Buffer.concat([text, chunk]);
    const end = text.indexOf("\r\n\r\n");
    if (end < 0) return;
    socket.off("data", onData);
    answer(socket, text.subarray(0, end).toString(), text.subarray(end + 4));
  };
  socket.on("data", onData);
  socket.on("error", () => {});
}).listen(Number(port), "127.0.0.1", () => console.log("listening"));
