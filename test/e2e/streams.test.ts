import { afterEach, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { skipped } from "../skips.ts";
import { suiteEngine, until } from "./harness.ts";
import { payloadOf } from "./raw-client.ts";

/** Hijacked streams by raw socket against the compiled engine: what clients other than docker's do, and clients that misbehave. */
describe.skipIf(skipped("root", "overlay", "docker"))("streams", () => {
  const engine = suiteEngine();
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  interface Stream {
    socket: Socket;
    received(): Buffer;
    head(): Promise<string>;
    ended: Promise<void>;
  }

  /** Sends a request as text and collects what comes back. */
  async function open(request: string): Promise<Stream> {
    const socket = connect({ path: engine.socket, allowHalfOpen: true });
    sockets.push(socket);
    const pieces: Buffer[] = [];
    const ended = Promise.withResolvers<void>();
    socket.on("data", (chunk: Buffer) => void pieces.push(chunk));
    socket.on("end", () => ended.resolve());
    socket.on("close", () => ended.resolve());
    socket.on("error", () => {});
    socket.write(request);
    const received = (): Buffer => Buffer.concat(pieces);
    return {
      socket,
      received,
      ended: ended.promise,
      head: () =>
        until("the head of the answer", () => {
          const text = received().toString("latin1");
          const end = text.indexOf("\r\n\r\n");
          return end < 0 ? undefined : text.slice(0, end);
        }),
    };
  }

  const bodyOf = (stream: Stream): Buffer => stream.received().subarray(stream.received().indexOf("\r\n\r\n") + 4);
  /** What the frames carry. */
  const textOf = (body: Buffer): string => payloadOf(body).toString("latin1");
  const upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";

  async function create(body: object): Promise<string> {
    return ((await (await engine.api("POST", "/containers/create", { Image: "busybox", ...body })).json()) as { Id: string }).Id;
  }
  async function execOf(container: string, body: object): Promise<string> {
    return ((await (await engine.api("POST", `/containers/${container}/exec`, body)).json()) as { Id: string }).Id;
  }
  const remove = (id: string): Promise<Response> => engine.api("DELETE", `/containers/${id}?force=1&v=1`);

  test("attach without Upgrade, stdin sent before the start, half-close", async () => {
    const id = await create({ Cmd: ["cat"], OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true });
    const stream = await open(`POST /v1.41/containers/${id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\nearly\n`);
    expect(await stream.head()).toBe("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream");
    await engine.api("POST", `/containers/${id}/start`);
    stream.socket.end("late\n");
    await stream.ended;
    expect(textOf(bodyOf(stream))).toBe("early\nlate\n");
    await remove(id);
  });

  test("exec frames by the Tty of its start, and says so from 1.42", async () => {
    const id = await create({ Cmd: ["sleep", "60"] });
    await engine.api("POST", `/containers/${id}/start`);
    const start = async (version: string, tty: boolean): Promise<Stream> => {
      const exec = await execOf(id, { Cmd: ["echo", "hi"], AttachStdout: true, Tty: tty });
      const body = JSON.stringify({ Tty: tty });
      const stream = await open(
        `POST /${version}/exec/${exec}/start HTTP/1.1\r\nHost: x\r\n${upgrade}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      await stream.ended;
      return stream;
    };
    const framed = await start("v1.42", false);
    expect(await framed.head()).toBe("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp");
    expect([...bodyOf(framed)]).toEqual([1, 0, 0, 0, 0, 0, 0, 3, 104, 105, 10]);
    expect(await (await start("v1.41", false)).head()).toContain("application/vnd.docker.raw-stream");
    expect(bodyOf(await start("v1.42", true)).toString()).toBe("hi\r\n");
    await remove(id);
  });

  test("the detach keys end the connection and not the container", async () => {
    const id = await create({ Cmd: ["cat"], OpenStdin: true, Tty: true });
    await engine.api("POST", `/containers/${id}/start`);
    const stream = await open(`POST /containers/${id}/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,x HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`);
    await stream.head();
    stream.socket.write("typed\n");
    await until("the echo", () => bodyOf(stream).toString().includes("typed"));
    stream.socket.write("\x01x");
    await stream.ended;
    const inspect = (await (await engine.api("GET", `/containers/${id}/json`)).json()) as { State: { Running: boolean } };
    expect(inspect.State.Running).toBe(true);
    await remove(id);
  });

  test("what the container wrote before comes with logs=1", async () => {
    const id = await create({ Cmd: ["echo", "past"] });
    await engine.api("POST", `/containers/${id}/start`);
    await engine.api("POST", `/containers/${id}/wait`).then((response) => response.text());
    const stream = await open(`POST /containers/${id}/attach?logs=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`);
    await stream.ended;
    expect([...bodyOf(stream)]).toEqual([1, 0, 0, 0, 0, 0, 0, 5, ...Buffer.from("past\n")]);
    await remove(id);
  });

  test("a client that reads slowly loses nothing", async () => {
    const id = await create({ Cmd: ["dd", "if=/dev/zero", "bs=1M", "count=100"], HostConfig: { LogConfig: { Type: "none" } } });
    const stream = await open(`POST /containers/${id}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`);
    await stream.head();
    stream.socket.pause();
    await engine.api("POST", `/containers/${id}/start`);
    await Bun.sleep(300);
    expect(((await (await engine.api("GET", `/containers/${id}/json`)).json()) as { State: { Running: boolean } }).State.Running).toBe(true);
    stream.socket.resume();
    await stream.ended;
    expect(textOf(bodyOf(stream))).toHaveLength(100 << 20);
    await remove(id);
  });

  test("a client that reads nothing keeps nobody from killing its container", async () => {
    const id = await create({ Cmd: ["yes"] });
    const stream = await open(`POST /containers/${id}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`);
    await stream.head();
    stream.socket.pause();
    await engine.api("POST", `/containers/${id}/start`);
    await Bun.sleep(300);
    expect((await engine.api("POST", `/containers/${id}/kill`)).status).toBe(204);
    expect(await (await engine.api("POST", `/containers/${id}/wait`)).json()).toEqual({ StatusCode: 137 });
    await remove(id);
  });

  test("a client that vanishes leaves no wait, log or event stream behind", async () => {
    const id = await create({ Cmd: ["sleep", "60"] });
    await engine.api("POST", `/containers/${id}/start`);
    const streams = await Promise.all(
      [`POST /containers/${id}/wait`, `GET /containers/${id}/logs?follow=1&stdout=1`, "GET /events", `GET /containers/${id}/stats`].map((request) =>
        open(`${request} HTTP/1.1\r\nHost: x\r\n\r\n`),
      ),
    );
    for (const stream of streams) expect(await stream.head()).toStartWith("HTTP/1.1 200 OK");
    const open0 = await descriptors();
    for (const stream of streams) stream.socket.destroy();
    await until("the engine to close its side", async () => (await descriptors()) <= open0 - streams.length);
    await remove(id);
  });

  /** Open sockets of the engine's process. */
  async function descriptors(): Promise<number> {
    const { readdir, readlink } = await import("node:fs/promises");
    const names = await readdir(`/proc/${engine.pid}/fd`);
    const targets = await Promise.all(names.map((name) => readlink(`/proc/${engine.pid}/fd/${name}`).catch(() => "")));
    return targets.filter((target) => target.startsWith("socket:")).length;
  }
});
