import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { createSocket } from "node:dgram";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { silent } from "../lib/log.ts";
import { createTurns } from "../lib/turns.ts";
import type { LogSource } from "./attributes.ts";
import { forwardLog, type Forwarding } from "./forward.ts";
import { journalFormat } from "./journald.ts";
import { Progress } from "./progress.ts";
import type { Sink } from "./sink.ts";
import { syslogFormat, syslogSink } from "./syslog.ts";

let root: string;
let path: string;
const open: (Forwarding | Server | { close(): void })[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "berth-forward-"));
  path = join(root, "container.log");
});
afterEach(async () => {
  for (const each of open.splice(0)) {
    if ("stop" in each) await each.stop();
    else each.close();
  }
  rmSync(root, { recursive: true });
});

const source: LogSource = {
  id: "0123456789abcdef".repeat(4),
  name: "web",
  imageId: "sha256:0",
  imageName: "nginx:1",
  args: ["nginx"],
  env: ["STAGE=prod"],
  labels: { "team.name": "a\nb" },
  created: "",
  options: {},
};
const line = (index: number, stream = "stdout", tag = "F", text = `line ${index}`): string =>
  `2023-11-14T22:${String(Math.floor(index / 60) % 60).padStart(2, "0")}:${String(index % 60).padStart(2, "0")}.000000000+00:00 ${stream} ${tag} ${text}\n`;
const numbered = (from: number, to: number): string => Array.from({ length: to - from }, (_, i) => line(from + i)).join("");
/** What came, by the text of each message. */
const texts = (received: string): string[] => received.split("\n").flatMap((message) => /: (line \d+)$/.exec(message)?.[1] ?? []);
const expected = (to: number): string[] => Array.from({ length: to }, (_, i) => `line ${i}`);

function forward(sink: Sink, ended: Promise<unknown> = Promise.resolve(), more: Partial<Parameters<typeof forwardLog>[0]> = {}): Forwarding {
  const forwarding = forwardLog({ logPath: path, sink, ended, hold: undefined, holdAt: 3, turns: createTurns(), log: silent, ...more });
  open.push(forwarding);
  return forwarding;
}

/** Takes everything on a stream. */
async function streamReceiver(
  listen: { path: string } | { port: number },
  onSocket?: (socket: Socket) => void,
): Promise<{ text(): string; port: number; server: Server }> {
  let received = "";
  const server = createServer((socket) => {
    onSocket?.(socket);
    socket.on("data", (chunk) => (received += chunk));
    socket.on("error", () => {});
  });
  open.push(server);
  await new Promise<void>((resolve) => server.listen(listen, resolve));
  const address = server.address();
  return { text: () => received, server, port: typeof address === "object" && address !== null ? address.port : 0 };
}

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !what(); i++) await Bun.sleep(10);
  expect(what()).toBe(true);
}
const syslog = (address: string, options: Record<string, string> = {}): Sink => syslogSink({ ...source, options: { "syslog-address": address, ...options } });

