import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket } from "bun";
import { createClient } from "./client.ts";
import { type ApiError, ConnectionError } from "./errors.ts";
import { parseHost } from "./host.ts";
import { encodeQuery } from "./transport.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).toReversed()) cleanup();
});

function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), "berth-client-"));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** An HTTP server on a socket; `seen` collects method and target of each request. */
function serve(handle: (request: Request, target: string) => Response | Promise<Response>, folder = scratch()) {
  const seen: string[] = [];
  const unix = join(folder, "engine.sock");
  const server = Bun.serve({
    unix,
    fetch: (request) => {
      const url = new URL(request.url);
      seen.push(`${request.method} ${url.pathname}${url.search}`);
      return handle(request, url.pathname);
    },
  });
  cleanups.push(() => void server.stop(true));
  return { seen, client: (version?: string) => createClient({ host: `unix://${unix}`, version }) };
}

/** A server that gives each connection's bytes to `handle` once its request is complete. */
function rawServe(
  handle: (socket: Socket, request: string) => void,
  more: { data?: (socket: Socket, text: string) => void; end?: (socket: Socket) => void } = {},
) {
  const unix = join(scratch(), "engine.sock");
  const heads = new Map<Socket, string>();
  const server = Bun.listen({
    unix,
    allowHalfOpen: true,
    socket: {
      data: (socket: Socket, chunk) => {
        const before = heads.get(socket);
        if (before?.includes("\r\n\r\n")) return more.data?.(socket, chunk.toString());
        const head = (before ?? "") + chunk.toString();
        heads.set(socket, head);
        if (head.includes("\r\n\r\n")) handle(socket, head);
      },
      end: (socket: Socket) => more.end?.(socket),
    },
  });
  cleanups.push(() => server.stop(true));
  return createClient({ host: `unix://${unix}`, version: "1.55" });
}

describe("hosts", () => {
  test("of sockets and ports", () => {
    expect(parseHost("unix:///x.sock")).toEqual({ kind: "unix", path: "/x.sock", text: "unix:///x.sock" });
    expect(parseHost("tcp://h")).toMatchObject({ hostname: "h", port: 2375, tls: false });
    expect(parseHost("tcp://h", true)).toMatchObject({ port: 2376, tls: true });
    expect(parseHost("tcp://:99")).toMatchObject({ hostname: "127.0.0.1", port: 99 });
    expect(parseHost("https://[::1]:1/")).toMatchObject({ hostname: "[::1]", port: 1, tls: true });
    for (const bad of [
      "",
      "x",
      "tcp://h:0",
      "tcp://h:99999",
      "tcp://a:b:c",
      "ssh://",
      "ssh://-oProxyCommand=x",
      "ssh://u:p@h",
      "ssh://-l@h",
      "ssh://h:0",
      "ssh://h/a b",
      "ssh://h/$(x)",
      "ssh://h;x",
      "fd://",
    ])
      expect(() => parseHost(bad)).toThrow("docker host");
  });
  test("that don't answer are named, with the system's code", async () => {
    const missing = createClient({ host: "unix:///nowhere/x.sock" });
    const error = await missing.system.info().catch((caught: unknown) => caught as ConnectionError);
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({
      code: "ENOENT",
      host: "unix:///nowhere/x.sock",
      message: "Cannot connect to the Berth engine at unix:///nowhere/x.sock. Is berthd running?",
    });
    await expect(missing.containers.attach("x", {})).rejects.toBeInstanceOf(ConnectionError);
  });
  test("with paths longer than a socket's name may be", async () => {
    const deep = join(scratch(), "d".repeat(60), "e".repeat(60));
    mkdirSync(deep, { recursive: true });
    const here = process.cwd();
    // The server takes the short way, the client is given the long one.
    process.chdir(deep);
    cleanups.push(() => process.chdir(here));
    const server = Bun.serve({ unix: "s", fetch: () => Response.json({ Name: "deep" }) });
    cleanups.push(() => void server.stop(true));
    expect((await createClient({ host: `unix://${deep}/s` }).system.info()).Name).toBe("deep");
  });
});

