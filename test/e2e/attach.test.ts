import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { skipped } from "../skips.ts";
import { RawClient } from "./raw-client.ts";
import { suiteEngine, until } from "./harness.ts";

/** Attach by WebSocket, how sessions end, and the events of both, against the compiled engine. */
describe.skipIf(skipped("root", "overlay", "docker"))("attach", () => {
  const engine = suiteEngine();

  async function create(body: object): Promise<string> {
    return ((await (await engine.api("POST", "/containers/create", { Image: "busybox", ...body })).json()) as { Id: string }).Id;
  }
  const start = (id: string): Promise<Response> => engine.api("POST", `/containers/${id}/start`);
  const remove = (id: string): Promise<Response> => engine.api("DELETE", `/containers/${id}?force=1&v=1`);
  const running = async (id: string): Promise<boolean> =>
    ((await (await engine.api("GET", `/containers/${id}/json`)).json()) as { State: { Running: boolean } }).State.Running;

  /** Names of the container's events so far. */
  async function actions(id: string): Promise<string[]> {
    const until = Date.now() / 1000 + 1;
    const response = await engine.api("GET", `/events?since=0&until=${until}&filters=${JSON.stringify({ container: [id] })}`);
    return (await response.text())
      .split("\n")
      .filter(Boolean)
      .map((line) => (JSON.parse(line) as { Action: string }).Action);
  }

  interface Session {
    socket: WebSocket;
    text(): string;
    kinds: Set<string>;
    closed: Promise<number>;
  }

  async function attach(path: string): Promise<Session> {
    const socket = new WebSocket(`ws+unix://${engine.socket}:${path}`);
    socket.binaryType = "arraybuffer";
    let text = "";
    const kinds = new Set<string>();
    const closed = new Promise<number>((resolve) => socket.addEventListener("close", ({ code }) => resolve(code)));
    socket.addEventListener("message", ({ data }) => {
      kinds.add(typeof data === "string" ? "text" : "binary");
      text += typeof data === "string" ? data : Buffer.from(data as ArrayBuffer).toString();
    });
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", reject);
    });
    return { socket, text: () => text, kinds, closed };
  }

  test("by WebSocket: both streams unframed, in binary messages, a normal close at the end", async () => {
    const id = await create({ Cmd: ["sh", "-c", "echo out; sleep 0.1; echo err >&2"] });
    const session = await attach(`/v1.45/containers/${id}/attach/ws?stream=1&stdout=1&stderr=1`);
    await start(id);
    expect(await session.closed).toBe(1000);
    expect(session.text()).toBe("out\nerr\n");
    expect([...session.kinds]).toEqual(["binary"]);
    await remove(id);
  });

  test("by WebSocket: only the streams asked for, and what was written before", async () => {
    const id = await create({ Cmd: ["sh", "-c", "echo out; echo err >&2"] });
    await start(id);
    await (await engine.api("POST", `/containers/${id}/wait`)).text();
    const session = await attach(`/v1.45/containers/${id}/attach/ws?logs=1&stderr=1`);
    expect(await session.closed).toBe(1000);
    expect(session.text()).toBe("err\n");
    await remove(id);
  });

  test("by WebSocket before 1.28: text, and all streams without being asked for", async () => {
    const id = await create({ Cmd: ["sh", "-c", "read line; printf 'got \\303'; sleep 0.2; printf '\\244 %s' \"$line\""], OpenStdin: true, StdinOnce: true });
    const session = await attach(`/v1.27/containers/${id}/attach/ws?stream=1`);
    await start(id);
    session.socket.send("typed\n");
    expect(await session.closed).toBe(1000);
    expect(session.text()).toBe("got ä typed");
    expect([...session.kinds]).toEqual(["text"]);
    await remove(id);
  });

  test("by WebSocket: a client's close is the end of stdin, the detach keys end the session alone", async () => {
    const cat = await create({ Cmd: ["cat"], OpenStdin: true, StdinOnce: true });
    const input = await attach(`/v1.45/containers/${cat}/attach/ws?stream=1&stdin=1&stdout=1`);
    await start(cat);
    input.socket.send("hello\n");
    await until("the echo", () => input.text() === "hello\n");
    input.socket.close();
    expect(await (await engine.api("POST", `/containers/${cat}/wait`)).json()).toEqual({ StatusCode: 0 });
    await remove(cat);

    const shell = await create({ Cmd: ["cat"], OpenStdin: true, Tty: true });
    await start(shell);
    const terminal = await attach(`/v1.45/containers/${shell}/attach/ws?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x,d`);
    terminal.socket.send(Buffer.from("\x18d"));
    expect(await terminal.closed).toBe(1000);
    expect(await running(shell)).toBe(true);
    expect(await actions(shell)).toEqual(["create", "start", "attach", "detach"]);
    await remove(shell);
  });

  test("by WebSocket: what is wrong has a status", async () => {
    const id = await create({ Cmd: ["sleep", "60"] });
    const plain = await engine.api("GET", `/containers/${id}/attach/ws?stream=1`);
    expect([plain.status, await plain.json()]).toEqual([400, { message: "not websocket protocol" }]);
    expect((await engine.api("GET", "/containers/nope/attach/ws?stream=1")).status).toBe(404);
    await remove(id);
  });

  /** Sends a request with bytes behind it and half-closes; what came until the engine closed. */
  async function halfClosed(request: string, input: string): Promise<string> {
    const socket = connect({ path: engine.socket, allowHalfOpen: true });
    socket.write(`${request} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`);
    let text = "";
    const ended = new Promise((resolve) => socket.on("end", resolve));
    await new Promise<void>((resolve) =>
      socket.on("data", (chunk) => {
        text += String(chunk);
        resolve();
      }),
    );
    socket.end(input);
    await ended;
    return text;
  }

  test("the end of input ends a session whose stdin it can't close", async () => {
    for (const tty of [false, true]) {
      const id = await create({ Cmd: ["cat"], OpenStdin: true, Tty: tty });
      await start(id);
      await halfClosed(`POST /containers/${id}/attach?stream=1&stdin=1&stdout=1`, "hello\n");
      expect(await running(id)).toBe(true);
      await until("the input", async () => (await engine.ok("logs", id)).includes("hello"));
      await remove(id);
    }
  });

  test("nothing to stream is the end of the session, an event all the same", async () => {
    const id = await create({ Cmd: ["sleep", "60"] });
    await start(id);
    await halfClosed(`POST /containers/${id}/attach?stream=1`, "");
    await halfClosed(`POST /containers/${id}/attach?logs=1`, "");
    expect(await running(id)).toBe(true);
    expect(await actions(id)).toEqual(["create", "start", "attach", "attach"]);
    await remove(id);
  });

  test("a log that can't be read is told in the stream", async () => {
    const id = await create({ Cmd: ["sleep", "60"], HostConfig: { LogConfig: { Type: "none" } } });
    const text = await halfClosed(`POST /containers/${id}/attach?logs=1&stdout=1`, "");
    expect(text).toContain("Error attaching: configured logging driver does not support reading");
    await remove(id);
  });

  test("exec: the detach keys leave it running, and tell; its terminal has the size its creation named", async () => {
    const id = await create({ Cmd: ["sleep", "60"] });
    await start(id);
    const created = await engine.api("POST", `/containers/${id}/exec`, {
      Cmd: ["sh", "-c", "until stty size | grep -v '^0 0'; do sleep 0.1; done; exec sleep 60"],
      AttachStdin: true,
      AttachStdout: true,
      Tty: true,
      DetachKeys: "ctrl-a,b",
      ConsoleSize: [31, 77],
    });
    const { Id: exec } = (await created.json()) as { Id: string };
    const socket = connect({ path: engine.socket, allowHalfOpen: true });
    const body = '{"Tty":true}';
    socket.write(
      `POST /exec/${exec}/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    let text = "";
    const ended = new Promise((resolve) => socket.on("end", resolve));
    socket.on("data", (chunk) => (text += String(chunk)));
    await until("the size", () => text.includes("31 77"));
    socket.write("\x01b");
    await ended;
    socket.destroy();
    const inspect = (await (await engine.api("GET", `/exec/${exec}/json`)).json()) as Record<string, unknown>;
    expect(inspect).toMatchObject({ Running: true, ExitCode: null, DetachKeys: Buffer.from([1, 98]).toString("base64") });
    expect(((await (await engine.api("GET", `/containers/${id}/json`)).json()) as { ExecIDs: string[] }).ExecIDs).toEqual([exec]);
    expect((await actions(id)).at(-1)).toBe("exec_detach");
    await remove(id);
  });

  test("exec: a size that comes before the start waits for it; keys that are none are refused", async () => {
    const id = await create({ Cmd: ["sleep", "60"] });
    await start(id);
    const bad = await engine.api("POST", `/containers/${id}/exec`, { Cmd: ["true"], DetachKeys: "ctrl-" });
    expect([bad.status, await bad.json()]).toEqual([400, { message: "Invalid detach keys (ctrl-) provided" }]);
    const created = await engine.api("POST", `/containers/${id}/exec`, { Cmd: ["sleep", "60"], AttachStdout: true, Tty: true });
    const { Id: exec } = (await created.json()) as { Id: string };
    const resized = engine.api("POST", `/exec/${exec}/resize?h=20&w=60`);
    expect((await engine.api("POST", `/exec/${exec}/start`, { Detach: true, Tty: true })).status).toBe(200);
    expect((await resized).status).toBe(200);
    await remove(id);
  });

  test("500 clients waiting for one container are all told", async () => {
    const id = await create({ Cmd: ["sh", "-c", "read line; exit 7"], OpenStdin: true });
    await start(id);
    // fetch makes 256 requests at a time
    const waiting = Array.from({ length: 500 }, (_, index) => {
      const condition = ["not-running", "next-exit", "removed"][index % 3];
      return new RawClient(engine.socket, `POST /containers/${id}/wait?condition=${condition} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    });
    // the head comes at once: from there on the client waits
    for (const client of waiting) await client.head();
    await halfClosed(`POST /containers/${id}/attach?stream=1&stdin=1`, "go\n");
    await (await engine.api("POST", `/containers/${id}/wait`)).text();
    await remove(id);
    await Promise.all(waiting.map(({ ended }) => ended));
    const answers = new Set(waiting.map(({ received }) => /\{.*\}/.exec(received.toString("latin1"))?.[0]));
    expect([...answers]).toEqual(['{"StatusCode":7}']);
  });
});
