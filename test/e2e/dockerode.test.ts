import { beforeAll, describe, expect, test } from "bun:test";
import { PassThrough } from "node:stream";
import Dockerode from "dockerode";
import { skipped } from "../skips.ts";
import { suiteEngine, until } from "./harness.ts";

/** dockerode, the client library under Testcontainers and many tools. */
describe.skipIf(skipped("root", "overlay", "docker"))("dockerode", () => {
  const engine = suiteEngine();
  let docker: Dockerode;

  beforeAll(async () => {
    docker = new Dockerode({ socketPath: engine.socket });
  });

  const text = (stream: NodeJS.ReadableStream): Promise<string> => new Response(stream as unknown as ReadableStream).text();

  test("creates, starts, waits, reads logs and removes", async () => {
    const container = await docker.createContainer({ Image: "busybox", Cmd: ["sh", "-c", "echo out; echo err >&2; exit 2"], Labels: { a: "b" } });
    await container.start();
    expect(await container.wait()).toMatchObject({ StatusCode: 2 });
    const logs = (await container.logs({ stdout: true, stderr: true, follow: false })) as unknown as Buffer;
    expect([...logs.subarray(0, 8)]).toEqual([1, 0, 0, 0, 0, 0, 0, 4]);
    const inspect = await container.inspect();
    expect(inspect.State).toMatchObject({ Status: "exited", ExitCode: 2, Running: false });
    expect(inspect.Config.Labels).toEqual({ a: "b" });
    expect((await docker.listContainers({ all: true, filters: { label: ["a=b"] } })).map(({ Id }) => Id)).toEqual([container.id]);
    await container.remove();
    const gone = await container.inspect().then(
      () => undefined,
      (error: { statusCode: number; json: { message: string } }) => error,
    );
    expect(gone?.statusCode).toBe(404);
    expect(gone?.json.message).toBe(`No such container: ${container.id}`);
  });

  test("executes with both streams apart", async () => {
    const container = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"] });
    await container.start();
    const exec = await container.exec({ Cmd: ["sh", "-c", "echo out; echo err >&2; exit 6"], AttachStdout: true, AttachStderr: true });
    const stream = await exec.start({ hijack: true, stdin: false });
    const [out, err] = [new PassThrough(), new PassThrough()];
    docker.modem.demuxStream(stream, out, err);
    stream.on("end", () => {
      out.end();
      err.end();
    });
    expect(await Promise.all([text(out), text(err)])).toEqual(["out\n", "err\n"]);
    expect(await exec.inspect()).toMatchObject({ ExitCode: 6, Running: false });
    await container.remove({ force: true });
  });

  test("streams events while things happen", async () => {
    const events = await docker.getEvents({ filters: { type: ["container"], event: ["die"] } });
    const first = new Promise<string>((resolve) => events.once("data", (chunk: Buffer) => resolve(chunk.toString())));
    const [result] = (await docker.run("busybox", ["sh", "-c", "exit 4"], new PassThrough(), { HostConfig: { AutoRemove: true } })) as [{ StatusCode: number }];
    expect(result.StatusCode).toBe(4);
    expect(JSON.parse(await first)).toMatchObject({ Type: "container", Action: "die", Actor: { Attributes: { exitCode: "4" } } });
    (events as unknown as { destroy(): void }).destroy();
  });

  test("attaches with stdin before the start, and waits for the removal", async () => {
    const container = await docker.createContainer({
      Image: "busybox",
      Cmd: ["sh", "-c", "read line; echo got $line; echo err >&2; exit 3"],
      OpenStdin: true,
      StdinOnce: true,
      AttachStdin: true,
      AttachStdout: true,
      HostConfig: { AutoRemove: true },
    });
    const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
    const [out, err] = [new PassThrough(), new PassThrough()];
    docker.modem.demuxStream(stream, out, err);
    stream.on("end", () => {
      out.end();
      err.end();
    });
    const gone = container.wait({ condition: "removed" });
    await container.start();
    stream.end("hello\n");
    expect(await Promise.all([text(out), text(err)])).toEqual(["got hello\n", "err\n"]);
    expect(await gone).toMatchObject({ StatusCode: 3 });
  });

  test("works in a terminal: exec, its size, its detach keys", async () => {
    const container = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"] });
    await container.start();
    const exec = await container.exec({ Cmd: ["sh"], AttachStdin: true, AttachStdout: true, Tty: true, DetachKeys: "ctrl-a,d" });
    const stream = await exec.start({ hijack: true, stdin: true, Tty: true });
    let screen = "";
    stream.on("data", (chunk: Buffer) => (screen += String(chunk)));
    const ended = new Promise((resolve) => stream.on("end", resolve));
    await exec.resize({ h: 22, w: 88 });
    stream.write("stty size\n");
    await until("the size", () => screen.includes("22 88"));
    stream.write("\x01d");
    await ended;
    expect(await exec.inspect()).toMatchObject({ Running: true });
    await container.remove({ force: true });
  });

  test("looks at a running container and changes its limits", async () => {
    const container = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"], HostConfig: { PidsLimit: 20 } });
    await container.start();
    const stats = await container.stats({ stream: false });
    expect(stats.precpu_stats.cpu_usage.total_usage).toBeGreaterThan(0);
    expect(stats.pids_stats).toEqual({ current: 1, limit: 20 });
    await container.update({ PidsLimit: 30 });
    expect((await container.stats({ stream: false, "one-shot": true })).pids_stats).toEqual({ current: 1, limit: 30 });
    expect((await container.top({ ps_args: "-o pid,args" })) as unknown).toMatchObject({
      Titles: ["PID", "COMMAND"],
      Processes: [[expect.any(String), "sleep 1000"]],
    });
    await container.rename({ name: "odes" });
    await container.pause();
    expect((await docker.listContainers({ filters: { status: ["paused"] } })).map(({ Names }) => Names)).toEqual([["/odes"]]);
    await container.unpause();
    await container.kill({ signal: "SIGKILL" });
    expect(await docker.pruneContainers()).toMatchObject({ ContainersDeleted: [container.id] });
  });
});