describe("ways out", () => {
  test("unix stream, and on from there", async () => {
    const receiver = await streamReceiver({ path: join(root, "s") });
    writeFileSync(path, numbered(0, 3000));
    await forward(syslog(`unix://${root}/s`)).done;
    await until(() => texts(receiver.text()).length === 3000);
    appendFileSync(path, numbered(3000, 5000));
    renameSync(path, `${path}.1`);
    writeFileSync(path, numbered(5000, 6000));
    await forward(syslog(`unix://${root}/s`)).done;
    await forward(syslog(`unix://${root}/s`)).done;
    await until(() => texts(receiver.text()).length >= 6000);
    expect(texts(receiver.text())).toEqual(expected(6000));
    expect(receiver.text()).toStartWith("<30>Nov 14 22:00:00 0123456789ab[");
  });

  test("tcp, while the container writes and its receiver goes and comes back", async () => {
    let last: Socket | undefined;
    const receiver = await streamReceiver({ port: 0 }, (socket) => (last = socket));
    writeFileSync(path, numbered(0, 10));
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const forwarding = forward(syslog(`tcp://127.0.0.1:${receiver.port}`), ended);
    await until(() => texts(receiver.text()).length === 10);
    receiver.server.close();
    last?.destroy();
    await Bun.sleep(20);
    appendFileSync(path, numbered(10, 20));
    await Bun.sleep(50);
    const second = await streamReceiver({ port: receiver.port });
    appendFileSync(path, numbered(20, 30) + line(30, "stdout", "P", "line "));
    end();
    await forwarding.done;
    await until(() => texts(receiver.text() + second.text()).length === 30);
    expect(texts(receiver.text() + second.text())).toEqual(expected(30));
    await until(() => second.text().endsWith(": line \n"));
  });

  test("udp", async () => {
    const socket = createSocket("udp4");
    open.push(socket);
    const received: string[] = [];
    socket.on("message", (message) => received.push(String(message)));
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    writeFileSync(path, numbered(0, 50));
    await forward(syslog(`udp://127.0.0.1:${socket.address().port}`)).done;
    await until(() => received.length === 50);
    expect(texts(received.join(""))).toEqual(expected(50));
  });

  test("tcp with TLS, whose messages have their length before them", async () => {
    const tls = join(import.meta.dir, "../../test/fixtures/tls");
    let received = "";
    const server = createTlsServer({ cert: readFileSync(`${tls}/cert.pem`), key: readFileSync(`${tls}/key.pem`) }, (socket) => {
      socket.on("data", (chunk) => (received += chunk));
    });
    open.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = `tcp+tls://127.0.0.1:${(server.address() as { port: number }).port}`;
    writeFileSync(path, numbered(0, 500));
    await forward(syslog(address, { "syslog-tls-ca-cert": `${tls}/cert.pem`, "syslog-format": "rfc5424" })).done;
    await until(() => received.split("\n").length > 500);
    let rest = received;
    for (let i = 0; i < 500; i++) {
      const [length = ""] = rest.split(" ", 1);
      const message = rest.slice(length.length + 1, length.length + 1 + Number(length));
      expect(message).toEndWith(` 0123456789ab - line ${i}\n`);
      rest = rest.slice(length.length + 1 + Number(length));
    }
    expect(rest).toBe("");
    await expect(syslog(address).connect(new AbortController().signal)).rejects.toThrow(`dial ${address}: `);
    await using careless = syslog(address, { "syslog-tls-skip-verify": "" });
    await careless.connect(new AbortController().signal);
  });

  test("an address of either family is dialled, also IPv4 in IPv6's clothes", async () => {
    const { port } = await streamReceiver({ port: 0 });
    for (const host of ["127.0.0.1", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]"]) {
      await using sink = syslog(`tcp://${host}:${port}`);
      await sink.connect(AbortSignal.timeout(5000));
    }
  });

  test("one that can't be reached says so", async () => {
    const { signal } = new AbortController();
    await expect(syslog("tcp://127.0.0.1:1").connect(signal)).rejects.toThrow("dial tcp://127.0.0.1:1: connect: ");
    writeFileSync(join(root, "s"), "");
    await expect(syslog(`unixgram://${root}/s`).connect(signal)).rejects.toThrow(`dial unixgram://${root}/s: connect: `);
  });
});

describe("account", () => {
  /** Takes messages, and after `breakAt` of them nothing any more. */
  function countingSink(received: string[], breakAt = Infinity): Sink {
    return {
      format: ({ stream, text, partial }) => Buffer.from(`${stream} ${text} ${partial === undefined ? "" : `${partial.ordinal}${partial.isLast}`}`),
      isStream: false,
      isDirect: true,
      target: "a test",
      connect: async () => {},
      send(message) {
        if (received.length >= breakAt) throw new Error("killed");
        received.push(String(message));
        return message.length;
      },
      [Symbol.asyncDispose]: async () => {},
    };
  }

  test("broken off at any message nothing is lost or doubled, pieces of lines included", async () => {
    const piece = "x".repeat(8192);
    let log = "";
    for (let i = 0; i < 40; i++) {
      log += line(i) + line(i, "stderr", "P", piece) + line(i, "stdout", "P", `half ${i} `) + line(i, "stderr", "P", piece) + line(i, "stdout", "F", "done");
      log += line(i, "stderr", "P", piece) + line(i, "stderr", "F", "end");
    }
    const cut = log.indexOf("\n", log.length / 3) + 1;
    writeFileSync(`${path}.1`, log.slice(0, cut));
    writeFileSync(path, log.slice(cut));
    const whole: string[] = [];
    await forward(countingSink(whole)).done;
    expect(whole.length).toBe(40 * 4);
    expect(whole.slice(0, 4).map((message) => [message.slice(0, 14), message.slice(-6)])).toEqual([
      ["stdout line 0 ", "ine 0 "],
      ["stderr xxxxxxx", "1false"],
      ["stdout half 0 ", " done "],
      ["stderr xxxxxxx", " 2true"],
    ]);
    for (const step of [1, 3, 7, 50]) {
      rmSync(`${path}.sent`);
      const received: string[] = [];
      for (let breakAt = step; received.length < whole.length; breakAt += step) {
        const forwarding = forward(countingSink(received, breakAt));
        await Promise.race([forwarding.done, until(() => received.length === Math.min(breakAt, whole.length))]);
        await forwarding.stop();
      }
      await forward(countingSink(received)).done;
      expect(received.map((message) => message.slice(0, 20))).toEqual(whole.map((message) => message.slice(0, 20)));
    }
  });

  test("what was dropped meanwhile is passed over", async () => {
    writeFileSync(`${path}.7`, numbered(0, 3));
    writeFileSync(path, numbered(3, 5));
    using progress = new Progress(`${path}.sent`);
    progress.write({ from: { segment: 5, offset: 1000 }, records: 17 });
    const received: string[] = [];
    await forward(countingSink(received)).done;
    expect(received.length).toBe(5);
  });

  test.each([
    [5, 10],
    [1, 100_000],
  ])("an account that is beyond the log, which was removed by hand, begins anew (%d, %d)", async (segment, offset) => {
    writeFileSync(path, numbered(0, 5));
    using progress = new Progress(`${path}.sent`);
    progress.write({ from: { segment, offset }, records: 2 });
    const received: string[] = [];
    await forward(countingSink(received)).done;
    expect(received.length).toBe(5);
  });

  test("a container that is far ahead is held up, until its receiver has caught up", async () => {
    for (let i = 1; i <= 4; i++) writeFileSync(`${path}.${i}`, numbered(i, i + 1));
    writeFileSync(path, numbered(5, 6));
    let holds = 0;
    let held = 0;
    const hold = (): Disposable => {
      holds++;
      held++;
      return { [Symbol.dispose]: () => void held-- };
    };
    const received: string[] = [];
    const sink = countingSink(received);
    const seen: number[] = [];
    await forward({ ...sink, send: (message) => (seen.push(held), sink.send(message)) }, Promise.resolve(), { hold, holdAt: 3 }).done;
    expect(received.length).toBe(5);
    expect(seen).toEqual([0, 1, 1, 1, 0]);
    expect([holds, held]).toEqual([1, 0]);
  });

  test.each([true, false])("and while its receiver takes nothing at all (stream %p)", async (isDirect) => {
    for (let i = 1; i <= 4; i++) writeFileSync(`${path}.${i}`, numbered(i, i + 1));
    writeFileSync(path, "");
    const { promise: isHeld, resolve: onHold } = Promise.withResolvers<void>();
    const hold = (): Disposable => (onHold(), { [Symbol.dispose]: () => {} });
    const { promise: room, resolve: giveRoom } = Promise.withResolvers<void>();
    const received: string[] = [];
    const sink = countingSink(received);
    const send = (message: Buffer): number | Promise<void> => {
      if (!isDirect) return room.then(() => void sink.send(message));
      return isFull ? 0 : sink.send(message);
    };
    let isFull = true;
    const forwarding = forward({ ...sink, isDirect, send }, Promise.resolve(), { hold, holdAt: 3 });
    await isHeld;
    expect(received).toEqual([]);
    isFull = false;
    giveRoom();
    await forwarding.done;
    expect(received.length).toBe(4);
  });
});

