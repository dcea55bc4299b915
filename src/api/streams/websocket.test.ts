import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../../lib/errors.ts";
import { silent } from "../../lib/log.ts";
import type { Exchange } from "../http/connection.ts";
import { createHttpServer, type HttpServer } from "../http/listen.ts";
import { acceptWebSocket } from "./websocket.ts";

/** An echo over a real listener, by Bun's own client and by raw frames. */
describe("WebSocket", () => {
  let directory: string;
  let path: string;
  let server: HttpServer;
  let left = 0;

  async function echo(exchange: Exchange): Promise<void> {
    try {
      const socket = acceptWebSocket(exchange, { text: exchange.head.target === "/text" });
      void socket.left.then(() => left++);
      for (let piece = await socket.connection.read(); piece !== undefined; piece = await socket.connection.read()) {
        if (Buffer.from(piece).toString() === "bye") socket.connection.end();
        else await socket.connection.write(piece);
      }
    } catch (error) {
      exchange.reply(400, {}, messageOf(error));
    }
  }

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "berth-ws-"));
    path = join(directory, "s");
    server = createHttpServer({ handler: echo, commonHeaders: "", log: silent });
    await server.listen({ kind: "unix", path });
  });
  afterAll(async () => {
    await server.close(0);
    rmSync(directory, { recursive: true, force: true });
  });

  async function client(target: string): Promise<{ socket: WebSocket; next(): Promise<unknown>; closed: Promise<number> }> {
    const socket = new WebSocket(`ws+unix://${path}:${target}`);
    socket.binaryType = "arraybuffer";
    const messages: unknown[] = [];
    let wake = (): void => {};
    const closed = new Promise<number>((resolve) => socket.addEventListener("close", ({ code }) => resolve(code)));
    socket.addEventListener("message", ({ data }) => {
      messages.push(typeof data === "string" ? data : Buffer.from(data as ArrayBuffer));
      wake();
    });
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", reject);
    });
    const next = async (): Promise<unknown> => {
      while (messages.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      return messages.shift();
    };
    return { socket, next, closed };
  }

  test("messages of every length class come back, and the server's end is a normal close", async () => {
    const { socket, next, closed } = await client("/");
    for (const size of [1, 125, 126, 65535, 65536, 300_000]) {
      const bytes = Buffer.alloc(size, size & 0xff);
      socket.send(bytes);
      const pieces: Buffer[] = [];
      while (pieces.reduce((sum, piece) => sum + piece.length, 0) < size) pieces.push((await next()) as Buffer);
      expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
    }
    socket.send("bye");
    expect(await closed).toBe(1000);
  });

  test("text mode sends valid UTF-8 only, a character cut in two included", async () => {
    const { socket, next, closed } = await client("/text");
    socket.send(Buffer.from([0x61, 0xc3]));
    expect(await next()).toBe("a");
    socket.send(Buffer.from([0xa4, 0xff]));
    expect(await next()).toBe("ä\ufffd");
    socket.close();
    await closed;
  });

  test("the client's close is answered and told", async () => {
    const before = left;
    const { socket, closed } = await client("/");
    socket.close(4321);
    expect(await closed).toBe(4321);
    expect(left).toBe(before + 1);
  });

  /** A handshake by hand; `send` masks with zeros. */
  async function raw(): Promise<{
    socket: Socket;
    send(first: number, payload: Uint8Array, second?: number): void;
    received(length: number): Promise<Buffer>;
  }> {
    const socket = connect(path);
    let bytes = Buffer.alloc(0);
    let wake = (): void => {};
    socket.on("data", (chunk) => {
      bytes = Buffer.concat([bytes, chunk as Buffer]);
      wake();
    });
    const received = async (length: number): Promise<Buffer> => {
      while (bytes.length < length) await new Promise<void>((resolve) => (wake = resolve));
      const taken = bytes.subarray(0, length);
      bytes = bytes.subarray(length);
      return taken;
    };
    socket.write(handshake("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
    const head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    expect((await received(head.length)).toString()).toBe(head);
    const send = (first: number, payload: Uint8Array, second = 0x80 | payload.length): void =>
      void socket.write(Buffer.concat([Buffer.of(first, second, 0, 0, 0, 0), payload]));
    return { socket, send, received };
  }
  const handshake = (lines: string): string => `GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n${lines}\r\n`;

  test("fragments, a ping between them, frames cut anywhere", async () => {
    const { socket, send, received } = await raw();
    send(0x02, Buffer.from("ab"));
    expect([...(await received(4))]).toEqual([0x82, 2, 97, 98]);
    send(0x89, Buffer.from("hi"));
    expect([...(await received(4))]).toEqual([0x8a, 2, 104, 105]);
    for (const byte of [0x80, 0x81, 1, 2, 3, 4, 99 ^ 1]) {
      socket.write(Buffer.of(byte));
      await Bun.sleep(1);
    }
    expect([...(await received(3))]).toEqual([0x82, 1, 99]);
    socket.destroy();
  });

  test("frames that aren't masked, reserved bits, long or cut control frames: protocol error", async () => {
    const bad: [number, number][] = [
      [0x82, 0x01],
      [0xc2, 0x81],
      [0x83, 0x81],
      [0x8b, 0x81],
      [0x89, 0x80 | 126],
      [0x09, 0x81],
    ];
    for (const [first, second] of bad) {
      const { socket, send, received } = await raw();
      const ended = new Promise((resolve) => socket.on("end", resolve));
      send(first, Buffer.from("x"), second);
      expect([...(await received(4))]).toEqual([0x88, 2, 1002 >> 8, 1002 & 0xff]);
      await ended;
      socket.destroy();
    }
  });

  test("what is no handshake is refused", async () => {
    const answer = async (request: string): Promise<string> => {
      const socket = connect(path);
      socket.end(request);
      let text = "";
      for await (const chunk of socket) text += String(chunk);
      return text;
    };
    const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    expect(await answer("GET / HTTP/1.1\r\nHost: x\r\n\r\n")).toContain("400 Bad Request");
    expect(await answer("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")).toEndWith("not websocket protocol");
    expect(await answer(handshake(`Sec-WebSocket-Version: 8\r\n${key}`))).toContain("Sec-WebSocket-Version: 13");
    expect(await answer(handshake("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"))).toEndWith("malformed Sec-WebSocket-Key header");
  });
});