describe("requests", () => {
  test("carry the newest version, and the engine's own after it refused that", async () => {
    const { seen, client } = serve((_, target) => {
      if (target === "/_ping") return new Response("OK", { headers: { "Api-Version": "1.44" } });
      if (target.startsWith("/v1.44/")) return Response.json([]);
      return Response.json({ message: "client version 1.55 is too new. Maximum supported API version is 1.44" }, { status: 400 });
    });
    const engine = client();
    expect(await engine.containers.list({ all: true, filters: { status: ["exited"] } })).toEqual([]);
    await engine.images.list();
    expect(seen).toEqual([
      "GET /v1.55/containers/json?all=1&filters=%7B%22status%22%3A%7B%22exited%22%3Atrue%7D%7D",
      "HEAD /_ping",
      "GET /v1.44/containers/json?all=1&filters=%7B%22status%22%3A%7B%22exited%22%3Atrue%7D%7D",
      "GET /v1.44/images/json",
    ]);
    expect(await engine.transport.version()).toBe("1.44");
  });

  test("keep a version that was asked for", async () => {
    const { seen, client } = serve(() => Response.json({}));
    await client("1.43").system.info();
    expect(seen).toEqual(["GET /v1.43/info"]);
  });

  test("fail with the engine's sentence and status", async () => {
    const { client } = serve((_, target) => {
      if (target.endsWith("/json")) return Response.json({ message: "No such container: x" }, { status: 404 });
      return new Response("bad gateway\n", { status: 502 });
    });
    const engine = client();
    const error = await engine.containers.inspect("x").catch((caught: unknown) => caught as ApiError);
    expect(error).toMatchObject({ status: 404, message: "No such container: x" });
    await expect(engine.system.info()).rejects.toThrow("bad gateway");
  });

  test("escape names, and send lists by repetition", async () => {
    const { seen, client } = serve(() => Response.json({ ok: 1 }));
    const engine = client();
    await engine.containers.inspect("a/b?c");
    await engine.images.inspect("localhost:5000/a/b:c@sha256:d");
    await (await engine.images.save(["a", "b:1"])).text();
    expect(seen).toEqual([
      "GET /v1.55/containers/a%2Fb%3Fc/json",
      "GET /v1.55/images/localhost:5000/a/b:c@sha256:d/json",
      "GET /v1.55/images/get?names=a&names=b%3A1",
    ]);
    expect(encodeQuery({ a: true, b: false, c: undefined, d: 0, e: "x y" })).toBe("?a=1&d=0&e=x%20y");
  });

  test("stream their body as fast as it is taken", async () => {
    let taken = 0;
    const gate = Promise.withResolvers<void>();
    const { client } = serve(async (request, target) => {
      if (target === "/_ping") return new Response("OK", { headers: { "Api-Version": "1.55" } });
      const reader = (request.body as ReadableStream<Uint8Array>).getReader();
      await reader.read();
      await gate.promise;
      for (let step = await reader.read(); !step.done; step = await reader.read()) taken += step.value.length;
      return new Response('{"stream":"Loaded"}\n');
    });
    let produced = 0;
    const begun = Promise.withResolvers<void>();
    const size = 40 * 1024 * 1024;
    const body = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => {
          if (produced >= size) return controller.close();
          produced += 65536;
          begun.resolve();
          controller.enqueue(new Uint8Array(65536));
        },
      },
      { highWaterMark: 1 },
    );
    const loading = client().images.load(body);
    await begun.promise;
    for (let before = -1; before !== produced;) {
      before = produced;
      await Bun.sleep(50);
    }
    expect(produced).toBeLessThan(size);
    gate.resolve();
    expect(await Array.fromAsync(await loading)).toEqual([{ stream: "Loaded" }]);
    expect(taken).toBeGreaterThan(size - 1024 * 1024);
  });
});

