import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeFd, O } from "../kernel/fs.ts";
import { makeSocketPair, setNonBlocking, shutdownWrite } from "../kernel/pipe.ts";
import { receiveMessage, sendSome } from "../kernel/socket.ts";
import type { Framing } from "../lib/http-body.ts";
import { LentBody } from "./lent-input.ts";
import { LentAnswer } from "./lent-output.ts";
import { outcome } from "../../test/outcome.ts";

let open: number[] = [];
afterEach(() => {
  for (const fd of open) closeFd(fd);
  open = [];
});

function pair(): [number, number] {
  const ends = makeSocketPair();
  open.push(...ends);
  return ends;
}

const rests: number[] = [];
const rest = async (milliseconds: number): Promise<void> => {
  rests.push(milliseconds);
  await Bun.sleep(milliseconds);
};

describe("a request's body, read from its connection", () => {
  const bodyOf = (fd: number, framing: Framing, first = ""): LentBody => new LentBody({ fd, framing, first: Buffer.from(first) }, rest);
  const all = async (body: LentBody): Promise<string> => {
    let text = "";
    for (let piece = await body.read(); piece !== undefined; piece = await body.read()) text += Buffer.from(piece).toString();
    return text;
  };

  test("by length: no byte more, and what was read before comes first", async () => {
    const [client, server] = pair();
    sendSome(client, Buffer.from("cdefGET /"));
    const body = bodyOf(server, { kind: "length", length: 6 }, "ab");
    expect(await all(body)).toBe("abcdef");
    expect({ ...body.end, rest: Buffer.from(body.end.rest).toString() }).toEqual({ isWhole: true, rest: "GET /" });
  });

  test("chunked, in pieces that come when they like", async () => {
    const [client, server] = pair();
    const body = bodyOf(server, { kind: "chunked" }, "4\r\nwi");
    const text = all(body);
    for (const piece of ["ki\r\n5", "\r\nped", "ia\r\n0\r", "\n\r\nrest"]) {
      await Bun.sleep(20);
      sendSome(client, Buffer.from(piece));
    }
    expect(await text).toBe("wikipedia");
    expect(Buffer.from(body.end.rest).toString()).toBe("rest");
  });

  test("waiting for a slow client lets others go on, and looks ever more seldom", async () => {
    const [client, server] = pair();
    rests.length = 0;
    const text = all(bodyOf(server, { kind: "length", length: 1 }));
    await Bun.sleep(300);
    sendSome(client, Buffer.from("x"));
    expect(await text).toBe("x");
    expect(rests.length).toBeLessThan(16);
    expect(rests.at(-1)).toBe(64);
  });

  test("cut short, broken, and a client that has gone", async () => {
    const [client, server] = pair();
    sendSome(client, Buffer.from("abc"));
    shutdownWrite(client);
    expect(await outcome(all(bodyOf(server, { kind: "length", length: 10 })))).toThrow(
      expect.objectContaining({ kind: "invalidArgument", message: "the request's body ended before its declared length" }) as unknown as Error,
    );
    const [, other] = pair();
    expect(await outcome(all(bodyOf(other, { kind: "chunked" }, "x\r\n")))).toThrow(
      expect.objectContaining({ kind: "invalidArgument", message: "malformed chunked body: bad chunk size" }) as unknown as Error,
    );
  });
});

describe("an answer's body, written to its connection", () => {
  const received = async (fd: number, pause: number): Promise<Buffer> => {
    const memory = Buffer.alloc(1 << 17);
    const parts: Buffer[] = [];
    for (let n = receiveMessage(fd, memory); n !== 0; n = receiveMessage(fd, memory)) {
      if (n !== undefined) parts.push(Buffer.from(memory.subarray(0, n)));
      await Bun.sleep(pause);
    }
    return Buffer.concat(parts);
  };
  const piece = Buffer.alloc(300_000, "0123456789");

  test.each([true, false])("chunked: %p; to a client slower than the kernel's memory", async (isChunked) => {
    const [client, server] = pair();
    const answer = new LentAnswer({ fd: server, isChunked }, rest);
    const arrived = received(client, 1);
    for (let n = 0; n < 3; n++) await answer.write(piece);
    await answer.end();
    shutdownWrite(server);
    const one = isChunked ? Buffer.concat([Buffer.from("493e0\r\n"), piece, Buffer.from("\r\n")]) : piece;
    expect((await arrived).equals(Buffer.concat([one, one, one]))).toBe(true);
  });

  /** A file of so many bytes, as one that is inserted; a connection is always one that doesn't block. */
  const fileOf = (path: string): number => {
    const fd = openSync(path, "r");
    open.push(fd);
    return fd;
  };
  const inserting = (): { client: number; server: number; large: number; content: Buffer } => {
    const [client, server] = pair();
    setNonBlocking(server, O.RDWR);
    const directory = mkdtempSync(join(tmpdir(), "berth-lent-"));
    const content = Buffer.alloc(700_000, "0123456789abcdefghijklmnopqrstuvwxyz");
    writeFileSync(join(directory, "large"), content);
    const large = fileOf(join(directory, "large"));
    rmSync(directory, { recursive: true });
    return { client, server, large, content };
  };

  test.each([true, false])("chunked: %p; with files in between, also such as became shorter, and such as no kernel sends by itself", async (isChunked) => {
    const { client, server, large, content } = inserting();
    const answer = new LentAnswer({ fd: server, isChunked }, rest);
    const arrived = received(client, 1);
    const own = readFileSync("/proc/self/cmdline");
    await answer.write(Buffer.from("onetwothree"), [
      { fd: large, offset: 100, length: 600_000, after: 3 },
      { fd: large, offset: 600_000, length: 400_000, after: 6 },
      { fd: fileOf("/proc/self/cmdline"), offset: 1, length: own.length, after: 11 },
    ]);
    await answer.write(Buffer.from("four"));
    await answer.end();
    shutdownWrite(server);
    const first = Buffer.concat([
      Buffer.from("one"),
      content.subarray(100, 600_100),
      Buffer.from("two"),
      content.subarray(600_000),
      Buffer.alloc(300_000),
      Buffer.from("three"),
      own.subarray(1),
      Buffer.alloc(1),
    ]);
    const whole = isChunked ? [`${first.length.toString(16)}\r\n`, first, "\r\n4\r\nfour\r\n"] : [first, "four"];
    expect((await arrived).equals(Buffer.concat(whole.map((part) => Buffer.from(part as string))))).toBe(true);
  });

  test("a client that has gone", async () => {
    const gone = expect.objectContaining({ kind: "cancelled", message: "the client has gone" }) as unknown as Error;
    const { client, server, large } = inserting();
    closeFd(client);
    open.shift();
    const answer = new LentAnswer({ fd: server, isChunked: false }, rest);
    expect(await outcome(answer.write(piece))).toThrow(gone);
    expect(await outcome(answer.write(Buffer.alloc(0), [{ fd: large, offset: 0, length: 1000, after: 0 }]))).toThrow(gone);
  });
});
