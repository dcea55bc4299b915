import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync, existsSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { receiveMessage, sendSome } from "../../kernel/socket.ts";
import { BodyDecoder } from "../../lib/http-body.ts";
import { createLogger, silent } from "../../lib/log.ts";
import type { Exchange } from "./connection.ts";
import { createHttpServer, groupId, type HttpServer } from "./listen.ts";

/** Raw sockets against a real listener: what matters is the bytes. */

let directory: string;
let path: string;
let server: HttpServer;
/** What handlers saw, for tests that look at the server's side. */
const seen: { aborted: string[]; bodyErrors: string[] } = { aborted: [], bodyErrors: [] };
let release = Promise.withResolvers<void>();

const handlers: Record<string, (exchange: Exchange) => void | Promise<void>> = {
  "/ok": (x) => x.reply(200, { "Content-Type": "text/plain" }, "OK"),
  "/async": async (x) => {
    await Bun.sleep(1);
    x.reply(200, {}, "later");
  },
  "/empty": (x) => x.reply(204, {}),
  "/same": (x) => x.reply(304, {}, "ignored"),
  "/echo": async (x) => {
    const body = await x.body.bytes(1 << 20).catch((error: Error & { status?: number }) => {
      seen.bodyErrors.push(error.message);
      x.reply(error.status ?? 400, {}, error.message);
    });
    if (body !== undefined) x.reply(200, {}, body);
  },
  "/header": (x) => x.reply(200, {}, String((x.head.headers["x-long"] ?? "").length)),
  "/target": (x) => x.reply(200, {}, x.head.target),
  "/ignore-body": (x) => x.reply(200, {}, "done"),
  "/stream": async (x) => {
    const stream = x.stream(200, { "Content-Type": "application/json" });
    await stream.write("one");
    await stream.write(Buffer.from("two"));
    stream.end();
  },
  "/broken-stream": (x) => {
    x.stream(200, {}).write("part");
    throw new Error("handler failed");
  },
  "/throw": () => {
    throw new Error("handler failed");
  },
  "/no-answer": () => {},
  "/wait": async (x) => {
    x.signal.addEventListener("abort", () => seen.aborted.push(x.head.target));
    await release.promise;
    x.reply(200, {}, "answer");
  },
  "/hijack": async (x) => {
    const raw = x.hijack("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp");
    for (let chunk = await raw.read(); chunk !== undefined; chunk = await raw.read()) await raw.write(Buffer.from(`<${Buffer.from(chunk).toString()}>`));
    await raw.write("eof");
    raw.end();
  },
  "/hijack-after-body": async (x) => {
    const body = (await x.body.bytes(1000)).toString();
    const raw = x.hijack("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp");
    await raw.write(`body:${body};`);
    for (let chunk = await raw.read(); chunk !== undefined; chunk = await raw.read()) await raw.write(chunk);
    raw.end();
  },
  "/hijack-burst": async (x) => {
    const raw = x.hijack("HTTP/1.1 101 UPGRADED");
    for (let i = 0; i < 64; i++) void raw.write(Buffer.alloc(64 * 1024, 97));
    raw.end();
  },
  "/flood": async (x) => {
    const stream = x.stream(200, {});
    const chunk = Buffer.alloc(64 * 1024);
    for (let sent = 0; sent < 64 << 20; sent += chunk.length) {
      await stream.write(chunk);
      flooded = sent;
    }
    stream.end();
  },
  "/lent": async (x) => {
    const lent = await x.body.stream().lend?.();
    if (lent === undefined) return x.reply(200, {}, "not lent");
    const decoder = new BodyDecoder(lent.framing);
    const hasher = new Bun.CryptoHasher("sha256");
    const memory = Buffer.alloc(1 << 16);
    let input = Buffer.from(lent.first);
    const enough = x.head.target.endsWith("?part") ? 100_000 : Infinity;
    for (let size = 0; !decoder.done && size < enough;) {
      const { data, used } = decoder.take(input);
      hasher.update(data);
      size += data.length;
      input = input.subarray(used);
      if (input.length > 0 || decoder.done) continue;
      const n = receiveMessage(lent.fd, memory);
      if (n === 0) break;
      // lets the server read if it does
      await Bun.sleep(n === undefined ? 1 : 0);
      input = Buffer.from(memory.subarray(0, n ?? 0));
    }
    lent.giveBack({ isWhole: decoder.done, rest: input });
    x.reply(200, {}, hasher.digest("hex"));
  },
  "/lent-idle": async (x) => {
    const lent = await x.body.stream().lend!();
    await new Promise<void>((resolve) => x.signal.addEventListener("abort", () => resolve()));
    seen.aborted.push(x.head.target);
    lent!.giveBack({ isWhole: false, rest: new Uint8Array() });
  },
  "/lent-answer": async (x) => {
    const stream = x.stream(200, {});
    await stream.write("first");
    const lent = stream.lend();
    if (lent === undefined) await stream.write("not lent");
    else {
      const text = `second by ${lent.isChunked ? "chunks" : "itself"}`;
      sendSome(lent.fd, Buffer.from(lent.isChunked ? `${text.length.toString(16)}\r\n${text}\r\n` : text));
      lent.giveBack();
    }
    await stream.write("third");
    stream.end();
  },
  "/slow-read": async (x) => {
    await release.promise;
    let size = 0;
    for (let piece = await x.body.read(); piece !== undefined; piece = await x.body.read()) size += piece.length;
    x.reply(200, {}, String(size));
  },
};
let flooded = 0;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "berth-http-"));
  path = join(directory, "api.sock");
  server = createHttpServer({
    log: silent,
    commonHeaders: "Server: test\r\n",
    handler: (x) => (handlers[x.head.target.replace(/[?].*$/, "")] ?? handlers["/target"]!)(x),
  });
  await server.listen({ kind: "unix", path });
});

