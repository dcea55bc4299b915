import { afterEach, beforeEach, expect, test } from "bun:test";
import { createServer } from "node:net";
import { questionOf, responseTo, turningLoop } from "../../../test/fixtures/dns-loop.ts";
import { AF_INET, AF_INET6, openSocket } from "../../kernel/socket.ts";
import type { Loop } from "./loop.ts";
import { answerCount, codeOf, framed, isTruncated, parseQuery } from "./message.ts";
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

type Behaviour = (message: Buffer, reply: (data: Uint8Array) => void) => void;
const answering =
  (options: Parameters<typeof responseTo>[1]): Behaviour =>
  (message, reply) =>
    reply(responseTo(message, options));
const good = answering({ answers: [7] });

/** A name server on 127.0.0.x; all of a test share one port, as real ones share 53. */
async function server(host: string, port: number, behaviour: Behaviour): Promise<{ port: number; asked: () => number }> {
  let asked = 0;
  const socket = await Bun.udpSocket({
    hostname: host,
    port,
    socket: {
      data(self, data, from, address) {
        asked++;
        behaviour(Buffer.from(data as Uint8Array), (reply) => void self.send(reply as Buffer, from, address));
      },
    },
  });
  opened.push(() => socket.close());
  return { port: socket.port, asked: () => asked };
}

function upstream(port: number, ...servers: string[]): Upstream {
  const made = new Upstream(loop, (family, type) => openSocket(family === "ipv4" ? AF_INET : AF_INET6, type), 1 << 16, port);
  made.use(servers);
  opened.push(() => made[Symbol.dispose]());
  return made;
}

const ask = (from: Upstream, message = questionOf("www.example"), protocol: "udp" | "tcp" = "udp", limit = 512): Promise<Uint8Array | undefined> =>
  new Promise((done) => from.ask({ message, query: parseQuery(message)!, protocol, limit, done }));

test("a good answer comes back under the client's id; the next server isn't asked", async () => {
  const first = await server("127.0.0.2", 0, good);
  const second = await server("127.0.0.3", first.port, good);
  const reply = await ask(upstream(first.port, "127.0.0.2", "127.0.0.3"));
  expect(Buffer.from(reply!).readUInt16BE(0)).toBe(0x1234);
  expect([first.asked(), second.asked()]).toEqual([1, 0]);
});

test("after a failure or silence the next is asked; a name that isn't there is a good answer once nobody before may know better", async () => {
  const failing = await server("127.0.0.2", 0, answering({ code: 2 }));
  await server("127.0.0.3", failing.port, answering({ code: 5 }));
  await server("127.0.0.4", failing.port, answering({ code: 3 }));
  expect(codeOf((await ask(upstream(failing.port, "127.0.0.2", "127.0.0.3", "127.0.0.4")))!)).toBe(3);
});

test("a later server's word that a name isn't there doesn't overtake an earlier server that is slow", async () => {
  const slow = await server("127.0.0.2", 0, (message, reply) => void setTimeout(() => good(message, reply), 600));
  const denying = await server("127.0.0.3", slow.port, answering({ code: 3, soa: [60, 60] }));
  const reply = await ask(upstream(slow.port, "127.0.0.2", "127.0.0.3"));
  expect(answerCount(reply!)).toBe(1);
  expect(denying.asked()).toBe(1);
});

test("a server that keeps silent is asked last after a while, and first again once it speaks", async () => {
  let isSilent = true;
  const first = await server("127.0.0.2", 0, (message, reply) => (isSilent ? undefined : good(message, reply)));
  const second = await server("127.0.0.3", first.port, good);
  const both = upstream(first.port, "127.0.0.2", "127.0.0.3");
  for (let i = 0; i < 3; i++) await ask(both, questionOf(`a${i}.example`));
  const before = first.asked();
  for (let i = 0; i < 3; i++) await ask(both, questionOf(`b${i}.example`));
  expect(first.asked()).toBe(before);
  // the second is lost: the first is asked again, and has recovered
  isSilent = false;
  const only = upstream(first.port, "127.0.0.9", "127.0.0.2");
  expect(answerCount((await ask(only))!)).toBe(1);
  expect(second.asked()).toBe(6);
});

