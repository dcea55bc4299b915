import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isFrozen, pidsIn } from "../../src/kernel/cgroup.ts";
import { signalProcess } from "../../src/kernel/pidfd.ts";
import { argumentsOf, startTimeOf, zombieExitCode } from "../../src/kernel/process.ts";
import type { EngineError } from "../../src/lib/errors.ts";
import { commandKind } from "../../src/sandbox/command.ts";
import { execFiles } from "../../src/sandbox/exec.ts";
import type { ExecSpec, RunningSandbox, SandboxSpec } from "../../src/sandbox/types.ts";
import { kernelState, leaks } from "../leaks.ts";
import { countRounds } from "../rounds.ts";
import { skipped } from "../skips.ts";
import { collect, createFixture, logText, type Fixture } from "./sandbox-fixture.ts";

const exec = (args: string[], more: Partial<ExecSpec> = {}): ExecSpec => ({
  args,
  env: [],
  cwd: "",
  user: "",
  tty: false,
  privileged: false,
  attachStdin: false,
  attachStdout: true,
  attachStderr: true,
  ...more,
});

const silent = { attachStdout: false, attachStderr: false };

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (condition()) return;
    await Bun.sleep(5);
  }
  throw new Error(`never: ${what}`);
}

/** How often the most frequent of some rounds is there. */
function mostInARound(rounds: readonly number[]): number {
  return Math.max(
    ...Map.groupBy(rounds, (round) => round)
      .values()
      .map(({ length }) => length),
  );
}

/** Ended processes that nobody has reaped, and that are ours to reap. */
function zombies(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && zombieExitCode(Number(name)) !== undefined && parentOf(name) === process.pid);
}

function parentOf(pid: string): number {
  return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
}

