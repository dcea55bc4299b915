import { afterEach, beforeEach, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { questionOf, responseTo, turningLoop } from "../../../test/fixtures/dns-loop.ts";
import { nextTurn } from "../../lib/turns.ts";
import { AF_INET, AF_INET6, bindSocket, boundPort, openSocket } from "../../kernel/socket.ts";
import { listen } from "./listener.ts";
import type { Loop } from "./loop.ts";
import { codeOf, framed } from "./message.ts";
import { Names } from "./names.ts";
import { createResolver } from "./resolver.ts";
import type { NamedEndpoint } from "./types.ts";
import { Upstream } from "./upstream.ts";

let loop: Loop & Disposable;
const opened: (() => void)[] = [];
beforeEach(() => {
  loop = turningLoop();
});
afterEach(() => {
  for (const close of opened.splice(0)) close();
  loop[Symbol.dispose]();
});

/** A name server that keeps every question, and answers when it is told to. */
async function reticent(): Promise<{ upstream: Upstream; asked: { reply(): void }[] }> {
  const asked: { reply(): void }[] = [];
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.2",
    socket: {
      data(self, data, port, address) {
        const question = Buffer.from(data as Uint8Array);
        asked.push({ reply: () => void self.send(responseTo(question, { answers: [7] }), port, address) });
      },
    },
  });
  const upstream = new Upstream(loop, (family, type) => openSocket(family === "ipv4" ? AF_INET : AF_INET6, type), 0, socket.port);
  upstream.use(["127.0.0.2"]);
  opened.push(
    () => socket.close(),
    () => upstream[Symbol.dispose](),
  );
  return { upstream, asked };
}

const endpoint: NamedEndpoint = {
  id: "e",
  networkId: "n",
  networkName: "net",
  containerId: "c",
  names: ["me"],
  addresses: ["10.0.0.2"],
  external: true,
  gateways: 1,
  priority: 0,
  servers: [],
  ndots: false,
};
const noSocket = (): never => {
  throw new Error("no socket is opened here");
};

/** One container's resolver on 127.0.0.1. */
function serve(changes: Partial<NamedEndpoint> = {}, upstream: Upstream = new Upstream(loop, noSocket, 0)): { udp: number; tcp: number } {
  const names = new Names();
  names.put({ ...endpoint, ...changes });
  const loopback = Uint8Array.of(127, 0, 0, 1);
  const sockets = { udp: bindSocket("udp", loopback, 0), tcp: bindSocket("tcp", loopback, 0) };
  const ports = { udp: boundPort(sockets.udp), tcp: boundPort(sockets.tcp) };
  const answer = createResolver({ loop, containerId: "c", names, host: () => upstream, own: () => upstream, hostNdots: () => false });
  const listener = listen(sockets, loop, answer);
  opened.push(() => listener[Symbol.dispose]());
  return ports;
}

