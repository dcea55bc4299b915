import { beforeAll, describe, expect, test } from "bun:test";
import { tarOf } from "../../src/lib/tar-writer.ts";
import { skipped } from "../skips.ts";
import { lastingInconsistencies } from "./consistency.ts";
import { suiteEngine, until } from "./harness.ts";
import { holdings, RawClient } from "./raw-client.ts";

/** Clients that go away in the middle, by raw socket. Nothing of their requests may stay: no descriptor, no process, no file, no lock. */
describe.skipIf(skipped("root", "overlay", "docker"))("a client that vanishes", () => {
  const engine = suiteEngine();
  let id: string;
  let before: string[];

  beforeAll(async () => {
    // the Worker that takes in the database's log opens it within a second of the first change
    await Bun.sleep(1500);
    // what is made once only: Workers, the init layer, the bridge
    await engine.ok("run", "--rm", "busybox", "sleep", "0.1");
    const followed = await engine.ok("run", "-d", "busybox", "sleep", "0.1");
    await engine.ok("logs", "-f", followed);
    await engine.ok("rm", followed);
    const warm = await engine.ok("create", "busybox", "true");
    await engine.ok("cp", `${warm}:/etc/passwd`, "-");
    await engine.ok("rm", warm);
    await engine.docker(["build", "-"], { stdin: "FROM busybox\nRUN true\n" });
  });

  const post = async (path: string, body: object): Promise<{ Id: string }> => (await (await engine.api("POST", path, body)).json()) as { Id: string };
  const started = async (body: object): Promise<string> => {
    const { Id } = await post("/containers/create", { Image: "busybox", ...body });
    expect((await engine.api("POST", `/containers/${Id}/start`)).status).toBe(204);
    return Id;
  };
  const open = (request: string | Buffer): RawClient => new RawClient(engine.socket, request);
  const upgrade = "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n";
  /** A request whose body will never be whole. */
  const unfinished = (line: string, piece: Uint8Array): Buffer =>
    Buffer.concat([Buffer.from(`${line} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: 100000000\r\n\r\n`), piece]);
  const bigFile = tarOf([{ name: "big", type: "file", body: Buffer.alloc(3 << 20, 1) }]).subarray(0, 2 << 20);

  /** The client does its thing and goes; then what the engine holds must be what it held. */
  async function leaving(work: () => Promise<RawClient>, reset = false): Promise<void> {
    const client = await work();
    if (reset) client.socket.resetAndDestroy();
    else client.socket.destroy();
  }
  async function sameAsBefore(): Promise<void> {
    const same = (): boolean => String(holdings(engine.pid)) === String(before);
    await until("everything is given back", same).catch(() => expect(holdings(engine.pid)).toEqual(before));
  }

  const requests: Record<string, () => Promise<RawClient>> = {
    "waits for a container": async () => await withHead(open(`POST /containers/${id}/wait HTTP/1.1\r\nHost: x\r\n\r\n`)),
    "follows a log": async () => await withHead(open(`GET /containers/${id}/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n`)),
    "listens to events": async () => await withHead(open("GET /events HTTP/1.1\r\nHost: x\r\n\r\n")),
    "watches statistics": async () => await withHead(open(`GET /containers/${id}/stats HTTP/1.1\r\nHost: x\r\n\r\n`)),
    "is attached": async () => await withHead(open(`POST /containers/${id}/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\n${upgrade}\r\n`)),
    "takes a copy and reads nothing of it": async () => await unread(`/containers/${id}/archive?path=/`),
    "exports and reads nothing of it": async () => await unread(`/containers/${id}/export`),
    "saves an image and reads nothing of it": async () => await unread("/images/busybox/get"),
    "sends half an archive": async () => await sent(open(unfinished(`PUT /containers/${id}/archive?path=/tmp`, bigFile))),
    "sends half a build context": async () => await sent(open(unfinished("POST /build?t=half", bigFile))),
    "loads half an image": async () => await sent(open(unfinished("POST /images/load", bigFile))),
    "imports half an image": async () => await sent(open(unfinished("POST /images/create?fromSrc=-&repo=half", bigFile))),
    builds: async () => {
      const context = tarOf([{ name: "Dockerfile", type: "file", body: "FROM busybox\nRUN echo begun && sleep 1000\n" }]);
      const head = `POST /build?t=never&nocache=1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: ${context.length}\r\n\r\n`;
      const client = open(Buffer.concat([Buffer.from(head), context]));
      await until("the step", () => client.received.includes("begun\\n"));
      return client;
    },
    "has a half-written head": async () => await sent(open("GET /version HTTP/1.1\r\nHo")),
  };

  async function withHead(client: RawClient): Promise<RawClient> {
    expect(await client.head()).toStartWith("HTTP/1.1 ");
    return client;
  }
  async function unread(path: string): Promise<RawClient> {
    const client = await withHead(open(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`));
    client.socket.pause();
    await Bun.sleep(100);
    return client;
  }
  async function sent(client: RawClient): Promise<RawClient> {
    await Bun.sleep(100);
    return client;
  }

  for (const [what, work] of Object.entries(requests)) {
    test(`while it ${what}`, async () => {
      id = await started({ Cmd: ["sh", "-c", "dd if=/dev/zero of=/big bs=1M count=30; echo ready; exec sleep 1000"] });
      await until("the file", async () => (await engine.ok("logs", id)).includes("ready"));
      await settled();
      before = holdings(engine.pid);
      await leaving(work);
      await leaving(work, true);
      await sameAsBefore();
      expect((await engine.api("DELETE", `/containers/${id}?force=1`)).status).toBe(204);
      expect(await lastingInconsistencies(engine)).toEqual([]);
    });
  }

  /** Connections of those who asked before are closed or idle. */
  async function settled(): Promise<void> {
    // crun: the engine compiles its seccomp profile once, in the background
    for (let last = "", now = String(holdings(engine.pid)); last !== now || now.includes("process crun"); now = String(holdings(engine.pid))) {
      last = now;
      await Bun.sleep(100);
    }
  }

  test("while it fills the input of a container that doesn't read", async () => {
    id = await started({ Cmd: ["sleep", "1000"], OpenStdin: true });
    await settled();
    before = holdings(engine.pid);
    const client = open(`POST /containers/${id}/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\n${upgrade}\r\n`);
    await client.head();
    client.socket.write(Buffer.alloc(4 << 20, "input\n"));
    await Bun.sleep(500);
    client.socket.destroy();
    await sameAsBefore();
    await engine.api("DELETE", `/containers/${id}?force=1`);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("while its exec floods it: the exec ends with its container", async () => {
    id = await started({ Cmd: ["sleep", "1000"] });
    await settled();
    before = holdings(engine.pid).filter((each) => !/conmon|pidfd/.test(each));
    for (const Cmd of [["yes"], ["cat"], ["sleep", "1000"]]) {
      const exec = await post(`/containers/${id}/exec`, { Cmd, AttachStdin: true, AttachStdout: true });
      const body = JSON.stringify({ Detach: false });
      const client = open(`POST /exec/${exec.Id}/start HTTP/1.1\r\n${upgrade}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      await client.head();
      client.socket.pause();
      client.socket.write(Buffer.alloc(1 << 20, "input\n"));
      await Bun.sleep(300);
      client.socket.destroy();
    }
    await engine.api("DELETE", `/containers/${id}?force=1`);
    const rest = (): string[] => holdings(engine.pid).filter((each) => !/conmon|pidfd/.test(each));
    await until("everything is given back", () => rest().length <= before.length).catch(() => expect(rest()).toEqual(before));
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });

  test("while it pulls from a registry that doesn't answer", async () => {
    id = await started({ Cmd: ["sleep", "1000"] });
    const program = 'require("net").createServer(() => {}).listen(5999, "127.0.0.1", () => console.log("ready"))';
    const silent = Bun.spawn([...engine.onHost, process.execPath, "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await silent.stdout.getReader().read();
      await settled();
      before = holdings(engine.pid);
      await leaving(async () => await sent(open("POST /images/create?fromImage=127.0.0.1:5999/none&tag=x HTTP/1.1\r\nHost: x\r\n\r\n")));
      await sameAsBefore();
    } finally {
      silent.kill();
      await silent.exited;
    }
    await engine.api("DELETE", `/containers/${id}?force=1`);
    expect(await lastingInconsistencies(engine)).toEqual([]);
  });
});
