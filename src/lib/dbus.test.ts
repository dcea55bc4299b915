import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectBus, type Bus } from "./dbus.ts";
import { busPath } from "./dbus-address.ts";
import { decodeMessage, encodeMessage, type Message, messageLength } from "./dbus-wire.ts";

const folder = mkdtempSync(join(tmpdir(), "berth-dbus-"));
const path = join(folder, "bus");
let server: Server | undefined;
const sockets = new Set<Socket>();
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A bus that says `greeting` to who logs in, and answers each message with what `answer` gives. */
async function listen(greeting: string, answer: (message: Message) => Buffer | undefined): Promise<void> {
  server = createServer((socket) => {
    sockets.add(socket);
    let text = Buffer.alloc(0);
    let isIn = false;
    socket.on("error", () => {});
    socket.on("data", (data: Buffer) => {
      text = Buffer.concat([text, data]);
      if (!isIn && text.includes("\r\n") && !text.includes("BEGIN")) {
        expect(text.toString()).toBe(`\0AUTH EXTERNAL ${Buffer.from(String(process.geteuid!())).toString("hex")}\r\n`);
        socket.write(greeting);
        text = Buffer.alloc(0);
      }
      if (!isIn && text.toString().startsWith("BEGIN\r\n")) {
        isIn = true;
        text = text.subarray(7);
      }
      for (let length = isIn ? messageLength(text) : undefined; length !== undefined && length <= text.length; length = messageLength(text)) {
        const reply = answer(decodeMessage(text.subarray(0, length)));
        text = text.subarray(length);
        if (reply !== undefined) socket.write(reply);
      }
    });
  });
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  await new Promise<void>((resolve) => server!.listen(path, resolve));
}

const OK = "OK 1234deadbeef\r\n";
const asked = { destination: "org.example", path: "/", interface: "org.example", member: "Ask" };
const returned = ({ serial }: Message): Buffer => encodeMessage({ type: 2, serial: 1, replySerial: serial, signature: "s", body: ["yes"] });

interface Listening {
  bus: Bus;
  signals: string[];
  closed: Promise<void>;
}

async function open(answerMs = 5000): Promise<Listening> {
  const signals: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const bus = await connectBus({ path, answerMs, onSignal: ({ member }) => void signals.push(member ?? ""), onClose: resolve });
  return { bus, signals, closed: promise };
}

test("the socket that an address names", () => {
  expect(busPath("unix:path=/run/dbus/system_bus_socket")).toBe("/run/dbus/system_bus_socket");
  expect(busPath("tcp:host=x;unix:guid=1,path=/tmp/a%20b%2c;unix:path=/c")).toBe("/tmp/a b,");
  expect(busPath("unix:abstract=x")).toBeUndefined();
});

test("results, errors and signals; many at once", async () => {
  await listen(OK, (message) => {
    if (message.member === "Fail")
      return encodeMessage({ type: 3, serial: 1, replySerial: message.serial, errorName: "org.example.No", signature: "s", body: ["no"] });
    const signal = encodeMessage({ type: 4, serial: 1, path: "/", interface: "a.b", member: "Changed" });
    return Buffer.concat([signal, encodeMessage({ type: 2, serial: 2, replySerial: 999 }), returned(message)]);
  });
  const { bus, signals } = await open();
  using _bus = bus;
  expect(await Promise.all([1, 2, 3].map(() => bus.call(asked)))).toEqual([["yes"], ["yes"], ["yes"]]);
  const failure = await bus.call({ ...asked, member: "Fail" }).catch((error: unknown) => error);
  expect(failure).toMatchObject({ message: "no", errorName: "org.example.No" });
  expect(signals).toEqual(["Changed", "Changed", "Changed", "Changed"]);
});

test("one that doesn't let us in, says nonsense, or nothing", async () => {
  for (const [greeting, said] of [
    ["REJECTED EXTERNAL\r\n", "the message bus lets us not in: REJECTED EXTERNAL"],
    ["x".repeat(5000), `the message bus lets us not in: ${"x".repeat(80)}`],
    ["", "the message bus doesn't answer"],
  ] as const) {
    await listen(greeting, () => undefined);
    expect(await open(200).catch((error: Error) => error.message)).toBe(said);
    server!.close();
  }
  await listen(OK, () => undefined);
  expect(await open(200).catch((error: Error) => error.message)).toBe("org.freedesktop.DBus doesn't answer (Hello)");
  server!.close();
  rmSync(folder, { recursive: true, force: true });
  expect(await open().catch((error: { code: string }) => error.code)).toBe("ENOENT");
});

test("one that goes mad later: its connection ends, and who waits hears of it", async () => {
  for (const nonsense of [Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.alloc(64, 0xff), Buffer.from("6c02000100000000010000ffffffffff", "hex")]) {
    await listen(OK, (message) => (message.member === "Hello" ? returned(message) : nonsense));
    const { bus, closed } = await open();
    expect(await bus.call(asked).catch((error: unknown) => error)).toBeInstanceOf(Error);
    await closed;
    expect(await bus.call(asked).catch((error: Error) => error.message)).toBe("the connection to the message bus is closed");
    server!.close();
  }
});

test("one that closes, and one that we leave", async () => {
  await listen(OK, (message) => (message.member === "Hello" ? returned(message) : undefined));
  const { bus, closed } = await open();
  const waits = bus.call(asked).catch((error: Error) => error.message);
  for (const socket of sockets) socket.destroy();
  await closed;
  expect(await waits).toBe("the message bus closed the connection");
  const next = await open();
  const left = next.bus.call(asked).catch((error: Error) => error.message);
  next.bus[Symbol.dispose]();
  expect(await left).toBe("the connection to the message bus was closed");
  expect(await Promise.race([next.closed.then(() => "told"), Bun.sleep(50).then(() => "not told")])).toBe("not told");
});