test("formats of syslog", () => {
  const record = { stream: "stderr" as const, time: "2023-11-14T22:13:20.012724977+00:00", text: Buffer.from("hello") };
  const message = (format: "" | "rfc3164" | "rfc5424" | "rfc5424micro", countsBytes = false): string =>
    String(syslogFormat({ facility: 16, format, tag: "t", countsBytes })(record));
  const date = new Date("2023-11-14T22:13:20Z");
  const clock = `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}:20`;
  expect(message("")).toBe(`<131>Nov ${date.getDate()} ${clock} t[${process.pid}]: hello\n`);
  expect(message("rfc3164")).toBe(`<131>Nov ${date.getDate()} ${clock} ${hostname()} t[${process.pid}]: hello\n`);
  expect(message("rfc5424")).toMatch(new RegExp(`^<131>1 2023-11-1\\dT${clock}(Z|[+-]\\d\\d:\\d\\d) \\S+ t ${process.pid} t - hello\\n$`));
  expect(message("rfc5424micro")).toContain(`T${clock}.012724`);
  expect(message("rfc5424", true)).toStartWith(`${message("rfc5424").length} <131>1 `);
  expect(syslogFormat({ facility: 1, format: "", tag: "t", countsBytes: false })({ ...record, text: Buffer.alloc(0) })).toBeUndefined();
});

test("fields of the journal", () => {
  const format = journalFormat({ ...source, options: { tag: "{{.Name}}", labels: "team.name", env: "STAGE" } });
  const record = { stream: "stderr" as const, time: "2023-11-14T22:13:20.012700000+00:00", text: Buffer.from("hello") };
  const message = String(format(record));
  for (const field of [
    "MESSAGE=hello",
    "PRIORITY=3",
    "SYSLOG_TIMESTAMP=2023-11-14T22:13:20.0127Z",
    "CONTAINER_LOG_ORDINAL=1",
    "CONTAINER_ID=0123456789ab",
    `CONTAINER_ID_FULL=${source.id}`,
    "CONTAINER_NAME=web",
    "CONTAINER_TAG=web",
    "SYSLOG_IDENTIFIER=web",
    "IMAGE_NAME=nginx:1",
    "STAGE=prod",
  ])
    expect(message.split("\n")).toContain(field);
  expect(message).toContain("TEAM_NAME\n\x03\0\0\0\0\0\0\0a\nb\n");
  expect(message).not.toContain("PARTIAL");
  const piece = String(format({ ...record, partial: { id: "p", ordinal: 2, isLast: false } }));
  expect(piece).toContain("CONTAINER_PARTIAL_ID=p\nCONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=false\nCONTAINER_PARTIAL_MESSAGE=true\n");
});