afterAll(async () => {
  release.resolve();
  await server.close(1000);
  rmSync(directory, { recursive: true, force: true });
});

interface Client {
  socket: Socket;
  send(data: string | Buffer): void;
  /** Everything received so far, once `text` is in it (or the connection ended). */
  until(text: string): Promise<string>;
  closed: Promise<string>;
}

function open(): Promise<Client> {
  const { promise, resolve } = Promise.withResolvers<Client>();
  const socket = connect({ path, allowHalfOpen: true });
  let received = "";
  const waiters: (() => void)[] = [];
  let ended = false;
  const wake = (): void => {
    for (const waiter of waiters.splice(0)) waiter();
  };
  const closed = Promise.withResolvers<string>();
  socket.on("data", (data) => {
    received += data.toString("latin1");
    wake();
  });
  const finish = (): void => {
    ended = true;
    wake();
    closed.resolve(received);
  };
  socket.on("end", finish);
  socket.on("close", finish);
  socket.on("error", () => {});
  socket.on("connect", () =>
    resolve({
      socket,
      send: (data) => void socket.write(data),
      until: async (text) => {
        while (!received.includes(text) && !ended) await new Promise<void>((done) => waiters.push(done));
        return received;
      },
      closed: closed.promise,
    }),
  );
  return promise;
}

/** Sends `request`, half-closes, returns all that comes back. */
async function roundTrip(...pieces: (string | Buffer)[]): Promise<string> {
  const client = await open();
  for (const piece of pieces) {
    client.send(piece);
    if (pieces.length > 1) await Bun.sleep(1);
  }
  client.socket.end();
  const answer = await client.closed;
  client.socket.destroy();
  return answer;
}

const get = (target: string, headers = ""): string => `GET ${target} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`;
const chunked = (target: string): string => `POST ${target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`;
const statusOf = (answer: string): string => answer.slice(9, 12);
const bodyOf = (answer: string): string => answer.slice(answer.indexOf("\r\n\r\n") + 4);