// crun by its fast path, and any runtime by its commands alone
describe.skipIf(skipped("root", "overlay")).each(["crun", "runc"])("sandbox on %s", (runtime) => {
  let before: Set<string>;
  let fixture: Fixture;
  beforeAll(async () => {
    before = kernelState();
    fixture = await createFixture({ runtime });
  });
  afterAll(async () => {
    await fixture.close();
    expect(left(before)).toEqual([]);
  });

  /** What is new since `at` and ours: other engines may be at work on this machine. */
  function left(at: Set<string>): string[] {
    return leaks(at, kernelState()).filter((line) => {
      const pid = /^process (\d+)/.exec(line)?.[1];
      return pid === undefined ? line.includes(fixture.key) || line.includes(fixture.root) : argumentsOf(Number(pid)).join(" ").includes(fixture.root);
    });
  }

  async function start(spec: SandboxSpec): Promise<RunningSandbox> {
    const created = await fixture.sandboxes.create(spec);
    return created.start();
  }
  async function run(spec: SandboxSpec): Promise<{ exitCode: number; oomKilled: boolean; text: string }> {
    const running = await start(spec);
    const { exitCode, oomKilled } = await running.exited;
    await running.cleanup();
    return { exitCode, oomKilled, text: logText(spec) };
  }
  async function failure(promise: Promise<unknown>): Promise<EngineError> {
    try {
      await promise;
    } catch (error) {
      return error as EngineError;
    }
    throw new Error("it did not fail");
  }

  test("output goes to the log and the exit code comes back", async () => {
    const { exitCode, text } = await run(fixture.spec(["sh", "-c", "echo out; echo err >&2; exit 42"]));
    expect(exitCode).toBe(42);
    expect(text.split("\n").sort()).toEqual(["err", "out"]);
  });

  test("a signal gives 128 + its number", async () => {
    const spec = fixture.spec(["sleep", "1000"]);
    const running = await start(spec);
    running.signal(9);
    expect((await running.exited).exitCode).toBe(137);
    await running.cleanup();
    expect(() => running.signal(9)).toThrow("is not running");
    expect(existsSync(fixture.paths.bundle(spec.id))).toBe(false);
  });

  test("a program that is missing or not executable", async () => {
    const missing = await failure(fixture.sandboxes.create(fixture.spec(["nope"])));
    expect([missing.kind, missing.exitCode]).toEqual(["invalidArgument", 127]);
    expect(missing.message).toContain('exec: "nope": executable file not found in $PATH');
    const absolute = await failure(fixture.sandboxes.create(fixture.spec(["/bin/nope"])));
    expect(absolute.exitCode).toBe(127);
    expect(absolute.message).toContain("no such file or directory");
    for (const program of ["/bin/noexec", "/etc"]) {
      const refused = await failure(fixture.sandboxes.create(fixture.spec([program])));
      expect(refused.exitCode).toBe(126);
      expect(refused.message).toContain("permission denied");
    }
  });

  test("a failed or dropped create leaves nothing", async () => {
    const at = kernelState();
    await failure(fixture.sandboxes.create(fixture.spec(["nope"])));
    const created = await fixture.sandboxes.create(fixture.spec(["true"]));
    await created[Symbol.asyncDispose]();
    const aborted = new AbortController();
    aborted.abort();
    expect((await failure(fixture.sandboxes.create(fixture.spec(["true"]), { signal: aborted.signal }))).kind).toBe("cancelled");
    await failure(fixture.sandboxes.create(fixture.spec(["true"], { host: { CapAdd: ["NO_SUCH"] } })));
    expect(left(at)).toEqual([]);
    expect(readdirSync(fixture.paths.exits)).toEqual([]);
  });

  test("stdin is echoed, its end reaches the program, output after it still comes", async () => {
    const spec = fixture.spec(["sh", "-c", "cat; echo after"], { config: { OpenStdin: true, StdinOnce: true } });
    const created = await fixture.sandboxes.create(spec, { attach: true });
    const output = collect(created.io);
    const running = await created.start();
    const big = "0123456789abcdef".repeat(16_384);
    await running.io.writeStdin(Buffer.from(big));
    running.io.closeStdin();
    expect((await running.exited).exitCode).toBe(0);
    await output.ended;
    expect(output.out()).toBe(`${big}after\n`);
    await running.cleanup();
  });

  test("an attacher sees the first byte, both streams apart, and the end", async () => {
    const created = await fixture.sandboxes.create(fixture.spec(["sh", "-c", "echo a; echo b >&2"]), { attach: true });
    const output = collect(created.io);
    const running = await created.start();
    await running.exited;
    await output.ended;
    expect([output.out(), output.err()]).toEqual(["a\n", "b\n"]);
    const late = collect(running.io);
    await late.ended;
    await running.cleanup();
  });

  test("a terminal, its first size and a resize", async () => {
    const spec = fixture.spec(["sh", "-c", "stty size; trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.05; done"], {
      config: { Tty: true, OpenStdin: true },
      host: { ConsoleSize: [11, 22] },
    });
    const created = await fixture.sandboxes.create(spec, { attach: true });
    const output = collect(created.io);
    const running = await created.start();
    await output.until("ready");
    await running.resize(33, 44);
    expect((await running.exited).exitCode).toBe(7);
    expect(output.out()).toBe("11 22\r\nready\r\n33 44\r\n");
    await running.cleanup();
  });

  test("the terminal is resized whatever init has in its place", async () => {
    const script = "exec 0<&-; trap 'stty size </dev/tty; exit 7' WINCH; echo ready; while :; do sleep 0.05; done";
    const created = await fixture.sandboxes.create(fixture.spec(["sh", "-c", script], { config: { Tty: true } }), { attach: true });
    const output = collect(created.io);
    const running = await created.start();
    await output.until("ready");
    await running.resize(33, 44);
    expect((await running.exited).exitCode).toBe(7);
    expect(output.out()).toBe("ready\r\n33 44\r\n");
    await running.cleanup();
    const plain = await start(fixture.spec(["sleep", "1000"]));
    await plain.resize(33, 44);
    plain.signal(9);
    await plain.exited;
    await plain.cleanup();
  });

  test("exec: output, exit code, stdin with its end, environment, user, missing programs", async () => {
    const running = await start(fixture.spec(["sleep", "1000"], { more: { env: ["PATH=/bin", "FROM=container"] } }));
    const plain = await running.exec(exec(["sh", "-c", "echo $FROM $MORE; echo e >&2; exit 5"], { env: ["MORE=exec"] }));
    const output = collect(plain.io);
    expect(await plain.exited).toBe(5);
    expect([output.out(), output.err()]).toEqual(["container exec\n", "e\n"]);

    const cat = await running.exec(exec(["cat"], { attachStdin: true }));
    const echoed = collect(cat.io);
    const big = "x".repeat(300_000);
    await cat.io.writeStdin(Buffer.from(big));
    cat.io.closeStdin();
    expect(await cat.exited).toBe(0);
    expect(echoed.out()).toBe(big);

    const id = await running.exec(exec(["id"], { user: "anna" }));
    const who = collect(id.io);
    await id.exited;
    expect(who.out()).toBe("uid=1000(anna) gid=1001(anna) groups=10(wheel),1001(anna)\n");

    // nothing of ours is open in there
    const fds = await running.exec(exec(["ls", "/proc/self/fd"]));
    const listed = collect(fds.io);
    await fds.exited;
    expect(listed.out()).toBe("0\n1\n2\n3\n");

    for (const [args, code, text] of [
      [["nope"], 127, "executable file not found in $PATH"],
      [["/bin/nope"], 127, "no such file or directory"],
      [["/bin/noexec"], 126, "permission denied"],
      [["/etc"], 126, "permission denied"],
    ] as const) {
      const error = await failure(running.exec(exec([...args])));
      expect([args[0], error.exitCode]).toEqual([args[0], code]);
      expect(error.message).toContain(text);
    }
    running.signal(9);
    await running.exited;
    await running.cleanup();
    for (const tty of [false, true]) {
      const refused = failure(running.exec(exec(["id"], { tty })));
      expect((await refused).kind).toBe("conflict");
    }
    expect(
      (await failure(running.command({ args: ["id"], user: "", cwd: "" }, { timeoutMs: 1000, outputLimit: 100, signal: AbortSignal.timeout(5000) }))).kind,
    ).toBe("conflict");
  });

  // runc copies the output itself and waits for its end
  if (runtime === "crun") {
    test("exec: a child that keeps the output open does not hold the exec", async () => {
      const running = await start(fixture.spec(["sleep", "1000"]));
      const left = await running.exec(exec(["sh", "-c", "sleep 1000 & echo done"]));
      const output = collect(left.io);
      expect(await left.exited).toBe(0);
      await output.ended;
      expect(output.out()).toBe("done\n");
      running.signal(9);
      await running.exited;
      await running.cleanup();
    });
  }

  test("exec: a terminal with size, resize and input", async () => {
    const running = await start(fixture.spec(["sleep", "1000"]));
    // crun 1.8 starts the program before anyone can set the size: it comes a moment later
    const sized = (size: string): string => `while [ "$(stty size 2>/dev/null)" != "${size}" ]; do :; done; echo is ${size}`;
    const script = `stty -echo; ${sized("10 20")}; ${sized("30 40")}; read x; echo got $x $TERM; exit 9`;
    const shell = await running.exec(exec(["sh", "-c", script], { tty: true, attachStdin: true, consoleSize: { rows: 10, cols: 20 } }));
    const output = collect(shell.io);
    await output.until("is 10 20");
    shell.resize(30, 40);
    await shell.io.writeStdin(Buffer.from("word\n"));
    expect(await shell.exited).toBe(9);
    await output.ended;
    expect(output.out()).toBe("is 10 20\r\nis 30 40\r\ngot word xterm\r\n");
    const missing = await failure(running.exec(exec(["nope"], { tty: true })));
    expect(missing.exitCode).toBe(127);
    running.signal(9);
    await running.exited;
    await running.cleanup();
  });

  test("ends that come together are told a few at a time", async () => {
    const all = await Promise.all(Array.from({ length: 9 }, () => start(fixture.spec(["sleep", "1000"]))));
    using rounds = countRounds();
    const told = all.map((running) => running.exited.then(() => rounds.count));
    for (const running of all) running.signal(9);
    // until all their monitors have ended
    Bun.sleepSync(500);
    expect(mostInARound(await Promise.all(told))).toBeLessThanOrEqual(4);
    for (const running of all) await running.cleanup();
  });

  test("what it uses is read in turns with everything else, however many ask, and not once it is gone", async () => {
    const spec = fixture.spec(["sh", "-c", "echo ready; exec sleep 1000"]);
    const running = await start(spec);
    // runc's start is over before its threads have become the program
    await until("the program runs", () => logText(spec) !== "");
    using rounds = countRounds();
    const read = await Promise.all(Array.from({ length: 12 }, () => running.stats().then((sample) => [sample?.pids.current, rounds.count])));
    expect(read.map(([pids]) => pids)).toEqual(Array.from({ length: 12 }, () => 1));
    expect(mostInARound(read.map(([, round]) => round!))).toBeLessThanOrEqual(4);
    running.signal(9);
    await running.exited;
    await running.cleanup();
    expect(await running.stats()).toBeUndefined();
  });

  test("pause and resume", async () => {
    const spec = fixture.spec(["sh", "-c", "while :; do echo tick; sleep 0.01; done"]);
    const running = await start(spec);
    const cgroup = `${fixture.runtime.cgroupParent}/${spec.id}`;
    await running.pause();
    expect(isFrozen(fixture.runtime.cgroups, cgroup)).toBe(true);
    const size = readFileSync(spec.logPath!).length;
    await Bun.sleep(50);
    const later = readFileSync(spec.logPath!).length;
    await running.resume();
    await until("it goes on", () => readFileSync(spec.logPath!).length > later);
    // conmon may have had one read still to write when the freeze was done
    expect(later - size).toBeLessThan(120);
    expect((await running.pids()).length).toBeGreaterThan(0);
    running.signal(9);
    await running.exited;
    await running.cleanup();
    expect(pidsIn(fixture.runtime.cgroups, cgroup)).toEqual([]);
  });

  test("the memory limit kills, and it is told", async () => {
    const spec = fixture.spec(["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"], { host: { Memory: 16 << 20 } });
    const { exitCode, oomKilled } = await run(spec);
    expect([exitCode, oomKilled]).toEqual([137, true]);
    expect((await run(fixture.spec(["false"], { host: { Memory: 16 << 20 } }))).oomKilled).toBe(false);
  });

  test("the limit of processes holds", async () => {
    const spec = fixture.spec(["sh", "-c", "for i in $(seq 40); do sleep 1000 & done; wait"], { host: { PidsLimit: 20 } });
    const { exitCode, text } = await run(spec);
    expect(exitCode).not.toBe(0);
    expect(text).toContain("can't fork");
  });

  test("limits change while it runs", async () => {
    const running = await start(fixture.spec(["sleep", "1000"], { host: { PidsLimit: 20 } }));
    await running.update({ PidsLimit: 50, Memory: 64 << 20, MemorySwap: 128 << 20 });
    const many = await running.exec(exec(["sh", "-c", "for i in $(seq 40); do sleep 1000 >/dev/null 2>&1 & done; echo fine"]));
    const output = collect(many.io);
    await many.exited;
    expect(output.out()).toBe("fine\n");
    running.signal(9);
    await running.exited;
    await running.cleanup();
  });

  test("isolation: refused calls answer EPERM, paths are masked, capabilities and user are Docker's", async () => {
    const script = [
      "unshare -m true 2>&1; mount -t tmpfs x /tmp 2>&1; head -c1 /proc/kcore 2>/dev/null | wc -c; touch /proc/sys/kernel/x 2>&1",
      "grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; id; pwd; hostname; ls -A /sys/firmware; cat /etc/resolv.conf",
    ].join("; ");
    const { text } = await run(fixture.spec(["sh", "-c", script], { config: { WorkingDir: "/made/here", Hostname: "box" } }));
    expect(text).toMatch(/unshare.*Operation not permitted/);
    expect(text).toMatch(/mount.*(permission denied|not permitted)/i);
    expect(text).toContain("\n0\n");
    expect(text).toMatch(/CapEff:\s*00000000a80425fb/);
    expect(text).toMatch(/Seccomp:\s*2/);
    expect(text).toContain("uid=0(root) gid=0(root) groups=0(root),10(wheel)");
    expect(text).toContain("\n/made/here\nbox\n");
    expect(text).toContain("nameserver 192.0.2.1");
  });

  test("the compiled filter refuses what the profile refuses", async () => {
    const profile = (calls: string[]): string =>
      JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: calls, action: "SCMP_ACT_ERRNO", errnoRet: 95 }] });
    const spec = (): SandboxSpec => fixture.spec(["mkdir", "/tmp/x"], { host: { SecurityOpt: [`seccomp=${profile(["mkdir", "mkdirat"])}`] } });
    const [first, second] = [await run(spec()), await run(spec())];
    expect(first.text).toMatch(/not supported/);
    expect(second.text).toBe(first.text);
    expect((await run(fixture.spec(["mkdir", "/tmp/x"], { host: { SecurityOpt: ["seccomp=unconfined"] } }))).exitCode).toBe(0);
  });

  test("privileged has all of the engine's capabilities, no filter and the host's devices", async () => {
    const own = /CapBnd:\s*([0-9a-f]+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    const { exitCode, text } = await run(
      fixture.spec(["sh", "-c", "grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs x /tmp && ls /dev/kmsg"], { host: { Privileged: true } }),
    );
    expect(exitCode).toBe(0);
    expect(text).toContain(`CapEff:\t${own}`);
    expect(text).toMatch(/Seccomp:\s*0/);
    expect(text).toContain("/dev/kmsg");
  });

  test("mounts: bind, read-only bind, tmpfs, read-only root, shared memory", async () => {
    const more: Partial<SandboxSpec> = {
      mounts: [
        { type: "bind", source: fixture.paths.dataRoot, destination: "/deep/ro", readOnly: true, options: [] },
        { type: "tmpfs", source: "", destination: "/scratch", readOnly: false, options: ["size=1m", "mode=1777"] },
      ],
    };
    const script = "touch /deep/ro/x 2>&1; touch /x 2>&1; touch /scratch/x && echo scratch; grep -E ' (/scratch|/dev/shm) ' /proc/mounts";
    const { text } = await run(fixture.spec(["sh", "-c", script], { host: { ReadonlyRootfs: true, ShmSize: 2 << 20 }, more }));
    expect(text).toContain("touch: /deep/ro/x: Read-only file system");
    expect(text).toContain("touch: /x: Read-only file system");
    expect(text).toContain("scratch\n");
    expect(text).toMatch(/\/scratch tmpfs rw,nosuid,nodev,noexec.*size=1024k/);
    expect(text).toMatch(/\/dev\/shm tmpfs .*size=2048k/);
  });

  test("a tmpfs is everybody's unless told, but for what hides a directory of the image", async () => {
    const tmpfs = (destination: string, ...options: string[]): SandboxSpec["mounts"][number] => ({
      type: "tmpfs",
      source: "",
      destination,
      readOnly: false,
      options,
    });
    const mounts = [tmpfs("/plain"), tmpfs("/told", "mode=700"), tmpfs("/etc"), tmpfs("/plain/a/b/c")];
    const { text } = await run(fixture.spec(["busybox", "stat", "-c", "%a", "/plain", "/told", "/etc", "/plain/a", "/plain/a/b"], { more: { mounts } }));
    expect(text).toBe("1777\n700\n755\n755\n755");
  });

  test("no log driver: no log, and output still reaches an attacher", async () => {
    const created = await fixture.sandboxes.create(fixture.spec(["echo", "seen"], { more: { logPath: undefined } }), { attach: true });
    const output = collect(created.io);
    const running = await created.start();
    expect((await running.exited).exitCode).toBe(0);
    await output.ended;
    expect(output.out()).toBe("seen\n");
    await running.cleanup();
  });

  test("ipc: a shareable container's shared memory is seen by one that joins it", async () => {
    const owner = await start(fixture.spec(["sh", "-c", "echo shared >/dev/shm/x; sleep 1000"], { host: { IpcMode: "shareable" } }));
    const check = await owner.exec(exec(["sh", "-c", "while ! [ -s /dev/shm/x ]; do sleep 0.01; done"], silent));
    await check.exited;
    const joined = fixture.spec(["cat", "/dev/shm/x"], {
      host: { IpcMode: `container:${owner.id}`, PidMode: `container:${owner.id}` },
      more: { joined: { ipc: owner.pid, pid: owner.pid } },
    });
    expect((await run(joined)).text).toBe("shared");
    owner.signal(9);
    await owner.exited;
    await owner.cleanup();
  });

  test("the monitor killed: the container goes on, and the kernel tells its exit code", async () => {
    const spec = fixture.spec(["sh", "-c", "trap 'exit 23' TERM; echo ready; while :; do sleep 0.02; done"]);
    const running = await start(spec);
    await until("it is ready", () => logText(spec) === "ready");
    const { monitorPid } = JSON.parse(readFileSync(`${fixture.paths.bundle(spec.id)}/state.json`, "utf8")) as { monitorPid: number };
    expect(argumentsOf(monitorPid)[0]).toContain("conmon");
    signalProcess(monitorPid, 9);
    await until("conmon is gone", () => startTimeOf(monitorPid) === undefined);
    expect(startTimeOf(running.pid)).toBeDefined();
    running.signal(15);
    const status = await running.exited;
    // kernels before 6.15 don't tell: then 255 with an error
    if (status.error === undefined) expect(status.exitCode).toBe(23);
    else expect(status.exitCode).toBe(255);
    await running.cleanup();
  });

  test("orphans don't stay: what a failed exec leaves behind would hold the container's end up", async () => {
    const running = await start(fixture.spec(["sleep", "1000"]));
    await failure(running.exec(exec(["nope"])));
    const orphan = Bun.spawn(["sh", "-c", "sleep 0.05 & echo $!"], { stdio: ["ignore", "pipe", "ignore"] });
    const pid = Number(await new Response(orphan.stdout).text());
    await until("the orphan is reaped", () => !existsSync(`/proc/${pid}`));
    running.signal(9);
    expect((await running.exited).exitCode).toBe(137);
    expect(zombies()).toEqual([]);
    await running.cleanup();
  });

  test("50 containers, 10 at a time", async () => {
    const at = kernelState();
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < 50) {
        const code = next++ % 256;
        expect((await run(fixture.spec(["sh", "-c", `exit ${code}`]))).exitCode).toBe(code);
      }
    };
    await Promise.all(Array.from({ length: 10 }, worker));
    expect(left(at)).toEqual([]);
  });

  describe("the engine killed with SIGKILL", () => {
    async function killedEngine(mode: "start" | "create", ...args: string[]): Promise<{ spec: SandboxSpec; pid: number }> {
      const engine = Bun.spawn([process.execPath, `${import.meta.dir}/sandbox-engine.ts`, fixture.root, runtime, mode, ...args], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let text = "";
      for await (const chunk of engine.stdout) {
        text += Buffer.from(chunk).toString();
        if (text.includes("\n")) break;
      }
      engine.kill(9);
      await engine.exited;
      return JSON.parse(text) as { spec: SandboxSpec; pid: number };
    }

    test("a running container is adopted: log, attach, exec and exit code", async () => {
      const { spec, pid } = await killedEngine("start", "sh", "-c", "i=0; while ! [ -e /tmp/stop ]; do echo line; sleep 0.02; done; exit 31");
      const adopted = await fixture.sandboxes.adopt(spec, 1n);
      if (!("running" in adopted)) throw new Error(JSON.stringify(adopted));
      const { running } = adopted;
      expect(running.pid).toBe(pid);
      await collect(running.io).until("line");
      await (
        await running.exec(exec(["touch", "/tmp/stop"], silent))
      ).exited;
      expect((await running.exited).exitCode).toBe(31);
      await running.cleanup();
    });

    test("files of execs that were being started go when their container is adopted: they hold its variables", async () => {
      const { spec } = await killedEngine("start", "sleep", "1000");
      const bundle = fixture.paths.bundle(spec.id);
      const before = readdirSync(bundle);
      for (const { process, log, pid } of [execFiles(bundle), execFiles(bundle, commandKind)]) for (const file of [process, log, pid]) writeFileSync(file, "");
      writeFileSync(`${bundle}/${execFiles(bundle).name}.tty`, "");
      const adopted = await fixture.sandboxes.adopt(spec, 1n);
      if (!("running" in adopted)) throw new Error(JSON.stringify(adopted));
      expect(readdirSync(bundle)).toEqual(before);
      adopted.running.signal(9);
      await adopted.running.exited;
      await adopted.running.cleanup();
    });

    test("one that ended meanwhile gives its exit code", async () => {
      const { spec, pid } = await killedEngine("start", "sh", "-c", "sleep 0.2; echo last; exit 12");
      await until("the container ends", () => startTimeOf(pid) === undefined);
      const adopted = await fixture.sandboxes.adopt(spec, 1n);
      if (!("exited" in adopted)) throw new Error(JSON.stringify(adopted));
      expect(adopted.exited.exitCode).toBe(12);
      expect(logText(spec)).toBe("last");
      expect(existsSync(fixture.paths.bundle(spec.id))).toBe(false);
    });

    test("one that was created and not started is deleted", async () => {
      const { spec, pid } = await killedEngine("create", "sleep", "1000");
      expect(await fixture.sandboxes.adopt(spec, 0n)).toEqual({ neverStarted: true });
      expect(startTimeOf(pid)).toBeUndefined();
    });

    test("nor has one a code whose deletion was cut short by the engine's second death", async () => {
      const { spec, pid } = await killedEngine("create", "sleep", "1000");
      rmSync(`${fixture.paths.bundle(spec.id)}/state.json`);
      process.kill(pid, "SIGKILL");
      await until("the monitor writes an exit code", () => existsSync(`${fixture.paths.exits}/${spec.id}`));
      expect(await fixture.sandboxes.adopt(spec, 0n)).toEqual({ neverStarted: true });
    });

    test("another engine's monitors are let be, though its run root has the same name in a mount namespace of its own", async () => {
      const theirs = `${fixture.paths.bundles}/${"a".repeat(64)}/ctl`;
      const script = 'mount -t tmpfs tmpfs "$1" && mkdir -p "$2" && echo ready && exec -a conmon sh -c "read line" sh "$2"';
      const monitor = Bun.spawn(["unshare", "--mount", "--propagation", "private", "bash", "-c", script, "bash", fixture.paths.bundles, theirs], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      try {
        await monitor.stdout.getReader().read();
        await until("it has the arguments of a monitor", () => argumentsOf(monitor.pid)[0] === "conmon");
        await fixture.sandboxes.sweep(new Set());
        expect(startTimeOf(monitor.pid)).toBeDefined();
      } finally {
        monitor.kill("SIGKILL");
        await monitor.exited;
      }
    });

    test("what nobody knows is swept away", async () => {
      const at = kernelState();
      const { spec, pid } = await killedEngine("start", "sleep", "1000");
      await fixture.sandboxes.sweep(new Set());
      await until("its processes end", () => startTimeOf(pid) === undefined);
      expect(existsSync(fixture.paths.bundle(spec.id))).toBe(false);
      await until("its monitor ends", () => left(at).length === 0);
    });
  });
});
