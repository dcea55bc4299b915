import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ContainerRecord } from "../../src/containers/types.ts";
import { EngineError } from "../../src/lib/errors.ts";
import { recordsOf } from "../../src/logs/cri.ts";
import type { LogBatch } from "../../src/logs/types.ts";
import type { OutputListener } from "../../src/sandbox/types.ts";
import { setImmutable } from "../immutable.ts";
import { kernelState, leaks } from "../leaks.ts";
import { skipped } from "../skips.ts";
import { createEngine, type TestEngine } from "./containers-fixture.ts";

const running = (name: string): string[] => ["sh", "-c", `trap 'exit 7' TERM; echo ${name} ready; while :; do sleep 0.05; done`];
const plain = { stdout: true, stderr: true, follow: false };

async function text(records: AsyncIterable<LogBatch>): Promise<string> {
  let out = "";
  for await (const batch of records) for (const { bytes } of recordsOf(batch)) out += Buffer.from(bytes).toString();
  return out;
}

async function failure(promise: Promise<unknown>): Promise<EngineError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await condition()) return;
    await Bun.sleep(5);
  }
  throw new Error(`never: ${what}`);
}

/** What is left of this engine; other tests may run beside this one. */
function leaksOf({ root, runtime }: TestEngine, before: Set<string>): string[] {
  return leaks(before, kernelState()).filter((line) => {
    const [kind, what = ""] = line.split(" ");
    if (kind === "mount") return what.startsWith(root);
    if (kind === "cgroup") return what.includes(runtime.cgroupParent);
    return kind === "process" && existsSync(`/proc/${what}/cmdline`) && readFileSync(`/proc/${what}/cmdline`, "utf8").includes(root);
  });
}

/** Collects what a listener is given. */
function collector(): OutputListener & { out(): string; ended: Promise<void> } {
  let out = "";
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const add = (chunk: Uint8Array): void => void (out += Buffer.from(chunk).toString());
  return { stdout: add, stderr: add, end, out: () => out, ended };
}

