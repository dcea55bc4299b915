import { afterEach, expect, test } from "bun:test";
import { createServer } from "node:net";
import { createForwarder, framed } from "./forward.ts";
import { codeOf, parseQuery, respond } from "./message.ts";

const question = Buffer.from("123401000001000000000000037777770000010001", "hex");
const query = parseQuery(question)!;
const opened: (() => void)[] = [];
afterEach(() => {
  for (const close of opened.splice(0)) close();
});

type Behaviour = (message: Buffer, reply: (data: Uint8Array) => void) => void;
const answering =
  (code: number): Behaviour =>
  (message, reply) =>
    reply(respond(message, parseQuery(message)!, code, [], 512));

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

test("a good answer comes back under the client's id; the next server isn't asked", async () => {
  const first = await server("127.0.0.2", 0, answering(0));
  const second = await server("127.0.0.3", first.port, answering(0));
  const reply = await createForwarder(first.port).ask(question, query, "udp", ["127.0.0.2", "127.0.0.3"]);
  expect(Buffer.from(reply as Uint8Array).readUInt16BE(0)).toBe(0x1234);
  expect([first.asked(), second.asked()]).toEqual([1, 0]);
});

test("after a failure or silence the next is asked; a name that isn't there is a good answer", async () => {
  const failing = await server("127.0.0.2", 0, answering(2));
  await server("127.0.0.3", failing.port, () => {});
  await server("127.0.0.4", failing.port, answering(3));
  const reply = await createForwarder(failing.port).ask(question, query, "udp", ["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
  expect(codeOf(reply as Uint8Array)).toBe(3);
});

test("once there is an answer nobody else is asked, though an earlier server was still waited for", async () => {
  const silent = await server("127.0.0.2", 0, () => {});
  await server("127.0.0.3", silent.port, answering(0));
  const third = await server("127.0.0.4", silent.port, answering(0));
  const forwarder = createForwarder(silent.port);
  expect(codeOf((await forwarder.ask(question, query, "udp", ["127.0.0.2", "127.0.0.3", "127.0.0.4"])) as Uint8Array)).toBe(0);
  // what had been sent to it before would come in before this
  await forwarder.ask(question, query, "udp", ["127.0.0.4"]);
  expect(third.asked()).toBe(1);
});

test("when all fail the failure is passed on; a server that refuses connections doesn't hold things up", async () => {
  const failing = await server("127.0.0.2", 0, answering(5));
  const forwarder = createForwarder(failing.port);
  expect(codeOf((await forwarder.ask(question, query, "udp", ["127.0.0.9", "127.0.0.2"])) as Uint8Array)).toBe(5);
  expect(await forwarder.ask(question, query, "udp", [])).toBeUndefined();
});

test("forged answers are passed over: wrong id, wrong question", async () => {
  const { port } = await server("127.0.0.2", 0, (message, reply) => {
    const wrongId = Buffer.from(respond(message, parseQuery(message)!, 3, [], 512));
    wrongId.writeUInt16BE(wrongId.readUInt16BE(0) ^ 1, 0);
    reply(wrongId);
    const wrongName = Buffer.from(respond(message, parseQuery(message)!, 3, [], 512));
    wrongName[13] = 0x78;
    reply(wrongName);
    answering(0)(message, reply);
  });
  expect(codeOf((await createForwarder(port).ask(question, query, "udp", ["127.0.0.2"])) as Uint8Array)).toBe(0);
});

test("by TCP the answer may come in pieces", async () => {
  const listener = createServer((socket) =>
    socket.on("data", (data: Buffer) => {
      const reply = framed(respond(data.subarray(2), parseQuery(data.subarray(2))!, 0, [], 512));
      for (const byte of reply) socket.write(Buffer.of(byte));
    }),
  );
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.2", resolve));
  opened.push(() => listener.close());
  const { port } = listener.address() as { port: number };
  expect(codeOf((await createForwarder(port).ask(question, query, "tcp", ["127.0.0.2"])) as Uint8Array)).toBe(0);
});