describe("heads", () => {
  test("a request is answered with length, date and common headers", async () => {
    const answer = await roundTrip(get("/ok"));
    expect(answer).toStartWith("HTTP/1.1 200 OK\r\nServer: test\r\nDate: ");
    expect(answer).toContain("\r\nContent-Type: text/plain\r\n");
    expect(answer).toEndWith("\r\nContent-Length: 2\r\n\r\nOK");
  });

  test("one byte at a time", async () => {
    const client = await open();
    for (const char of get("/ok")) {
      client.send(char);
      await Bun.sleep(0);
    }
    expect(bodyOf(await client.until("OK"))).toBe("OK");
    client.socket.destroy();
  });

  test("bare LF ends lines too", async () => expect(bodyOf(await roundTrip("GET /ok HTTP/1.0\n\n"))).toBe("OK"));
  test("empty lines before a request are ignored", async () => expect(statusOf(await roundTrip("\r\n\r\n" + get("/ok")))).toBe("200"));
  test("a header of 400 KB", async () => expect(bodyOf(await roundTrip(get("/header", `X-Long: ${"a".repeat(400_000)}\r\n`)))).toBe("400000"));
  test("500 headers", async () => expect(statusOf(await roundTrip(get("/ok", "X-A: b\r\n".repeat(500))))).toBe("200"));

  test("a head above 1 MiB is refused", async () => {
    const answer = await roundTrip(get("/ok", `X-Long: ${"a".repeat(1_100_000)}\r\n`));
    expect(statusOf(answer)).toBe("431");
    expect(answer).toContain("Connection: close");
  });

  test("targets pass through raw", async () => {
    for (const target of ["/a%2Fb", "//a//b", "/a/../b", "/x?y=%zz"]) expect(bodyOf(await roundTrip(get(target)))).toBe(target);
  });
  test("an absolute target loses its authority", async () => expect(bodyOf(await roundTrip(get("http://docker/a/b?c=1")))).toBe("/a/b?c=1"));

  const bad: [string, string, string][] = [
    ["no HTTP at all", "hello\r\n\r\n", "400"],
    ["TLS on a plain listener", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", "400"],
    ["a bad version", "GET /ok HTTQ/1.1\r\n\r\n", "400"],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\n", "505"],
    ["a method that is no token", "G(T /ok HTTP/1.1\r\nHost: x\r\n\r\n", "400"],
    ["a control character in the target", "GET /o\x01k HTTP/1.1\r\nHost: x\r\n\r\n", "400"],
    ["a target that is no path", "GET ok HTTP/1.1\r\nHost: x\r\n\r\n", "400"],
    ["no Host", "GET /ok HTTP/1.1\r\n\r\n", "400"],
    ["two Hosts", "GET /ok HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"],
    ["a blank before the colon", "GET /ok HTTP/1.1\r\nHost : x\r\n\r\n", "400"],
    ["a folded header", "GET /ok HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", "400"],
    ["a NUL in a header", "GET /ok HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", "400"],
    ["a negative length", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"],
    ["a length with a plus", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n", "400"],
    ["contradicting lengths", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", "400"],
    ["an unknown transfer encoding", "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "501"],
  ];
  for (const [name, request, status] of bad) {
    test(`refused: ${name}`, async () => {
      const client = await open();
      client.send(Buffer.from(request, "latin1"));
      const answer = await client.closed;
      expect(statusOf(answer)).toBe(status);
      expect(JSON.parse(bodyOf(answer))).toHaveProperty("message");
      client.socket.destroy();
    });
  }
});

describe("bodies", () => {
  test("by length, in pieces", async () =>
    expect(bodyOf(await roundTrip("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nab", "cd", "ef"))).toBe("abcdef"));

  test("chunked, split anywhere, with an extension and a trailer", async () => {
    const body = "4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nTrailer: a\r\n\r\n";
    const head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (let at = 0; at <= body.length; at += 5) expect(bodyOf(await roundTrip(head + body.slice(0, at), body.slice(at)))).toBe("wikipedia");
  });

  test("bad chunk sizes are refused", async () => {
    for (const body of ["x\r\n", "-1\r\n", "4\r\nwikix\r\n0\r\n\r\n", "fffffffffffff\r\n"]) {
      const answer = await roundTrip(`POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
      expect(statusOf(answer)).toBe("400");
    }
  });

  test("cut short by the client: an error, not a short body", async () => {
    expect(statusOf(await roundTrip("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"))).toBe("400");
    expect(seen.bodyErrors.at(-1)).toBe("the request's body ended before its declared length");
  });

  test("above the limit: 413", async () => {
    expect(statusOf(await roundTrip(`POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: ${2 << 20}\r\n\r\n`, Buffer.alloc(2 << 20)))).toBe("413");
  });

  test("Expect: 100-continue is answered when the body is read", async () => {
    const client = await open();
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    expect(await client.until("\r\n\r\n")).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    expect(await client.until("abc")).toEndWith("abc");
    client.socket.destroy();
  });

  test("and not when it isn't: then the connection closes", async () => {
    const client = await open();
    client.send("POST /ignore-body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    const answer = await client.closed;
    expect(answer).toStartWith("HTTP/1.1 200");
    expect(answer).toContain("Connection: close");
    client.socket.destroy();
  });

  test("an unread body is skipped and the connection used again", async () => {
    const answer = await roundTrip("POST /ignore-body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde" + get("/ok"));
    expect(answer).toContain("done");
    expect(answer).toEndWith("OK");
  });

  test("a big unread body doesn't cost the answer", async () => {
    const answer = await roundTrip("POST /ignore-body HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n", Buffer.alloc(3_000_000));
    expect(answer).toContain("done");
    // the next request would be lost behind it
    expect(answer).toContain("\r\nConnection: close\r\n");
  });

  test("nor one of unknown length; one that was read to its end leaves the connection as it was", async () => {
    expect(await roundTrip(chunked("/ignore-body"))).toContain("\r\nConnection: close\r\n");
    const answer = await roundTrip(chunked("/echo") + get("/ok"));
    expect(answer).toEndWith("OK");
    expect(answer).not.toContain("Connection: close");
  });

  test("back-pressure: a body that nobody reads stops the sender", async () => {
    release = Promise.withResolvers();
    const client = await open();
    client.send("POST /slow-read HTTP/1.1\r\nHost: x\r\nContent-Length: 33554432\r\n\r\n");
    client.send(Buffer.alloc(32 << 20));
    await Bun.sleep(100);
    // what the server took in and the kernel holds is far below what was sent
    expect(client.socket.writableLength).toBeGreaterThan(24 << 20);
    release.resolve();
    expect(bodyOf(await client.until("33554432"))).toBe("33554432");
    client.socket.destroy();
  });
});

describe("a connection that is lent", () => {
  const body = Buffer.alloc(24 << 20);
  for (let at = 0; at < body.length; at += 4) body.writeUInt32LE(at, at);
  const digest = new Bun.CryptoHasher("sha256").update(body).digest("hex");
  /** As clients do: a little at a time, as fast as it goes. */
  const flood = async (client: Client, bytes: Buffer): Promise<void> => {
    for (let at = 0; at < bytes.length; at += 8192)
      if (!client.socket.write(bytes.subarray(at, at + 8192))) await new Promise<void>((resolve) => client.socket.once("drain", resolve));
  };

  test("a body that is lent is all the borrower's, and what comes after it the server's", async () => {
    for (let round = 0; round < 4; round++) {
      const client = await open();
      const isChunked = round % 2 === 1;
      client.send(`POST /lent HTTP/1.1\r\nHost: x\r\n${isChunked ? "Transfer-Encoding: chunked" : `Content-Length: ${body.length}`}\r\n\r\n`);
      if (round > 1) await Bun.sleep(20);
      if (isChunked) {
        for (let at = 0; at < body.length; at += 1 << 16) {
          const piece = body.subarray(at, at + (1 << 16));
          await flood(client, Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")]));
        }
        client.send("0\r\n\r\n");
      } else await flood(client, body);
      client.send(get("/ok"));
      const answer = await client.until("OK");
      expect(answer).toContain(digest);
      client.send(get("/target"));
      expect(await client.until("/target")).toEndWith("/target");
      client.socket.destroy();
    }
  });

  test("given back before its end: the answer comes, then the connection closes", async () => {
    const client = await open();
    client.send(`POST /lent?part HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`);
    client.send(body.subarray(0, 4 << 20));
    client.socket.on("error", () => {});
    const answer = await client.until("\r\n\r\n");
    expect(answer).toStartWith("HTTP/1.1 200");
    expect(answer).toContain("Connection: close");
    client.socket.destroy();
  });

  test("small ones, and none at all", async () => {
    const hashOf = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("hex");
    expect(bodyOf(await roundTrip("POST /lent HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"))).toBeOneOf([hashOf("abc"), "not lent"]);
    expect(bodyOf(await roundTrip(get("/lent")))).toBe("not lent");
    const client = await open();
    client.send("POST /lent HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    expect(await client.until("\r\n\r\n")).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    expect(await client.until(hashOf("abc"))).toEndWith(hashOf("abc"));
    client.socket.destroy();
  });

  test("a client that leaves meanwhile is told of", async () => {
    seen.aborted.length = 0;
    const client = await open();
    client.send("POST /lent-idle HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\nabc");
    await Bun.sleep(50);
    client.socket.destroy();
    for (let n = 0; n < 40 && seen.aborted.length === 0; n++) await Bun.sleep(50);
    expect(seen.aborted).toEqual(["/lent-idle"]);
  });

  test("an answer that is lent goes on where it was, chunked and not", async () => {
    expect(bodyOf(await roundTrip(get("/lent-answer")))).toBe("5\r\nfirst\r\n10\r\nsecond by chunks\r\n5\r\nthird\r\n0\r\n\r\n");
    expect(bodyOf(await roundTrip("GET /lent-answer HTTP/1.0\r\n\r\n"))).toBe("firstsecond by itselfthird");
  });
});

describe("answers", () => {
  test("204 and 304 have no body and no length", async () => {
    for (const target of ["/empty", "/same"]) {
      const answer = await roundTrip(get(target));
      expect(answer).not.toContain("Content-Length");
      expect(bodyOf(answer)).toBe("");
    }
  });

  test("HEAD has the length and no body", async () => {
    const answer = await roundTrip("HEAD /ok HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(answer).toContain("Content-Length: 2\r\n");
    expect(bodyOf(answer)).toBe("");
  });

  test("pipelined requests are answered in order, sync and async ones mixed", async () => {
    const answer = await roundTrip(get("/async") + get("/ok") + get("/target-3") + get("/async"));
    expect(answer.match(/later|OK(?!\r)|target-3/g)).toEqual(["later", "OK", "target-3", "later"]);
  });

  test("streams are chunked, one chunk a write", async () => expect(bodyOf(await roundTrip(get("/stream")))).toBe("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
  test("HTTP/1.0 streams end with the connection", async () => {
    const answer = await roundTrip("GET /stream HTTP/1.0\r\n\r\n");
    expect(answer).not.toContain("chunked");
    expect(bodyOf(answer)).toBe("onetwo");
  });

  test("HTTP/1.0 closes, unless it asks to be kept", async () => {
    const client = await open();
    client.send("GET /ok HTTP/1.0\r\n\r\n");
    expect(await client.closed).toContain("Connection: close");
    const kept = await open();
    kept.send("GET /ok HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    await kept.until("OK");
    kept.send("GET /target-2 HTTP/1.0\r\n\r\n");
    expect(await kept.closed).toContain("/target-2");
  });

  test("Connection: close closes", async () => {
    const client = await open();
    client.send(get("/ok", "Connection: close\r\n"));
    expect(await client.closed).toContain("Connection: close");
  });

  test("a handler that throws gives 500, one that gives no answer none that looks whole", async () => {
    expect(statusOf(await roundTrip(get("/throw")))).toBe("500");
    expect(await roundTrip(get("/no-answer"))).toBe("");
    expect(await roundTrip(get("/broken-stream"))).not.toContain("0\r\n\r\n");
  });

  test("a slow reader stops the producer", async () => {
    const client = await open();
    client.socket.pause();
    client.send(get("/flood"));
    await Bun.sleep(150);
    expect(flooded).toBeLessThan(16 << 20);
    client.socket.destroy();
  });
});

describe("leaving", () => {
  test("a half-close isn't: the answer still comes and nothing is aborted", async () => {
    release = Promise.withResolvers();
    const client = await open();
    client.send(get("/wait?half"));
    client.socket.end();
    await Bun.sleep(30);
    expect(seen.aborted).not.toContain("/wait?half");
    release.resolve();
    expect(bodyOf(await client.closed)).toBe("answer");
  });

  test("a close is: the signal fires at once", async () => {
    release = Promise.withResolvers();
    const client = await open();
    client.send(get("/wait?gone"));
    await Bun.sleep(10);
    client.socket.destroy();
    while (!seen.aborted.includes("/wait?gone")) await Bun.sleep(5);
    release.resolve();
  });

  test("also while nobody reads what the client had sent", async () => {
    release = Promise.withResolvers();
    const client = await open();
    client.send("POST /wait?unread HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n");
    client.send(Buffer.alloc(4 << 20));
    await Bun.sleep(50);
    client.socket.destroy();
    while (!seen.aborted.includes("/wait?unread")) await Bun.sleep(20);
    release.resolve();
  });

  test("also after a half-close", async () => {
    release = Promise.withResolvers();
    const client = await open();
    client.send(get("/wait?both"));
    client.socket.end();
    await Bun.sleep(30);
    client.socket.destroy();
    while (!seen.aborted.includes("/wait?both")) await Bun.sleep(20);
    release.resolve();
  });
});

describe("hijack", () => {
  test("with Upgrade: head, then raw bytes both ways, half-close included", async () => {
    const client = await open();
    client.send("POST /hijack HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    expect(await client.until("\r\n\r\n")).toBe("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    client.send("ab");
    await client.until("<ab>");
    client.send("cd");
    await client.until("<cd>");
    client.socket.end();
    expect(bodyOf(await client.closed)).toBe("<ab><cd>eof");
  });

  test("without Upgrade, and with early data", async () => {
    expect(bodyOf(await roundTrip("POST /hijack HTTP/1.1\r\nHost: x\r\n\r\nearly"))).toBe("<early>eof");
  });

  test("after a JSON body, with early data behind it", async () => {
    const answer = await roundTrip("POST /hijack-after-body HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}early");
    expect(bodyOf(answer)).toBe("body:{};early");
  });

  test("after a chunked JSON body", async () => {
    const answer = await roundTrip(
      "POST /hijack-after-body HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nearly",
    );
    expect(bodyOf(answer)).toBe("body:{};early");
  });

  test("what is still unsent when the handler is done reaches a slow client", async () => {
    for (const halfClosed of [true, false]) {
      const client = await open();
      client.socket.pause();
      client.send("POST /hijack-burst HTTP/1.1\r\nHost: x\r\n\r\n");
      if (halfClosed) client.socket.end();
      await Bun.sleep(30);
      client.socket.resume();
      expect(bodyOf(await client.closed)).toHaveLength(4 << 20);
      client.socket.destroy();
    }
  });

  test("a chunked stdin that nobody read before is decoded", async () => {
    expect(bodyOf(await roundTrip("POST /hijack HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))).toBe("<abc>eof");
  });
});

describe("listening", () => {
  test("a unix socket has mode 0660", () => expect(statSync(path).mode & 0o777).toBe(0o660));

  test("a stale socket is replaced, a living one isn't, a file neither", async () => {
    const stale = join(directory, "stale.sock");
    const old = Bun.spawn([process.execPath, "-e", `require("net").createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 9))`]);
    await old.exited;
    expect(existsSync(stale)).toBe(true);
    const second = createHttpServer({ log: silent, commonHeaders: "", handler: (x) => x.reply(200, {}, "new") });
    await second.listen({ kind: "unix", path: stale });
    expect(second.listen({ kind: "unix", path })).rejects.toThrow("another process is already listening");
    writeFileSync(join(directory, "file"), "");
    expect(second.listen({ kind: "unix", path: join(directory, "file") })).rejects.toThrow();
    await second.close();
    expect(existsSync(stale)).toBe(false);
    expect(existsSync(join(directory, "file"))).toBe(true);
  });

  test("with --tlsverify only who shows a certificate of the CA is answered", async () => {
    const [cert, key] = ["cert.pem", "key.pem"].map((name) => readFileSync(join(import.meta.dir, "../../../test/fixtures/tls", name), "utf8")) as [
      string,
      string,
    ];
    const lines: string[] = [];
    const log = createLogger({ level: () => "info", write: (line) => void lines.push(line) });
    const lent: boolean[] = [];
    const second = createHttpServer({
      log,
      commonHeaders: "",
      handler: (x) => {
        if (x.head.target === "/") return x.reply(200, {}, "let in");
        const stream = x.stream(200, {});
        lent.push(stream.lend() !== undefined);
        stream.end();
      },
    });
    const { port } = await second.listen({ kind: "tcp", host: "127.0.0.1", port: 0, tls: { ca: cert, cert, key, verify: true } });
    const answer = (credentials: { cert?: string; key?: string }, path = "/", end = "let in"): Promise<string> =>
      new Promise((resolve) => {
        let text = "";
        const socket = tlsConnect({ host: "127.0.0.1", port: port!, rejectUnauthorized: false, ...credentials }, () =>
          socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`),
        );
        socket.on("data", (chunk: Buffer) => {
          text += chunk.toString("latin1");
          if (text.endsWith(end)) socket.destroy();
        });
        socket.on("error", () => {});
        socket.on("close", () => resolve(text));
      });
    expect(await answer({})).toBe("");
    expect(lines).toEqual([expect.stringMatching(/msg="a TLS client was refused" from=127\.0\.0\.1 error=".*PEER_DID_NOT_RETURN_A_CERTIFICATE/)]);
    expect(await answer({ cert, key })).toEndWith("let in");
    await answer({ cert, key }, "/stream", "0\r\n\r\n");
    expect(lent).toEqual([false]);
    expect(lines.length).toBe(1);
    await second.close();
  });

  test("a path longer than sun_path", async () => {
    const { mkdirSync } = await import("node:fs");
    const deep = join(directory, "d".repeat(120));
    mkdirSync(deep);
    const second = createHttpServer({ log: silent, commonHeaders: "", handler: (x) => x.reply(200, {}, "deep") });
    await second.listen({ kind: "unix", path: join(deep, "s") });
    expect(statSync(join(deep, "s")).isSocket()).toBe(true);
    await second.close();
  });

  test("an inherited listening socket", async () => {
    const at = join(directory, "inherited.sock");
    const listener = `import { createHttpServer } from ${JSON.stringify(join(import.meta.dir, "listen.ts"))};
      const server = createHttpServer({ log: console, commonHeaders: "", handler: (x) => { x.reply(200, {}, "inherited"); setTimeout(() => process.exit(), 20); } });
      await server.listen({ kind: "fd", fd: 3 });
      console.log("ready");`;
    // stands for systemd: holds the socket and, blocked in spawnSync, never accepts itself
    const activator = `const server = require("net").createServer().listen(${JSON.stringify(at)}, () => {
      Bun.spawnSync([process.execPath, "-e", ${JSON.stringify(listener)}], { stdio: ["ignore", "inherit", "inherit", server._handle.fd] });
      process.exit();
    });`;
    const child = Bun.spawn([process.execPath, "-e", activator], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await child.stdout.getReader().read();
      expect(await (await fetch("http://x/", { unix: at })).text()).toBe("inherited");
      await child.exited;
    } finally {
      child.kill();
    }
  });

  test("TCP on a free port", async () => {
    const second = createHttpServer({ log: silent, commonHeaders: "", handler: (x) => x.reply(200, {}, "tcp") });
    const { port } = await second.listen({ kind: "tcp", host: "127.0.0.1", port: 0 });
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("tcp");
    await second.close();
  });

  test("close waits for a running request and lets no new one in", async () => {
    const at = join(directory, "closing.sock");
    const { promise, resolve } = Promise.withResolvers<void>();
    const second = createHttpServer({
      log: silent,
      commonHeaders: "",
      handler: async (x) => {
        await promise;
        x.reply(200, {}, "finished");
      },
    });
    await second.listen({ kind: "unix", path: at });
    const answer = fetch("http://x/", { unix: at });
    await Bun.sleep(20);
    const closed = second.close(2000);
    resolve();
    expect(await (await answer).text()).toBe("finished");
    await closed;
    expect(fetch("http://x/", { unix: at })).rejects.toThrow();
  });

  test("groups by name and number", () => {
    expect(groupId("docker", "root:x:0:\ndocker:x:998:a,b\n")).toBe(998);
    expect(groupId("12", "root:x:0:\n")).toBe(12);
    expect(() => groupId("nope", "root:x:0:\n")).toThrow("group nope not found");
  });
});