describe.skipIf(skipped("root", "overlay"))("containers", () => {
  let before: Set<string>;
  let engine: TestEngine;
  beforeAll(async () => {
    before = kernelState();
    engine = await createEngine();
  });
  afterAll(async () => {
    await engine.close();
    expect(leaksOf(engine, before)).toEqual([]);
  });

  const get = (id: string): ContainerRecord => engine.containers.get(id);
  const logsOf = (id: string): Promise<string> => text(engine.containers.logs(id, plain).records);
  const actionsOf = (id: string): string[] => engine.seen.filter((event) => event.actor === id).map((event) => event.action);

  async function start(...args: Parameters<TestEngine["create"]>): Promise<string> {
    const id = await engine.create(...args);
    await engine.containers.start(id);
    return id;
  }
  async function startReady(name: string, more: Parameters<TestEngine["create"]>[1] = {}): Promise<string> {
    const id = await start(running(name), { name, ...more });
    await until(`${name} is ready`, async () => (await logsOf(id)).includes(`${name} ready`));
    return id;
  }
  async function run(args: string[], more: Parameters<TestEngine["create"]>[1] = {}): Promise<{ id: string; exitCode: number; output: string }> {
    const id = await engine.create(args, more);
    const { result } = engine.containers.wait(id, "next-exit");
    await engine.containers.start(id);
    const { exitCode } = await result;
    // At once: when wait answers, the log is complete.
    return { id, exitCode, output: await logsOf(id) };
  }
  const remove = (id: string): Promise<void> => engine.containers.remove(id, { force: true, volumes: true });

  test("a run: output, code, state, events", async () => {
    const { id, exitCode, output } = await run(["sh", "-c", "seq 1 500; exit 3"], { name: "first-run", config: { Labels: { mine: "1" } } });
    expect(exitCode).toBe(3);
    expect(output.split("\n").length).toBe(501);
    const { state, config, path, args } = get("first-run");
    expect(state).toMatchObject({ status: "exited", exitCode: 3, error: "", oomKilled: false });
    expect(BigInt(state.finishedAt)).toBeGreaterThan(BigInt(state.startedAt));
    expect(config).toMatchObject({ Hostname: id.slice(0, 12), Env: ["PATH=/bin", "FROM=image"], Labels: { made: "here", mine: "1" } });
    expect([path, ...args]).toEqual(["sh", "-c", "seq 1 500; exit 3"]);
    expect(actionsOf(id)).toEqual(["create", "start", "die"]);
    expect(engine.seen.find((event) => event.actor === id && event.action === "die")?.attributes).toEqual({
      made: "here",
      mine: "1",
      image: "base",
      name: "first-run",
      exitCode: "3",
      execDuration: "0",
    });
    await engine.containers.remove(id);
    expect(actionsOf(id).at(-1)).toBe("destroy");
    expect(existsSync(engine.paths.container(id))).toBe(false);
    expect((await failure(Promise.try(() => get(id)))).message).toBe(`No such container: ${id}`);
  });

  /** Once there is a file /go, one of its processes takes all memory. It alone: another that asked for some before the victim's is back could cost init its life. */
  const hog = ["sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done; grep -c x /dev/zero > /dev/null; sleep 1000"];

  test("a process killed for want of memory is told of while the container runs", async () => {
    const id = await start(hog, { host: { Memory: 16 << 20 } });
    expect(get(id).state.oomKilled).toBe(false);
    writeFileSync(`${engine.paths.bundle(id)}/rootfs/go`, "");
    await until("it is told", () => get(id).state.oomKilled);
    expect(get(id).state.status).toBe("running");
    await engine.containers.kill(id);
    await engine.containers.wait(id, "not-running").result;
    expect(get(id).state).toMatchObject({ status: "exited", exitCode: 137, oomKilled: true });
    expect(actionsOf(id)).toEqual(["create", "start", "oom", "kill", "die"]);
    await remove(id);
  });

  test("a memory limit set later is watched too", async () => {
    const id = await start(hog);
    await engine.containers.update(id, { Memory: 16 << 20 });
    writeFileSync(`${engine.paths.bundle(id)}/rootfs/go`, "");
    await until("it is told", () => get(id).state.oomKilled);
    expect(actionsOf(id)).toEqual(["create", "start", "update", "oom"]);
    await remove(id);
  });

  test("looked up by id, name, unique prefix", async () => {
    const id = await engine.create(["true"], { name: "lookup-me" });
    for (const reference of [id, "lookup-me", "/lookup-me", id.slice(0, 12)]) expect(get(reference).id).toBe(id);
    expect(() => get("lookup")).toThrow("No such container: lookup");
    expect(() => get("")).toThrow("No container name or ID supplied");
    const others = [await engine.create(["true"]), await engine.create(["true"])];
    const all = [id, ...others];
    // 17 would be enough for certain; three often share none: then the empty hex prefix does not exist, so it is made by hand.
    const shared = all.find((a) => all.some((b) => a !== b && a[0] === b[0]))?.[0];
    if (shared !== undefined) expect(() => get(shared)).toThrow(`multiple IDs found with provided prefix: ${shared}`);
    for (const each of all) await remove(each);
  });

  test("names are unique until they are free again", async () => {
    const id = await engine.create(["true"], { name: "only-one" });
    const error = await failure(engine.create(["true"], { name: "/only-one" }));
    expect(error.kind).toBe("conflict");
    expect(error.message).toBe(
      `Conflict. The container name "/only-one" is already in use by container "${id}". You have to remove (or rename) that container to be able to reuse that name.`,
    );
    await engine.containers.rename(id, "another");
    expect(get("another").id).toBe(id);
    expect(engine.seen.at(-1)).toMatchObject({ action: "rename", attributes: { name: "another", oldName: "/only-one" } });
    const second = await engine.create(["true"], { name: "only-one" });
    expect((await failure(engine.containers.rename(second, "another"))).kind).toBe("conflict");
    await remove(id);
    await engine.containers.rename(second, "another");
    await remove(second);
  });

  test("what create refuses leaves nothing", async () => {
    const rows = (): unknown => engine.store.db.query("SELECT (SELECT count(*) FROM containers) + (SELECT count(*) FROM volumes) AS n").get();
    const was = rows();
    for (const [args, more, kind, message] of [
      [["true"], { config: { Image: "nope" } }, "notFound", "No such image: nope:latest"],
      [["true"], { config: { Image: "base", WorkingDir: "x" } }, "invalidArgument", "absolute path"],
      [["true"], { host: { Binds: ["/a:/b", "/c:/b"] } }, "invalidArgument", "Duplicate mount point: /b"],
      [
        ["true"],
        { host: { Mounts: [{ Type: "bind", Source: "/nope/nope", Target: "/x" }] } },
        "invalidArgument",
        'invalid mount config for type "bind": bind source path does not exist: /nope/nope',
      ],
      [["true"], { host: { VolumesFrom: ["nobody"] } }, "invalidArgument", "No such container: nobody"],
      [["true"], { host: { NetworkMode: "bridge", Links: ["nobody:x"] } }, "invalidArgument", "could not get container for nobody: No such container: nobody"],
      [["true"], { host: { CapAdd: ["CAP_WAT"] } }, "invalidArgument", "CAP_WAT"],
      [["true"], { host: { Runtime: "wat" } }, "invalidArgument", "unknown or invalid runtime name: wat"],
      [["true"], { host: { SecurityOpt: ["wat=1"] } }, "invalidArgument", "invalid --security-opt 2"],
      [
        ["true"],
        { host: { Mounts: [{ Type: "volume", Source: "vol1", Target: "/x", VolumeOptions: { DriverConfig: { Name: "nope" } } }] } },
        "invalidArgument",
        'plugin "nope" not found',
      ],
    ] as const) {
      const error = await failure(engine.create([...args], more as never));
      expect(error.message).toContain(message);
      expect(error.kind).toBe(kind);
    }
    expect(rows()).toEqual(was);
  });

  test("a program that is missing or can't be run leaves it created, with code and error", async () => {
    for (const [program, code] of [
      ["nope", 127],
      ["/etc/passwd", 126],
    ] as const) {
      const id = await engine.create([program]);
      const error = await failure(engine.containers.start(id));
      expect(error.exitCode).toBe(code);
      expect(get(id).state).toMatchObject({ status: "created", exitCode: code, startedAt: "0" });
      expect(get(id).state.error).toBe(error.message);
      expect(engine.containers.wait(id, "not-running").result).resolves.toMatchObject({ exitCode: code });
      expect(actionsOf(id)).toEqual(["create"]);
      await engine.containers.remove(id);
    }
  });

  test("attached before the start: everything from the first byte, in and out", async () => {
    const id = await engine.create(["sh", "-c", "read line; echo got $line; cat"], { config: { OpenStdin: true, StdinOnce: true, AttachStdin: true } });
    const listener = collector();
    using session = engine.containers.attach(id, listener);
    const writing = session.io.writeStdin(Buffer.from("hello\n")).then(() => session.io.writeStdin(Buffer.from("rest")));
    await engine.containers.start(id);
    await writing;
    session.io.closeStdin();
    await session.ended;
    expect(listener.out()).toBe("got hello\nrest");
    await remove(id);
  });

  test("an attached client is told of a start that failed", async () => {
    const id = await engine.create(["nope"]);
    const listener = collector();
    const session = engine.containers.attach(id, listener);
    await failure(engine.containers.start(id));
    await session.ended;
    expect(listener.out()).toBe("");
    await remove(id);
  });

  test("output goes to everyone attached and to the log", async () => {
    const id = await engine.create(["sh", "-c", "seq 1 2000"]);
    const listeners = [collector(), collector()];
    const sessions = listeners.map((listener) => engine.containers.attach(id, listener));
    await engine.containers.start(id);
    await Promise.all(sessions.map((session) => session.ended));
    expect(listeners[0]?.out()).toBe(listeners[1]?.out() as string);
    expect(listeners[0]?.out()).toBe(await logsOf(id));
    await remove(id);
  });

  test("stop: its signal, else SIGKILL after the timeout; again: not modified", async () => {
    const polite = await startReady("polite");
    expect((await failure(engine.containers.start(polite))).kind).toBe("notModified");
    await engine.containers.stop(polite);
    expect(get(polite).state).toMatchObject({ status: "exited", exitCode: 7 });
    expect(actionsOf(polite)).toEqual(["create", "start", "kill", "die", "stop"]);
    expect((await failure(engine.containers.stop(polite))).kind).toBe("notModified");
    await engine.containers.start(polite);
    await remove(polite);

    const deaf = await start(["sh", "-c", "trap '' TERM; echo deaf ready; while :; do sleep 0.05; done"], { name: "deaf" });
    await until("deaf is ready", async () => (await logsOf(deaf)).includes("ready"));
    await engine.containers.stop(deaf, { timeoutSeconds: 0 });
    expect(get(deaf).state).toMatchObject({ status: "exited", exitCode: 137 });
    await remove(deaf);
  });

  test("kill by name and number; conflict at rest", async () => {
    const id = await startReady("victim");
    expect((await failure(engine.containers.kill(id, "SIGWAT"))).message).toBe(`cannot kill container: ${id}: invalid signal: SIGWAT`);
    const { result } = engine.containers.wait(id, "not-running");
    await engine.containers.kill(id, "15");
    expect((await result).exitCode).toBe(7);
    const error = await failure(engine.containers.kill(id));
    expect(error.kind).toBe("conflict");
    expect(error.message).toContain(`container ${id} is not running`);
    await engine.containers.start(id);
    await engine.containers.kill(id);
    expect(get(id).state.exitCode).toBe(137);
    await remove(id);
  });

  test("a running container isn't removed without force", async () => {
    const id = await startReady("stays");
    const error = await failure(engine.containers.remove(id));
    expect(error.kind).toBe("conflict");
    expect(error.message).toBe('cannot remove container "/stays": container is running: stop the container before removing or force remove');
    const removed = engine.containers.wait(id, "removed").result;
    const exited = engine.containers.wait(id, "next-exit").result;
    await remove(id);
    expect((await removed).exitCode).toBe(137);
    expect((await exited).exitCode).toBe(137);
    expect(actionsOf(id)).toEqual(["create", "start", "kill", "die", "destroy"]);
  });

  test.skipIf(skipped("immutable"))("one whose files can't be removed is told of, and removed by its name once they can", async () => {
    const id = await startReady("stuck");
    const kept = join(engine.paths.container(id), "hosts");
    setImmutable(kept, true);
    try {
      const refused = await failure(engine.containers.remove("stuck", { force: true }));
      expect([refused.kind, refused.message]).toEqual(["unavailable", expect.stringContaining("container stuck can't be removed: EPERM")]);
      expect(get("stuck").id).toBe(id);
      expect((await failure(engine.containers.rename("stuck", "other"))).kind).toBe("conflict");
      expect((await failure(engine.containers.remove("stuck", { force: true }))).kind).toBe("unavailable");
    } finally {
      setImmutable(kept, false);
    }
    await engine.containers.remove("stuck", { force: true });
    expect(existsSync(engine.paths.container(id))).toBe(false);
  });

  test("pause, and whatever ends a paused one", async () => {
    const id = await startReady("frozen");
    await engine.containers.pause(id);
    expect(get(id).state.status).toBe("paused");
    expect((await failure(engine.containers.pause(id))).message).toBe(`Container ${id} is already paused`);
    expect((await failure(engine.containers.start(id))).message).toContain("cannot start a paused container");
    expect((await failure(Promise.try(() => engine.containers.execCreate(id, { Cmd: ["true"] })))).kind).toBe("conflict");
    await engine.containers.unpause(id);
    expect(get(id).state.status).toBe("running");
    await engine.containers.pause(id);
    await engine.containers.stop(id);
    expect(get(id).state).toMatchObject({ status: "exited", exitCode: 7 });
    await engine.containers.start(id);
    await engine.containers.pause(id);
    await remove(id);
    expect(actionsOf(id).filter((action) => action.includes("pause"))).toEqual(["pause", "unpause", "pause", "unpause", "pause"]);
  });

  test("a signal thaws a paused one, as dockerd's, unless a stop signal of its own is another", async () => {
    const id = await startReady("signalled");
    for (const signal of ["CONT", "WINCH"]) {
      await engine.containers.pause(id);
      await engine.containers.kill(id, signal);
      expect(get(id).state.status).toBe("running");
    }
    await engine.containers.pause(id);
    await engine.containers.kill(id);
    expect(get(id).state).toMatchObject({ status: "exited", exitCode: 137 });
    expect(actionsOf(id).slice(2)).toEqual(["pause", "kill", "unpause", "pause", "kill", "unpause", "pause", "kill", "die"]);
    await remove(id);
    const own = await startReady("its-own", { config: { StopSignal: "WINCH" } });
    await engine.containers.pause(own);
    await engine.containers.kill(own, "TERM");
    expect(get(own).state.status).toBe("paused");
    await engine.containers.kill(own, "WINCH");
    expect(get(own).state.status).not.toBe("paused");
    await remove(own);
  });

  test("removed while it starts; killed while it starts", async () => {
    for (let i = 0; i < 4; i++) {
      const id = await engine.create(running("hasty"));
      const starting = engine.containers.start(id).catch((error: EngineError) => error.kind);
      if (i % 2 === 1) await Bun.sleep(4 * i);
      await remove(id);
      expect(["cancelled", undefined]).toContain((await starting) as string | undefined);
      expect(() => get(id)).toThrow("No such container");
    }
    const id = await engine.create(running("killed"));
    const starting = engine.containers.start(id).catch(() => undefined);
    const killing = engine.containers.kill(id).catch((error: EngineError) => error.kind);
    await Promise.all([starting, killing]);
    expect(["created", "exited"]).toContain(get(id).state.status);
    await remove(id);
  });

  test("exec: output, code, user, missing program", async () => {
    const id = await startReady("host");
    const exec = async (Cmd: string[], more = {}): Promise<{ out: string; exitCode: number | null }> => {
      const execId = engine.containers.execCreate(id, { Cmd, AttachStdout: true, AttachStderr: true, ...more });
      expect(engine.containers.execInspect(execId)).toMatchObject({ running: false, exitCode: null, containerId: id });
      const listener = collector();
      const session = await engine.containers.execStart(execId, { detach: false }, listener);
      await session?.ended;
      await until("the exec is over", () => !engine.containers.execInspect(execId).running);
      return { out: listener.out(), exitCode: engine.containers.execInspect(execId).exitCode };
    };
    expect(await exec(["sh", "-c", "echo $FROM-$MORE; exit 4"], { Env: ["MORE=exec"] })).toEqual({ out: "image-exec\n", exitCode: 4 });
    expect((await exec(["id", "-u"], { User: "anna" })).out).toBe("1000\n");
    const missing = engine.containers.execCreate(id, { Cmd: ["nope"], AttachStdout: true });
    expect((await failure(engine.containers.execStart(missing, { detach: false }, collector()))).exitCode).toBe(127);
    expect(engine.containers.execInspect(missing).exitCode).toBe(127);
    expect((await failure(engine.containers.execStart(missing, { detach: true }))).kind).toBe("conflict");
    expect(actionsOf(id).slice(2, 5)).toEqual(["exec_create: sh -c echo $FROM-$MORE; exit 4", "exec_start: sh -c echo $FROM-$MORE; exit 4", "exec_die"]);
    await engine.containers.stop(id);
    expect((await failure(Promise.try(() => engine.containers.execCreate(id, { Cmd: ["true"] })))).message).toBe(`container ${id} is not running`);
    await remove(id);
    expect(() => engine.containers.execInspect(missing)).toThrow("No such exec instance");
  });

  test("exec with stdin and with a terminal", async () => {
    const id = await startReady("inner");
    const withStdin = engine.containers.execCreate(id, { Cmd: ["cat"], AttachStdin: true, AttachStdout: true });
    const listener = collector();
    const session = await engine.containers.execStart(withStdin, { detach: false }, listener);
    if (session === undefined) throw new Error("no session");
    await session.io.writeStdin(Buffer.from("through"));
    session.io.closeStdin();
    await session.ended;
    expect(listener.out()).toBe("through");

    // crun starts the program as soon as the terminal is there: its size comes a moment later, and busybox's stty fails without one
    const sized = 'while case "$(stty size 2>/dev/null)" in "0 0" | "") true ;; *) false ;; esac; do sleep 0.01; done; stty size';
    const withTty = engine.containers.execCreate(id, { Cmd: ["sh", "-c", sized], AttachStdout: true, Tty: true });
    const screen = collector();
    await (
      await engine.containers.execStart(withTty, { detach: false, consoleSize: [33, 99] }, screen)
    )?.ended;
    expect(screen.out()).toBe("33 99\r\n");
    await remove(id);
  });

  test("restart keeps the container and tells of it", async () => {
    const id = await startReady("again");
    const first = get(id).state.startedAt;
    await engine.containers.restart(id, { timeoutSeconds: 5 });
    expect(get(id).state.status).toBe("running");
    expect(get(id).state.startedAt).not.toBe(first);
    expect(actionsOf(id)).toEqual(["create", "start", "kill", "die", "stop", "start", "restart"]);
    await remove(id);
    const auto = await startReady("auto-again", { host: { AutoRemove: true } });
    await engine.containers.restart(auto);
    expect(get(auto).state.status).toBe("running");
    await remove(auto);
  });

  test("restart policies", async () => {
    const failing = await start(["sh", "-c", "exit 5"], { host: { RestartPolicy: { Name: "on-failure", MaximumRetryCount: 2 } } });
    await until("it has given up", () => get(failing).restartCount === 2 && get(failing).state.status === "exited");
    expect(get(failing).state.exitCode).toBe(5);
    expect(actionsOf(failing).filter((action) => action === "die").length).toBe(3);
    await remove(failing);

    const always = await start(["true"], { host: { RestartPolicy: { Name: "always" } } });
    await until("it was restarted", () => get(always).restartCount >= 2);
    await until("it waits", () => get(always).state.status === "restarting");
    await engine.containers.stop(always);
    expect(get(always).state.status).toBe("exited");
    const count = get(always).restartCount;
    await Bun.sleep(300);
    expect(get(always).restartCount).toBe(count);
    await remove(always);

    const again = await start(["sh", "-c", "sleep 0.2; exit 5"], { host: { RestartPolicy: { Name: "always" } } });
    const waitBefore = async (restart: number): Promise<bigint> => {
      await until("it runs again", () => get(again).restartCount === restart && get(again).state.status === "running");
      return BigInt(get(again).state.startedAt) - BigInt(get(again).state.finishedAt);
    };
    const grown = await waitBefore(4);
    await engine.containers.restart(again, { timeoutSeconds: 0 });
    expect(await waitBefore(1)).toBeLessThan(grown);
    await remove(again);

    const gone = await start(["false"], { host: { RestartPolicy: { Name: "always" } } });
    await until("it waits", () => get(gone).state.status === "restarting");
    await remove(gone);
  });

  test("--rm removes it and its anonymous volumes", async () => {
    const id = await engine.create(["sh", "-c", "echo x >/data/new"], { host: { AutoRemove: true }, config: { Volumes: { "/data": {} } } });
    const [volume = ""] = get(id).mounts.map((mount) => mount.Name ?? "");
    const { result } = engine.containers.wait(id, "removed");
    await engine.containers.start(id);
    expect((await result).exitCode).toBe(0);
    expect(() => get(id)).toThrow("No such container");
    expect(() => engine.volumes.get(volume)).toThrow("no such volume");
    const failing = await engine.create(["nope"], { host: { AutoRemove: true } });
    await failure(engine.containers.start(failing));
    expect(() => get(failing)).toThrow("No such container");
  });

  test("--rm leaves who asks right after the start the time to read its output, and a user the time to start it again", async () => {
    for (let round = 0; round < 10; round++) {
      const id = await engine.create(["echo", "hi"], { host: { AutoRemove: true } });
      await engine.containers.start(id);
      await until("it has ended", () => get(id).state.status === "exited");
      expect(await logsOf(id)).toContain("hi");
      if (round > 0) continue;
      await engine.containers.start(id);
      const { result } = engine.containers.wait(id, "removed");
      expect((await result).exitCode).toBe(0);
    }
    await until("all are gone", () => engine.containers.list({ all: true }).every(({ host }) => host.AutoRemove !== true));
  });

  test("who reads a log as its container is removed gets all of it", async () => {
    for (let round = 0; round < 10; round++) {
      const id = await start(["sh", "-c", "echo hi; sleep 0.1"]);
      const { result } = engine.containers.wait(id, "not-running");
      await result;
      const { records } = engine.containers.logs(id, { stdout: true, stderr: true, follow: true });
      const text = (async () => {
        let all = "";
        for await (const { data } of records) all += Buffer.from(data).toString("latin1");
        return all;
      })();
      await engine.containers.remove(id);
      expect(await text).toContain("hi");
    }
  });

  test("how a --rm container ended is told to those who ask a moment after it went", async () => {
    const id = await start(["sh", "-c", "exit 4"], { host: { AutoRemove: true } });
    await until("it is gone", () => !engine.containers.list({ all: true }).some((each) => each.id === id));
    for (const condition of ["not-running", "removed"] as const) expect(await engine.containers.wait(id, condition).result).toEqual({ exitCode: 4 });
    expect(() => engine.containers.wait(id, "next-exit")).toThrow("No such container");
    const other = await start(["sleep", "1000"]);
    await engine.containers.remove(other, { force: true });
    expect(() => engine.containers.wait(other, "not-running")).toThrow("No such container");
  });

  test("volumes are filled from the image, owners and all, once", async () => {
    const { id, output } = await run(["sh", "-c", "cat /data/file; ls /other; echo more >/data/file"], {
      config: { Volumes: { "/data": {} } },
      host: { Binds: ["named:/alias", "other:/other", "/data2"] },
    });
    expect(output).toBe("from the image\n");
    const { mountpoint } = engine.volumes.get("named");
    expect(lstatSync(mountpoint)).toMatchObject({ uid: 1000, gid: 1001 });
    expect(lstatSync(join(mountpoint, "file"))).toMatchObject({ uid: 1000, gid: 1001, mode: 0o100640 });
    expect(readlinkSync(join(mountpoint, "link"))).toBe("/etc/passwd");
    expect(existsSync(join(mountpoint, "../_copy"))).toBe(false);
    const anonymous = get(id).mounts.filter((mount) => engine.volumes.get(mount.Name ?? "").anonymous);
    expect(anonymous.map((mount) => mount.Destination).sort()).toEqual(["/data", "/data2"]);
    expect((await failure(engine.volumes.remove("named"))).message).toBe(`remove named: volume is in use - [${id}]`);
    await remove(id);
    for (const { Name } of anonymous) expect(() => engine.volumes.get(Name ?? "")).toThrow("no such volume");

    writeFileSync(join(mountpoint, "file"), "kept\n");
    const again = await run(["cat", "/data/file"], { host: { Mounts: [{ Type: "volume", Source: "named", Target: "/data", ReadOnly: true }] } });
    expect(again.output).toBe("kept\n");
    expect(get(again.id).mounts[0]).toMatchObject({ Type: "volume", Name: "named", Driver: "local", RW: false, Mode: "z" });
    await remove(again.id);
    expect(engine.volumes.get("named").anonymous).toBe(false);
    await engine.volumes.remove("named");
    await engine.volumes.remove("other");
  });

  test("binds, tmpfs, subpaths, volumes of others", async () => {
    const host = join(engine.root, "host");
    mkdirSync(join(host, "dir"), { recursive: true });
    writeFileSync(join(host, "dir/f"), "on the host\n");
    const { id, output } = await run(["sh", "-c", "cat /in/f; touch /in/x 2>/dev/null || echo read-only; grep -c ' /t tmpfs rw' /proc/mounts; ls /made"], {
      host: { Binds: [`${host}/dir:/in:ro`, `${host}/made:/made`], Tmpfs: { "/t": "size=1m" } },
    });
    expect(output).toBe("on the host\nread-only\n1\n");
    expect(existsSync(join(host, "made"))).toBe(true);
    const from = await run(["sh", "-c", "cat /in/f"], { host: { VolumesFrom: [id] } });
    expect(from.output).toBe("on the host\n");
    await remove(from.id);
    await remove(id);

    await engine.volumes.create({ name: "parts" });
    const { mountpoint } = engine.volumes.get("parts");
    mkdirSync(join(mountpoint, "a/b"), { recursive: true });
    writeFileSync(join(mountpoint, "a/b/f"), "deep\n");
    const mount = (Subpath: string) => ({ host: { Mounts: [{ Type: "volume" as const, Source: "parts", Target: "/p", VolumeOptions: { Subpath } }] } });
    const deep = await run(["cat", "/p/f"], mount("a/b"));
    expect(deep.output).toBe("deep\n");
    await remove(deep.id);
    const nowhere = await engine.create(["true"], mount("a/c"));
    expect((await failure(engine.containers.start(nowhere))).kind).toBe("invalidArgument");
    await remove(nowhere);
    await engine.volumes.remove("parts");
    const vanished = await engine.create(["true"], { host: { Mounts: [{ Type: "bind", Source: join(host, "dir"), Target: "/x" }] } });
    rmSync(join(host, "dir"), { recursive: true });
    expect((await failure(engine.containers.start(vanished))).message).toContain("bind source path does not exist");
    await remove(vanished);
  });

  test("volumes with options are mounted while they are used", async () => {
    await engine.volumes.create({ name: "ram", options: { type: "tmpfs", device: "tmpfs", o: "size=1m,nosuid" } });
    const isMounted = (): boolean => readFileSync("/proc/self/mountinfo", "utf8").includes(engine.volumes.get("ram").mountpoint);
    const id = await startReady("ramuser", { host: { Binds: ["ram:/ram"] } });
    expect(isMounted()).toBe(true);
    await engine.containers.stop(id);
    await remove(id);
    expect(isMounted()).toBe(false);
    await engine.volumes.remove("ram");
    expect((await failure(engine.volumes.create({ name: "bad", options: { wat: "1" } }))).message).toBe('create bad: invalid option: "wat"');
  });

  test("logs: follow ends with the run; none can't be read", async () => {
    const id = await start(["sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.05; done"]);
    expect(await text(engine.containers.logs(id, { ...plain, follow: true }).records)).toBe("line 1\nline 2\nline 3\n");
    expect(await text(engine.containers.logs(id, { ...plain, follow: true, tail: 1 }).records)).toBe("line 3\n");
    await remove(id);
    const none = await run(["true"], { host: { LogConfig: { Type: "none" } } }).catch((error: EngineError) => error);
    expect((none as EngineError).message).toBe("configured logging driver does not support reading");
    for (const { id: each } of engine.containers.list({ all: true })) await remove(each);
  });

  test("logs rotate while the container writes, and readers notice nothing", async () => {
    const id = await start(["sh", "-c", "for i in 1 2 3 4; do seq -w $((i * 10000)) $((i * 10000 + 9999)); sleep 0.7; done"], {
      host: { LogConfig: { Config: { "max-size": "200k", "max-file": "100" } } },
    });
    const lines = (await text(engine.containers.logs(id, { ...plain, follow: true }).records)).split("\n").slice(0, -1);
    expect(lines.length).toBe(40000);
    expect(lines).toEqual(Array.from({ length: 40000 }, (_, i) => String(i + 10000)));
    expect(readdirSync(engine.paths.container(id)).filter((name) => name.startsWith("container.log.")).length).toBeGreaterThan(0);
    await remove(id);
  }, 20_000);

  test("top without a process, and by ps", async () => {
    const id = await startReady("busy");
    const table = await engine.containers.top(id, "");
    expect(table.titles).toEqual(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    expect(table.processes[0]?.[7]).toStartWith("sh -c trap");
    const state = get(id).state;
    expect(table.processes[0]?.[1]).toBe(String("pid" in state ? state.pid : 0));
    if (Bun.which("ps") !== null) expect((await engine.containers.top(id, "-o pid,comm")).titles).toEqual(["PID", "COMMAND"]);
    await remove(id);
    const rest = await engine.create(["true"]);
    expect((await failure(engine.containers.top(rest, ""))).kind).toBe("conflict");
    await remove(rest);
  });

  test("update takes effect at once and is checked", async () => {
    const id = await startReady("resized", { host: { Memory: 64 << 20 } });
    await engine.containers.update(id, { Memory: 128 << 20, MemorySwap: 256 << 20, RestartPolicy: { Name: "always" } });
    expect(get(id).host).toMatchObject({ Memory: 128 << 20, RestartPolicy: { Name: "always" } });
    expect((await failure(engine.containers.update(id, { Memory: 5 }))).message).toBe("Minimum memory limit allowed is 6MB");
    await remove(id);
  });

  test("list and its filters", async () => {
    const up = await startReady("listed-up", { config: { Labels: { team: "a", "x.y": "z" }, ExposedPorts: { "80/tcp": {} } } });
    const down = await run(["sh", "-c", "exit 3"], { name: "listed-down", host: { Binds: ["listvol:/v"] } });
    const fresh = await engine.create(["true"], { name: "listed-new" });
    const names = (filters: Record<string, string[]>, more = {}): string[] =>
      engine.containers.list({ all: true, filters, ...more }).map((record) => record.name);
    expect(engine.containers.list().map((record) => record.id)).toEqual([up]);
    expect(names({})).toEqual(["listed-new", "listed-down", "listed-up"]);
    expect(names({}, { limit: 2 })).toEqual(["listed-new", "listed-down"]);
    expect(names({ status: ["exited"] })).toEqual(["listed-down"]);
    expect(names({ status: ["created", "running"] })).toEqual(["listed-new", "listed-up"]);
    expect(names({ exited: ["3"] })).toEqual(["listed-down"]);
    expect(names({ exited: ["0"] })).toEqual([]);
    expect(names({ label: ["team=a", "x.y"] })).toEqual(["listed-up"]);
    expect(names({ label: ["team=b"] })).toEqual([]);
    expect(names({ name: ["^/listed-d"] })).toEqual(["listed-down"]);
    expect(names({ id: [down.id.slice(0, 10)] })).toEqual(["listed-down"]);
    expect(names({ since: ["listed-up"] })).toEqual(["listed-new", "listed-down"]);
    expect(names({ before: [fresh] })).toEqual(["listed-down", "listed-up"]);
    expect(names({ ancestor: ["base"] })).toEqual(["listed-new", "listed-down", "listed-up"]);
    expect(names({ ancestor: ["nope"] })).toEqual([]);
    expect(names({ volume: ["listvol"] })).toEqual(["listed-down"]);
    expect(names({ expose: ["79-81"] })).toEqual(["listed-up"]);
    expect(names({ network: ["none"] }).length).toBe(3);
    expect(() => names({ wat: ["1"] })).toThrow("invalid filter 'wat'");
    expect(() => names({ status: ["wat"] })).toThrow("unrecognised filter value for status: wat");
    expect(() => names({ name: ["(a+)+$"] })).toThrow("too complex");

    expect(engine.containers.usingImage(get(up).imageId).length).toBe(3);
    const pruned = await engine.containers.prune({ "label!": ["team"] });
    expect(pruned.deleted.sort()).toEqual([down.id, fresh].sort());
    expect(get(up).state.status).toBe("running");
    await remove(up);
    await engine.volumes.prune({ all: true });
  });

  test("files of a container at rest and of a running one", async () => {
    const { id } = await run(["sh", "-c", "echo new >/made; mkdir /dir"]);
    expect(await engine.containers.withRootfs(id, async (root) => readFileSync(`${root}/made`, "utf8"))).toBe("new\n");
    expect((await engine.containers.changes(id)).map((change) => `${change.kind} ${change.path}`).sort()).toEqual(["add /dir", "add /made"]);
    const { rw, rootFs } = await engine.containers.sizes(id);
    expect(rw).toBeGreaterThan(0);
    expect(rootFs).toBeGreaterThan(rw);
    // Two readers share one mount; a start waits for both.
    const { promise: hold, resolve: letGo } = Promise.withResolvers<void>();
    const readers = [1, 2].map(() => engine.containers.withRootfs(id, async (root) => (await hold, readFileSync(`${root}/made`, "utf8"))));
    await Bun.sleep(5);
    const again = engine.containers.start(id);
    letGo();
    expect(await Promise.all(readers)).toEqual(["new\n", "new\n"]);
    await again;
    await remove(id);
    const live = await startReady("live");
    expect(await engine.containers.withRootfs(live, async (root) => existsSync(`${root}/bin/busybox`))).toBe(true);
    await remove(live);
  });

  test("who comes while the files of a container at rest are let go has them too, and so has a start", async () => {
    const { id } = await run(["true"]);
    /** Calls `next` so many turns of the event loop after a reader is through. */
    const afterReader = async <T>(turns: number, next: () => Promise<T>): Promise<T> => {
      const { promise, resolve } = Promise.withResolvers<T>();
      const turn = (left: number): unknown => (left === 0 ? resolve(next()) : setImmediate(turn, left - 1));
      await engine.containers.withRootfs(id, async () => void setImmediate(turn, turns));
      return await promise;
    };
    for (let i = 0; i < 40; i++) {
      expect(await afterReader(i, () => engine.containers.withRootfs(id, async (root) => existsSync(`${root}/bin/busybox`)))).toBe(true);
    }
    await afterReader(0, () => engine.containers.start(id));
    await afterReader(0, () => remove(id));
  });

  test("a health check that fails and recovers", async () => {
    const id = await startReady("checked", {
      config: { Healthcheck: { Test: ["CMD-SHELL", "test -e /tmp/ok || { echo missing; exit 1; }"], Interval: 20e6, Retries: 2 } },
    });
    expect(get(id).health?.Status).toBeDefined();
    await until("it is unhealthy", () => get(id).health?.Status === "unhealthy");
    expect(get(id).health?.Log.at(-1)).toMatchObject({ ExitCode: 1, Output: "missing\n" });
    await engine.containers.withRootfs(id, async (root) => writeFileSync(`${root}/tmp/ok`, ""));
    await until("it is healthy", () => get(id).health?.Status === "healthy");
    expect(actionsOf(id).filter((action) => action.startsWith("health_status"))).toEqual(["health_status: unhealthy", "health_status: healthy"]);
    await remove(id);
  });

  test("many at once", async () => {
    const results = await Promise.all(Array.from({ length: 20 }, (_, i) => run(["sh", "-c", `echo ${i}; exit ${i}`])));
    expect(results.map(({ exitCode, output }) => `${exitCode} ${output}`)).toEqual(Array.from({ length: 20 }, (_, i) => `${i} ${i}\n`));
    await Promise.all(results.map(({ id }) => remove(id)));
    expect(engine.containers.list({ all: true })).toEqual([]);
  }, 30_000);
});

describe.skipIf(skipped("root", "overlay"))("an engine that is killed and starts again", () => {
  let before: Set<string>;
  let engine: TestEngine;
  beforeAll(async () => {
    before = kernelState();
    engine = await createEngine();
  });
  afterAll(async () => {
    await engine.close();
    expect(leaksOf(engine, before)).toEqual([]);
  });
  const again = async (): Promise<void> => {
    const { root } = engine;
    await engine.abandon();
    engine = await createEngine({ at: root });
  };
  const logsOf = (id: string): Promise<string> => text(engine.containers.logs(id, plain).records);
  const status = (id: string): string => engine.containers.get(id).state.status;

  test("running and paused ones are adopted; logs are complete; exits meanwhile have their code", async () => {
    const up = await engine.create(running("survivor"), { name: "survivor" });
    const cold = await engine.create(running("cold"), { host: { Binds: ["kept:/kept"] } });
    const ended = await engine.create(["sh", "-c", "while ! test -e /kept/go; do sleep 0.02; done; echo said; exit 9"], { host: { Binds: ["kept:/kept"] } });
    const rest = await engine.create(["true"], { name: "at-rest" });
    for (const id of [up, cold, ended]) await engine.containers.start(id);
    await until("it is ready", async () => (await logsOf(up)).includes("ready"));
    await engine.containers.pause(cold);
    const { mountpoint } = engine.volumes.get("kept");
    const { root } = engine;
    const exitFile = join(engine.paths.container(ended), "exit");
    await engine.abandon();
    writeFileSync(join(mountpoint, "go"), "");
    await until("it has ended", () => existsSync(exitFile));
    engine = await createEngine({ at: root });

    expect([up, cold, rest, ended].map(status)).toEqual(["running", "paused", "created", "exited"]);
    expect(engine.containers.get(ended).state.exitCode).toBe(9);
    expect(await logsOf(ended)).toBe("said\n");
    expect(
      engine.events
        .history({})
        .filter((event) => event.actor === ended)
        .map((event) => event.action),
    ).toEqual(["create", "start", "die"]);
    await engine.containers.unpause(cold);
    const listener = collector();
    using session = engine.containers.attach(up, listener);
    await engine.containers.stop(up);
    await session.ended;
    expect(engine.containers.get(up).state.exitCode).toBe(7);
    for (const id of [up, cold, ended, rest]) await engine.containers.remove(id, { force: true, volumes: true });
    await engine.volumes.remove("kept");
  }, 30_000);

  test("policies and --rm are honoured", async () => {
    const always = await engine.create(running("always"), { host: { RestartPolicy: { Name: "always" } } });
    const unless = await engine.create(running("unless"), { host: { RestartPolicy: { Name: "unless-stopped" } } });
    const auto = await engine.create(["sh", "-c", "exit 3"], { host: { AutoRemove: true } });
    const never = await engine.create(["true"], { host: { AutoRemove: true } });
    for (const id of [always, unless]) {
      await engine.containers.start(id);
      await engine.containers.stop(id, { timeoutSeconds: 0 });
    }
    const running1 = await engine.create(["sh", "-c", "sleep 0.2; exit 3"], { host: { AutoRemove: true } });
    await engine.containers.start(running1);
    const { root } = engine;
    const exitFile = join(engine.paths.container(running1), "exit");
    await engine.abandon();
    await until("it has ended", () => existsSync(exitFile));
    engine = await createEngine({ at: root });
    await until("it runs again", () => status(always) === "running");
    expect(status(unless)).toBe("exited");
    await until("the others are gone", () => engine.containers.list({ all: true }).length === 2);
    for (const id of [auto, never, running1]) expect(() => engine.containers.get(id)).toThrow("No such container");
    for (const id of [always, unless]) await engine.containers.remove(id, { force: true });
  }, 30_000);

  test("creates and removals that were cut short are cleared, and their names are free", async () => {
    const half = await engine.create(["true"], { name: "half", config: { Volumes: { "/v": {} } } });
    const dying = await engine.create(["true"], { name: "dying" });
    const volume = engine.containers.get(half).mounts[0]?.Name ?? "";
    engine.store.db.run("UPDATE containers SET phase = 'intent' WHERE name = 'half'");
    engine.store.db.run("UPDATE containers SET phase = 'deleting', name = NULL WHERE name = 'dying'");
    await again();
    expect(engine.containers.list({ all: true })).toEqual([]);
    for (const id of [half, dying]) expect(existsSync(engine.paths.container(id))).toBe(false);
    expect(() => engine.volumes.get(volume)).toThrow("no such volume");
    await engine.containers.remove(await engine.create(["true"], { name: "half" }));
    await engine.containers.remove(await engine.create(["true"], { name: "dying" }));
  });

  test("a start that never got to its program is as if it had not been", async () => {
    const id = await engine.create(["true"]);
    const { state } = engine.containers.get(id);
    engine.store.db
      .query("UPDATE containers SET state = ? WHERE id = ?")
      .run(JSON.stringify({ state: { ...state, status: "starting", generation: 1 }, restartCount: 0, manuallyStopped: false }), id);
    await again();
    expect(status(id)).toBe("created");
    const { result } = engine.containers.wait(id, "next-exit");
    await engine.containers.start(id);
    expect((await result).exitCode).toBe(0);
    await engine.containers.remove(id);
  });

  test("stopping the engine with stopAll ends them, and unless-stopped comes back", async () => {
    const id = await engine.create(running("comes-back"), { host: { RestartPolicy: { Name: "unless-stopped" } } });
    await engine.containers.start(id);
    await until("it is ready", async () => (await logsOf(id)).includes("ready"));
    await engine.containers.close({ stopAll: true, timeoutSeconds: 5 });
    expect(engine.containers.get(id).state).toMatchObject({ status: "exited", exitCode: 7 });
    await again();
    await until("it runs again", () => status(id) === "running");
    await engine.containers.remove(id, { force: true });
  }, 20_000);

  test("two hundred at rest are restored without touching their files", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 200; i++) ids.push(await engine.create(["true"]));
    // Their directories could not be read: nothing looks.
    for (const id of ids) rmSync(engine.paths.container(id), { recursive: true });
    await again();
    expect(engine.containers.list({ all: true }).length).toBe(200);
    await Promise.all(ids.map((id) => engine.containers.remove(id)));
  }, 60_000);
});