/** A client by UDP: what it sends goes out at once, what it gets is handed out in order. */
async function client(port: number): Promise<{ send(data: Uint8Array): void; next(): Promise<Buffer>; got: Buffer[] }> {
  const got: Buffer[] = [];
  let wake = (): void => {};
  const socket = await Bun.udpSocket({
    connect: { hostname: "127.0.0.1", port },
    socket: {
      data(_socket, data) {
        got.push(Buffer.from(data as Uint8Array));
        wake();
      },
    },
  });
  opened.push(() => socket.close());
  const next = async (): Promise<Buffer> => {
    while (got.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    return got.shift()!;
  };
  return { send: (data) => void socket.send(data as Buffer), next, got };
}

async function stream(port: number): Promise<{ socket: Socket; read(bytes: number): Promise<Buffer>; ended: Promise<void> }> {
  const socket = connect(port, "127.0.0.1");
  opened.push(() => socket.destroy());
  let received = Buffer.alloc(0);
  let wake = (): void => {};
  socket.on("data", (data: Buffer) => {
    received = Buffer.concat([received, data]);
    wake();
  });
  socket.on("error", () => {});
  const ended = new Promise<void>((resolve) => void socket.on("close", () => resolve()));
  await new Promise<void>((resolve) => void socket.on("connect", () => resolve()));
  const read = async (bytes: number): Promise<Buffer> => {
    while (received.length < bytes) await new Promise<void>((resolve) => (wake = resolve));
    const result = received.subarray(0, bytes);
    received = received.subarray(bytes);
    return result;
  };
  return { socket, read, ended };
}

test("garbage is told so, and answers are never answered; the next question is none the worse", async () => {
  const { udp } = serve();
  const { send, next, got } = await client(udp);
  const codes: number[] = [];
  const chaos = questionOf("version.bind", 16);
  chaos[chaos.length - 1] = 3;
  for (const message of [questionOf("me").subarray(0, 15), chaos, questionOf("me", 1, { flags: 0x2800 }), questionOf("me", 252), Buffer.alloc(4000, 0x3f)]) {
    message[2]! &= 0x7f;
    send(message);
    codes.push(codeOf(await next()));
  }
  expect(codes).toEqual([1, 4, 4, 0, 4]); // the zone of a container's name is empty, as are all its other types
  send(Buffer.alloc(5));
  send(Buffer.alloc(0));
  send(questionOf("me", 1, { flags: 0x8180 }));
  send(questionOf("me", 1, { id: 7 }));
  expect((await next()).readUInt16BE(0)).toBe(7);
  expect(got).toEqual([]);
});

test("who says its size by EDNS gets one back; answers that don't fit are left for TCP", async () => {
  const { udp, tcp } = serve({ addresses: Array.from({ length: 200 }, (_, i) => `10.0.0.${i}`) });
  const { send, next } = await client(udp);
  send(questionOf("me"));
  const small = await next();
  expect([small.length <= 512, (small[2]! & 2) !== 0]).toEqual([true, true]);
  send(questionOf("me", 1, { size: 4096 }));
  const large = await next();
  expect([large.readUInt16BE(6), large[2]! & 2, large.readUInt16BE(10), large.readUInt16BE(large.length - 10)]).toEqual([200, 0, 1, 41]);
  const { socket, read } = await stream(tcp);
  socket.write(framed(questionOf("me")));
  const length = (await read(2)).readUInt16BE(0);
  expect((await read(length)).readUInt16BE(6)).toBe(200);
});

test("by TCP questions may come in pieces and many at once, and the client may have closed its side", async () => {
  const { tcp } = serve();
  const { socket, read, ended } = await stream(tcp);
  const question = framed(questionOf("me"));
  for (const byte of question) {
    socket.write(Buffer.of(byte));
    await Bun.sleep(1);
  }
  socket.write(Buffer.concat([question, question, question]));
  socket.end();
  for (let i = 0; i < 4; i++) {
    const length = (await read(2)).readUInt16BE(0);
    expect((await read(length)).readUInt16BE(6)).toBe(1);
  }
  await ended;
});

test("connections that say nothing are bounded: the one that was idle longest makes room", async () => {
  const { tcp } = serve();
  const idle = await Promise.all(Array.from({ length: 64 }, () => stream(tcp)));
  const late = await stream(tcp);
  late.socket.write(framed(questionOf("me")));
  expect((await read16(late)) > 0).toBe(true);
  await Promise.race(idle.map(({ ended }) => ended));
  // a question that is too long to be one, and an answer instead of a question
  const [long, wrong] = [await stream(tcp), await stream(tcp)];
  long.socket.write(Buffer.of(0xff, 0xff));
  wrong.socket.write(framed(questionOf("me", 1, { flags: 0x8180 })));
  await Promise.all([long.ended, wrong.ended]);
});

const read16 = async ({ read }: { read(bytes: number): Promise<Buffer> }): Promise<number> => (await read(2)).readUInt16BE(0);

test("a flood of one container leaves another's questions answered, and its own are bounded", async () => {
  const { upstream, asked } = await reticent();
  const [flooded, quiet] = [serve({}, upstream), serve()];
  const [attacker, neighbour] = [await client(flooded.udp), await client(quiet.udp)];
  let isOver = false;
  const flood = (async () => {
    for (let i = 0; !isOver; i++) {
      for (let j = 0; j < 200; j++) attacker.send(questionOf(`n${i}-${j}.example`));
      await nextTurn();
    }
  })();
  for (let i = 0; i < 50; i++) {
    neighbour.send(questionOf("me", 1, { id: i }));
    expect((await neighbour.next()).readUInt16BE(0)).toBe(i);
  }
  while (attacker.got.length === 0) await Bun.sleep(5);
  isOver = true;
  await flood;
  expect(codeOf(attacker.got[0]!)).toBe(5); // refused, once 1,024 more wait
  const before = asked.length;
  expect(before).toBeLessThanOrEqual(128);
  // what waits has its turn
  asked[0]!.reply();
  while (asked.length === before) await Bun.sleep(1);
});

test("names without a dot stay inside where ndots is set; without a way out there is a failure at once", async () => {
  const { upstream, asked } = await reticent();
  const withNdots = await client(serve({ ndots: true }, upstream).udp);
  withNdots.send(questionOf("intranet"));
  const reply = await withNdots.next();
  expect([codeOf(reply), reply.readUInt16BE(6), asked.length]).toEqual([0, 0, 0]);
  withNdots.send(questionOf("intranet.example"));
  while (asked.length === 0) await Bun.sleep(1);

  const inward = await client(serve({ external: false, gateways: 0 }, upstream).udp);
  inward.send(questionOf("www.example"));
  expect(codeOf(await inward.next())).toBe(2);
  expect(asked.length).toBe(1);
});

test("whoever is stopped by what an answer brings to light asks nothing more: its sockets are closed", async () => {
  const loopback = Uint8Array.of(127, 0, 0, 1);
  const sockets = { udp: bindSocket("udp", loopback, 0), tcp: bindSocket("tcp", loopback, 0) };
  const { send } = await client(boundPort(sockets.udp));
  let asked = 0;
  const listener = listen(sockets, loop, () => {
    if (++asked === 1) listener[Symbol.dispose]();
    return true;
  });
  send(questionOf("first"));
  send(questionOf("second"));
  loop.poller.turn(1000);
  expect(asked).toBe(1);
});