test("when all fail the failure is passed on; nobody there is known at once", async () => {
  const failing = await server("127.0.0.2", 0, answering({ code: 5 }));
  expect(codeOf((await ask(upstream(failing.port, "127.0.0.9", "127.0.0.2")))!)).toBe(5);
  expect(await ask(upstream(failing.port, "127.0.0.9"))).toBeUndefined();
  expect(await ask(upstream(failing.port))).toBeUndefined();
  expect(await ask(upstream(failing.port, "2001:db8::1%nosuchlink", "nonsense"))).toBeUndefined();
});

test("forged and broken answers are passed over: wrong id, wrong question, records cut off, a loop of pointers", async () => {
  const { port } = await server("127.0.0.2", 0, (message, reply) => {
    const wrongId = responseTo(message, { code: 3 });
    wrongId.writeUInt16BE(wrongId.readUInt16BE(0) ^ 1, 0);
    reply(wrongId);
    const wrongName = responseTo(message, { code: 3 });
    wrongName[13] = 0x78;
    reply(wrongName);
    reply(responseTo(message, { answers: [1] }).subarray(0, -2));
    const endless = responseTo(message, { answers: [1] });
    endless.fill(1, endless.length - 16);
    reply(endless);
    reply(Buffer.alloc(3));
    good(message, reply);
  });
  const reply = await ask(upstream(port, "127.0.0.2"));
  expect([answerCount(reply!), reply!.at(-1)]).toEqual([1, 7]);
});

test("the same question of many is asked once, and its answer is kept", async () => {
  const { port, asked } = await server("127.0.0.2", 0, good);
  const one = upstream(port, "127.0.0.2");
  const replies = await Promise.all(Array.from({ length: 20 }, (_, id) => ask(one, questionOf("www.example", 1, { id }))));
  expect(replies.map((reply) => Buffer.from(reply!).readUInt16BE(0))).toEqual(Array.from({ length: 20 }, (_, id) => id));
  expect(asked()).toBe(1);
  const message = questionOf("www.example");
  expect(one.known({ message, query: parseQuery(message)!, limit: 512 })).toBeDefined();
  one.use(["127.0.0.3"]);
  expect(one.known({ message, query: parseQuery(message)!, limit: 512 })).toBeUndefined();
});

test("what UDP truncates TCP has whole: the client gets what fits, and the rest when it comes by TCP; without TCP it gets what there is", async () => {
  const { port, asked } = await server("127.0.0.2", 0, answering({ truncated: true }));
  const one = upstream(port, "127.0.0.2");
  const alone = await ask(one);
  expect([isTruncated(alone!), answerCount(alone!)]).toEqual([true, 0]);

  const listener = createServer((socket) =>
    socket.on("data", (data: Buffer) => {
      const reply = framed(responseTo(data.subarray(2), { answers: Array.from({ length: 60 }, (_, i) => i) }));
      for (const byte of reply) socket.write(Buffer.of(byte));
    }),
  );
  await new Promise<void>((resolve) => listener.listen(port, "127.0.0.2", resolve));
  opened.push(() => listener.close());
  const small = await ask(one);
  expect([isTruncated(small!), answerCount(small!), small!.length <= 512]).toEqual([true, 30, true]);
  expect(asked()).toBe(2);
  const message = questionOf("www.example");
  expect(answerCount(one.known({ message, query: parseQuery(message)!, limit: 65_535 })!)).toBe(60);
});

test("a server that heeds no limit is passed on as it came (moby#44575)", async () => {
  const { port } = await server("127.0.0.2", 0, answering({ answers: Array.from({ length: 60 }, (_, i) => i) }));
  expect(answerCount((await ask(upstream(port, "127.0.0.2")))!)).toBe(60);
});