describe("hijacked connections", () => {
  const collect = async (input: AsyncIterable<Uint8Array>): Promise<string> => Buffer.concat(await Array.fromAsync(input)).toString();

  test("give what follows the head, in the same packet or later, and end with the other side", async () => {
    let request = "";
    const client = rawServe((socket, head) => {
      request = head;
      socket.write("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst ");
      setTimeout(() => {
        socket.write("second");
        socket.end();
      }, 10);
    });
    using connection = await client.containers.attach("x", { stream: true, stdout: true });
    expect(connection.contentType).toBe("application/vnd.docker.raw-stream");
    expect(await collect(connection.output)).toBe("first second");
    expect(request).toStartWith("POST /v1.55/containers/x/attach?stream=1&stdout=1 HTTP/1.1\r\n");
    expect(request.toLowerCase()).toContain("\r\nupgrade: tcp\r\n");
  });

  test("close their two ways one by one", async () => {
    let got = "";
    const client = rawServe((socket) => void socket.write("HTTP/1.1 101 UPGRADED\r\n\r\n"), {
      data: (_, text) => {
        got += text;
      },
      end: (socket) => {
        socket.write(`got ${got.length}`);
        socket.end();
      },
    });
    using connection = await client.containers.attach("x", { stream: true, stdin: true });
    await connection.write(new Uint8Array(3_000_000).fill(97));
    connection.closeWrite();
    expect(await collect(connection.output)).toBe("got 3000000");
    await expect(connection.write(Buffer.from("x"))).rejects.toThrow("closed");
  });

  test("send a JSON body", async () => {
    let request = "";
    const client = rawServe((socket, head) => {
      request = head;
      socket.write("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\r\n");
      socket.end();
    });
    using connection = await client.exec.attach("e", { Tty: false });
    expect(await collect(connection.output)).toBe("");
    expect(request).toEndWith('\r\n\r\n{"Detach":false,"Tty":false}');
  });

  for (const [name, body] of [
    ["length", 'Content-Length: 27\r\n\r\n{"message":"No such thing"}'],
    ["chunks", 'Transfer-Encoding: chunked\r\n\r\nd\r\n{"message":"N\r\ne\r\no such thing"}\r\n0\r\n\r\n'],
  ] as const) {
    test(`that are refused say why, by ${name}`, async () => {
      const client = rawServe((socket) => void socket.write(`HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n${body}`));
      const error = await client.containers.attach("x", {}).catch((caught: unknown) => caught as ApiError);
      expect(error).toMatchObject({ status: 404, message: "No such thing" });
    });
  }

  test("of something that speaks no HTTP, or nothing at all, are errors", async () => {
    const gibberish = rawServe((socket) => void socket.write("SSH-2.0-OpenSSH\r\n\r\n"));
    await expect(gibberish.containers.attach("x", {})).rejects.toThrow("not HTTP");
    const silent = rawServe((socket) => void socket.end());
    await expect(silent.containers.attach("x", {})).rejects.toThrow("without an answer");
  });

  test("end when they are aborted", async () => {
    const client = rawServe((socket) => void socket.write("HTTP/1.1 101 UPGRADED\r\n\r\n"));
    const controller = new AbortController();
    using connection = await client.containers.attach("x", { signal: controller.signal });
    const output = collect(connection.output);
    controller.abort(new Error("enough"));
    await expect(output).rejects.toThrow("enough");
  });

  test("wait for a slow reader", async () => {
    let sent = 0;
    const chunk = Buffer.alloc(256 * 1024);
    const pump = (socket: Socket): void => {
      for (let wrote = 1; wrote > 0 && sent < 64 * 1024 * 1024; sent += wrote) wrote = Math.max(0, socket.write(chunk));
    };
    const unix = join(scratch(), "engine.sock");
    let started = false;
    const server = Bun.listen({
      unix,
      socket: {
        data: (socket: Socket) => {
          if (started) return;
          started = true;
          socket.write("HTTP/1.1 101 UPGRADED\r\n\r\n");
          pump(socket);
        },
        drain: (socket: Socket) => pump(socket),
      },
    });
    cleanups.push(() => server.stop(true));
    using connection = await createClient({ host: `unix://${unix}`, version: "1.55" }).containers.attach("x", {});
    for (let before = -1; before !== sent;) {
      before = sent;
      await Bun.sleep(50);
    }
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    let received = 0;
    for await (const part of connection.output) {
      received += part.length;
      if (received >= 32 * 1024 * 1024) break;
    }
    expect(received).toBeGreaterThanOrEqual(32 * 1024 * 1024);
  });
});
