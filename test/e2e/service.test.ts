import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { activatedSocket, notifySocket } from "../unix-sockets.ts";
import { skipped } from "../skips.ts";
import { berth, Engine, run, until, type Output } from "./harness.ts";

const certificates = resolve(import.meta.dir, "../fixtures/tls");
const needs = skipped("root", "overlay", "docker");

/** A place of its own for a test's files. */
function scratch(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "berth-service-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

describe("berthd --validate", () => {
  const validate = async (text: string, ...flags: string[]): Promise<Output & { file: string }> => {
    using folder = scratch();
    const file = join(folder.path, "daemon.json");
    writeFileSync(file, text);
    return { ...(await run([berth, "daemon", "--validate", "--config-file", file, ...flags])), file };
  };

  test("says so where all is well", async () => {
    expect(await validate('{"labels": ["a=b"], "log-level": "warn"}')).toMatchObject({ code: 0, stdout: "configuration OK\n", stderr: "" });
  });

  test.skipIf(skipped("root"))("needs no root for it", async () => {
    expect(
      await run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", berth, "daemon", "--validate", "--config-file", "/dev/null"]),
    ).toMatchObject({
      code: 0,
      stdout: "configuration OK\n",
    });
  });

  test.each([
    ['{"labels": ["a=b"]', [], "invalid JSON"],
    ['{"unheard-of": 1}', [], "the following directives don't match any configuration option: unheard-of"],
    [
      '{"debug": true}',
      ["--debug"],
      "the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: true)",
    ],
    ['{"hosts": ["tcp://127.0.0.1"], "tlsverify": true, "tlscert": "/nowhere/c.pem"}', [], "TLS needs --tlscert FILE"],
    ['{"hosts": ["smoke://x"]}', [], "want unix://PATH"],
    ['{"group": "no-such-group-here"}', [], "groupadd no-such-group-here"],
  ])("%s with %j is refused", async (text, flags, message) => {
    const { code, stdout, stderr } = await validate(text, ...flags);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toStartWith("berthd: ");
    expect(stderr).toContain(message);
  });
});

describe.skipIf(needs)("an engine under a service manager", () => {
  test("reads its settings again at SIGHUP, tells clients and the manager, and keeps the old ones where the new are broken", async () => {
    using folder = scratch();
    const file = join(folder.path, "daemon.json");
    writeFileSync(file, '{"labels": ["a=1"], "log-format": "json"}');
    mkdirSync(`${file}.d`);
    writeFileSync(`${file}.d/10.json`, '{"labels": ["b=2"], "registry-mirrors": ["http://127.0.0.1:9"]}');
    using socket = notifySocket(join(folder.path, "notify"));
    await using engine = await Engine.start(["--config-file", file], undefined, { env: { NOTIFY_SOCKET: join(folder.path, "notify") } });
    expect(await until("the engine is ready", () => socket.read()[0])).toBe("READY=1\nSTATUS=Serving the Engine API");
    expect(JSON.parse(await engine.ok("info", "--format", "{{json .}}"))).toMatchObject({
      Labels: ["a=1", "b=2"],
      RegistryConfig: { Mirrors: ["http://127.0.0.1:9/"] },
    });
    for (const line of engine.log().trim().split("\n"))
      expect(JSON.parse(line)).toMatchObject({ time: expect.any(String), level: expect.any(String), msg: expect.any(String) });

    const reload = async (text: string): Promise<string[]> => {
      writeFileSync(file, text);
      process.kill(engine.pid, "SIGHUP");
      const told: string[] = [];
      await until("the reload is told", () => {
        told.push(...socket.read());
        return told.some((message) => message.startsWith("READY=1"));
      });
      return told;
    };
    const since = Date.now() / 1000;
    const told = await reload(
      '{"labels": ["a=9"], "insecure-registries": ["r.example:5000"], "shutdown-timeout": 3, "live-restore": false, "bip": "10.9.0.1/24"}',
    );
    expect(told[0]).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    expect(JSON.parse(await engine.ok("info", "--format", "{{json .}}"))).toMatchObject({
      Labels: ["a=9", "b=2"],
      LiveRestoreEnabled: false,
      RegistryConfig: { IndexConfigs: { "r.example:5000": { Secure: false } } },
    });
    expect(engine.log()).toContain('level=warn msg="some changed settings need a restart of the engine" settings=bip');
    const events = await engine.ok("events", "--since", String(since), "--until", String(Date.now() / 1000 + 1), "--format", "{{json .}}");
    expect(events.split("\n").map((line) => JSON.parse(line) as object)).toMatchObject([
      {
        Type: "daemon",
        Action: "reload",
        Actor: {
          ID: await engine.ok("info", "--format", "{{.ID}}"),
          Attributes: { labels: '["a=9","b=2"]', "insecure-registries": '["r.example:5000"]', "live-restore": "false", "shutdown-timeout": "3", debug: "true" },
        },
      },
    ]);

    await reload('{"labels": ["broken"');
    await reload('{"default-runtime": "no-such-runtime", "labels": ["a=10"]}');
    expect(await engine.ok("info", "--format", "{{.Labels}}")).toBe("[a=9 b=2]");
    expect(engine.log().match(/settings not reloaded; the old ones stay/g)?.length).toBe(2);
    expect(engine.log()).toContain("no-such-runtime");
    // such a file keeps an engine from starting, and nothing stays behind
    expect(await engine.stop()).toBe(0);
    expect(socket.read()).toEqual(["STOPPING=1\nSTATUS=Stopping\nEXTEND_TIMEOUT_USEC=33000000"]);
    await expect(engine.start()).rejects.toThrow("no-such-runtime");
    writeFileSync(file, "{}");
  });
});

describe.skipIf(needs)("defaults of containers", () => {
  test("come from the settings, a container's own go before them", async () => {
    using folder = scratch();
    const file = join(folder.path, "daemon.json");
    const settings = {
      "default-shm-size": "32M",
      "default-ipc-mode": "shareable",
      "no-new-privileges": true,
      "seccomp-profile": "unconfined",
      "default-stop-timeout": 0,
      "host-gateway-ips": ["10.9.8.7", "fd00::9"],
    };
    writeFileSync(file, JSON.stringify(settings));
    await using engine = await Engine.start(["--config-file", file]);
    await engine.importBusybox();
    const status = async (...args: string[]): Promise<string> =>
      await engine.ok(
        "run",
        "--rm",
        ...args,
        "busybox",
        "sh",
        "-c",
        "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\n\\t'; df -k /dev/shm | tail -1 | awk '{print $2}'",
      );
    expect(await status()).toBe("NoNewPrivs:1Seccomp:032768");
    expect(await status("--shm-size", "1m", "--security-opt", "no-new-privileges=false", "--security-opt", "seccomp=builtin")).toBe(
      "NoNewPrivs:0Seccomp:21024",
    );
    const gates = ["--add-host", "gate:host-gateway", "--add-host", "other:1.2.3.4"];
    expect(await engine.ok("run", "--rm", ...gates, "busybox", "grep", "-E", "gate|other", "/etc/hosts")).toBe("10.9.8.7\tgate\nfd00::9\tgate\n1.2.3.4\tother");
    expect(await engine.ok("info", "--format", "{{.SecurityOptions}}")).toContain("name=seccomp,profile=unconfined");
    await engine.ok("run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done");
    expect(await engine.ok("inspect", "--format", "{{.HostConfig.ShmSize}} {{.HostConfig.IpcMode}} {{.HostConfig.SecurityOpt}}", "deaf")).toBe(
      "33554432 shareable []",
    );
    // no patience at all, so that this ends at once
    await engine.ok("stop", "deaf");
    expect(await engine.ok("inspect", "--format", "{{.State.ExitCode}}", "deaf")).toBe("137");
  });
});

describe.skipIf(needs)("an administrator's own", () => {
  test("init is what --init runs, by path or by name, and info names it", async () => {
    using folder = scratch();
    const init = join(folder.path, "own-init");
    writeFileSync(init, '#!/bin/sh\necho "own init: $0 $1"\nshift\nexec "$@"\n', { mode: 0o755 });
    const file = join(folder.path, "daemon.json");
    writeFileSync(file, JSON.stringify({ "init-path": init }));
    await using engine = await Engine.start(["--config-file", file]);
    await engine.importBusybox();
    expect(await engine.ok("run", "--rm", "--init", "busybox", "echo", "up")).toBe("own init: /sbin/docker-init --\nup");
    expect(await engine.ok("info", "--format", "{{.InitBinary}}")).toBe(init);
    await engine.stop();
    writeFileSync(file, '{"init-path": "own-init"}');
    await engine.start();
    const refused = await engine.docker(["run", "--rm", "--init", "busybox", "echo", "up"]);
    expect(refused.stderr).toContain("--init needs the program that --init-path names, and the host has no executable own-init");
    expect(await engine.ok("run", "--rm", "busybox", "echo", "without")).toBe("without");
  });

  test("minimum keeps older clients out, and tells them what to do", async () => {
    await using engine = await Engine.start(["--min-api-version", "1.44"]);
    expect(await engine.ok("version", "--format", "{{.Server.MinAPIVersion}}")).toBe("1.44");
    const old = await engine.api("GET", "/v1.43/containers/json");
    expect([old.status, await old.json()]).toEqual([
      400,
      { message: "client version 1.43 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version" },
    ]);
    expect((await engine.api("GET", "/v1.44/containers/json")).status).toBe(200);
  });

  test.skipIf(skipped("realtime"))("budget of real-time scheduling is the containers' together, also in a cgroup of their own", async () => {
    using folder = scratch();
    const file = join(folder.path, "daemon.json");
    writeFileSync(file, '{"cpu-rt-runtime": 90000, "cpu-rt-period": 500000}');
    await using engine = await Engine.start(["--config-file", file]);
    await engine.importBusybox();
    const budget = ["--cpu-rt-runtime", "20000", "--cpu-rt-period", "500000"];
    const tell = ["busybox", "sh", "-c", "sleep 1000"];
    const own = `/berth-budget-${process.pid}`;
    await engine.ok("run", "-d", "--name", "default", ...budget, ...tell);
    await engine.ok("run", "-d", "--name", "own", "--cgroup-parent", own, ...budget, ...tell);
    const told = (path: string): string => readFileSync(`/sys/fs/cgroup/cpu${path}/cpu.rt_runtime_us`, "latin1").trim();
    const id = await engine.ok("inspect", "--format", "{{.Id}}", "own");
    expect([told(own), told(`${own}/${id}`)]).toEqual(["90000", "20000"]);
    // all there is belongs to the two of them
    const more = await engine.docker(["run", "--rm", "--cpu-rt-runtime", "80000", "--cpu-rt-period", "500000", ...tell]);
    expect(more.code).toBe(125);
    await engine.ok("rm", "-f", "default", "own");
    await engine.stop();
    writeFileSync(file, '{"cpu-rt-runtime": 999999}');
    await expect(engine.start()).rejects.toThrow("unable to init CPU RT controller of cgroup");
    for (const tree of readdirSync("/sys/fs/cgroup")) if (existsSync(`/sys/fs/cgroup/${tree}${own}`)) rmdirSync(`/sys/fs/cgroup/${tree}${own}`);
  });
});

describe.skipIf(needs)("listening", () => {
  test("on TCP with mutual TLS, the stock docker command with a certificate of the CA gets in, and nobody else", async () => {
    using folder = scratch();
    const client = (name: string, ca = "ca"): string => {
      const path = join(folder.path, `${name}-${ca}`);
      mkdirSync(path);
      copyFileSync(join(certificates, `${ca}.pem`), join(path, "ca.pem"));
      copyFileSync(join(certificates, `${name}-cert.pem`), join(path, "cert.pem"));
      copyFileSync(join(certificates, `${name}-key.pem`), join(path, "key.pem"));
      return path;
    };
    await using engine = await Engine.start([
      ...["--host", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", join(certificates, "ca.pem")],
      ...["--tlscert", join(certificates, "server-cert.pem"), "--tlskey", join(certificates, "server-key.pem")],
    ]);
    const docker = async (certs: string, ...args: string[]): Promise<Output> =>
      await run([...engine.onHost, engine.dockerProgram, "-H", "tcp://127.0.0.1:2376", "--tlsverify", ...args], { env: { DOCKER_CERT_PATH: certs } });

    await engine.importBusybox();
    const good = client("client");
    expect(await docker(good, "version", "--format", "{{.Server.Platform.Name}}")).toMatchObject({ code: 0, stdout: "Berth\n" });
    expect(await docker(good, "run", "--rm", "busybox", "echo", "over TLS")).toMatchObject({ code: 0, stdout: "over TLS\n" });
    // a connection that no other thread can read or write
    writeFileSync(join(folder.path, "large"), Buffer.alloc(3_000_000, "0123456789abcdef\n"));
    expect((await docker(good, "run", "-d", "--name", "files", "busybox", "sleep", "100000")).code).toBe(0);
    expect((await docker(good, "cp", "-q", join(folder.path, "large"), "files:/in")).code).toBe(0);
    expect((await docker(good, "cp", "-q", "files:/in", join(folder.path, "back"))).code).toBe(0);
    expect(readFileSync(join(folder.path, "back")).equals(readFileSync(join(folder.path, "large")))).toBe(true);
    expect((await docker(client("stranger"), "version")).code).toBe(1);
    // its own certificate allows it to serve, not to ask
    expect((await docker(client("server"), "version")).code).toBe(1);
    expect((await docker(client("client", "stranger-cert"), "version")).stderr).toContain("certificate signed by unknown authority");
    const plain = await run([...engine.onHost, engine.dockerProgram, "-H", "tcp://127.0.0.1:2376", "version"]);
    expect(plain.code).toBe(1);
    expect(engine.log()).not.toContain("without TLS");
  });

  test("on plain TCP it warns", async () => {
    await using engine = await Engine.start(["--host", "tcp://0.0.0.0:2375"]);
    expect(engine.log()).toContain("the API listens on TCP without TLS: whoever can reach this port from anywhere is root on this host. Use --tlsverify");
    const shown = await run([...engine.onHost, engine.dockerProgram, "-H", "tcp://127.0.0.1:2375", "info", "--format", "{{.Name}}"]);
    expect(shown.code).toBe(0);
    // as dockerd, it says so to whoever asks
    expect((await engine.docker(["info"])).stderr).toContain("WARNING: API is accessible on http://0.0.0.0:2375 without encryption.");
  });

  test("a unix socket belongs to root and a group, and is for nobody else", async () => {
    await using engine = await Engine.start(["--group", "65534"]);
    const { mode, uid, gid } = statSync(engine.socket);
    expect({ mode: mode & 0o777, uid, gid }).toEqual({ mode: 0o660, uid: 0, gid: 65534 });
  });

  test("on a socket that was handed over, which stays when the engine goes", async () => {
    using folder = scratch();
    const socket = join(folder.path, "activated.sock");
    using activated = activatedSocket(socket);
    const launch = { launcher: ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh"], fds: [activated.fd] };
    await using engine = await Engine.start([], undefined, launch);
    await engine.importBusybox();
    const docker = async (...args: string[]): Promise<Output> => await run([engine.dockerProgram, "-H", `unix://${socket}`, ...args]);
    expect(await docker("run", "--rm", "busybox", "echo", "activated")).toMatchObject({ code: 0, stdout: "activated\n" });
    expect(await engine.stop()).toBe(0);
    expect(existsSync(socket)).toBe(true);
    expect(existsSync(engine.socket)).toBe(false);
    await engine.start();
    expect((await docker("version")).code).toBe(0);
  });
});

describe.skipIf(needs)("two engines", () => {
  const second = async (engine: Engine, ...flags: string[]): Promise<Output> => {
    const other = mkdtempSync(join(tmpdir(), "berth-other-"));
    try {
      // the last one of a flag that takes one value holds
      const own = ["--data-root", join(other, "data"), "--exec-root", join(other, "run"), "--host", `unix://${join(other, "s")}`];
      return await run([...engine.onHost, "timeout", "20", berth, "daemon", "--config-file", "/dev/null", ...own, ...flags]);
    } finally {
      rmSync(other, { recursive: true, force: true });
    }
  };

  test("share neither root nor socket nor pid file: the second is refused and the first goes on", async () => {
    await using engine = await Engine.start();
    const data = await second(engine, "--data-root", join(engine.root, "data"));
    expect(data).toMatchObject({ code: 1, stdout: "" });
    expect(data.stderr).toContain(`another engine already uses ${join(engine.root, "data")}`);
    const exec = await second(engine, "--exec-root", join(engine.root, "run"), "--pidfile", join(engine.root, "other.pid"));
    expect(exec.stderr).toContain(`another engine already uses ${join(engine.root, "run")}`);
    expect(existsSync(join(engine.root, "other.pid"))).toBe(false);
    const pid = await second(engine, "--pidfile", join(engine.root, "run/berth.pid"));
    expect(pid).toMatchObject({ code: 1, stdout: "" });
    expect(pid.stderr).toContain(`process ${engine.pid} has ended, or delete ${join(engine.root, "run/berth.pid")}`);
    const socket = await second(engine, "--host", `unix://${engine.socket}`);
    expect(socket.code).toBe(1);
    expect(socket.stderr).toContain("another process is already listening there");
    const { stdout: tables } = await run([...engine.onHost, "nft", "list", "tables", "inet"]);
    expect(tables).toBe(`table inet berth_${engine.key}\n`);
    const { stdout: links } = await run([...engine.onHost, "busybox", "ip", "-o", "link"]);
    expect(links.match(/\bbr[0-9a-f]{6}\b/g)).toEqual([`br${engine.key}`]);
    expect(await engine.ok("info", "--format", "{{.ServerVersion}}")).not.toBe("");
    expect(readFileSync(join(engine.root, "run/berth.pid"), "utf8")).toBe(`${engine.pid}\n`);
  });

  test("run side by side on one host, each with its bridge, rules and ports", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    using folder = scratch();
    const socket = join(folder.path, "s");
    const own = ["--data-root", join(folder.path, "data"), "--exec-root", join(folder.path, "run"), "--host", `unix://${socket}`];
    const other = Bun.spawn([...engine.onHost, berth, "daemon", "--config-file", "/dev/null", ...own], { stdio: ["ignore", "ignore", "ignore"] });
    try {
      await until(
        "the other one answers",
        async () => (await fetch("http://engine/_ping", { unix: socket } as RequestInit).catch(() => undefined))?.status === 200,
      );
      const docker = async (...args: string[]): Promise<Output> => await run([engine.dockerProgram, "-H", `unix://${socket}`, ...args]);
      expect((await docker("import", join(engine.root, "busybox.tar"), "busybox")).code).toBe(0);
      const web = (text: string, port: number): string[] => [
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        `${port}:80`,
        "busybox",
        "/bin/sh",
        "-c",
        `echo ${text} > /index.html; exec /bin/httpd -f -h /`,
      ];
      await engine.ok(...web("first", 8081));
      expect(await docker(...web("second", 8082))).toMatchObject({ code: 0 });
      const page = async (port: number): Promise<string> => (await run([...engine.onHost, "busybox", "wget", "-qO-", `http://127.0.0.1:${port}/`])).stdout;
      await until("both serve", async () => (await page(8081)) === "first\n" && (await page(8082)) === "second\n");
      const taken = await docker("run", "--rm", "-p", "8081:80", "busybox", "/bin/true");
      expect(taken.stderr).toContain("address already in use");
      expect((await docker("rm", "-f", "web")).code).toBe(0);
      other.kill("SIGTERM");
      expect(await other.exited).toBe(0);
      expect(await page(8081)).toBe("first\n");
    } finally {
      other.kill("SIGKILL");
      await other.exited;
    }
  });

  test("the pid file and the socket of a killed one are no hindrance", async () => {
    await using engine = await Engine.start();
    const { pid } = engine;
    await engine.kill9();
    expect(existsSync(engine.socket)).toBe(true);
    expect(readFileSync(join(engine.root, "run/berth.pid"), "utf8")).toBe(`${pid}\n`);
    await engine.start();
    expect(readFileSync(join(engine.root, "run/berth.pid"), "utf8")).toBe(`${engine.pid}\n`);
    expect(await engine.stop()).toBe(0);
    expect([engine.socket, join(engine.root, "run/berth.pid")].filter(existsSync)).toEqual([]);
  });
});

describe.skipIf(needs)("stopping", () => {
  test("requests under way end, and a stop that takes long is cut short by more signals", async () => {
    await using engine = await Engine.start(["--live-restore=false", "--shutdown-timeout", "600"]);
    await engine.importBusybox();
    await engine.ok("run", "-d", "--name", "deaf", "--stop-timeout", "600", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done");
    const events = engine.docker(["events"]);
    const follow = engine.docker(["logs", "-f", "deaf"]);
    await until("both clients are connected", async () => (await engine.ok("events", "--since", "0", "--until", "1s", "--filter", "event=attach")) === "");
    const child = process.kill.bind(process, engine.pid);
    child("SIGTERM");
    // the clients are let go before the containers are
    await Promise.all([events, follow]);
    await until("the container is being stopped", () => engine.log().includes("stopping"));
    for (let i = 0; i < 3; i++) {
      child("SIGTERM");
      await Bun.sleep(50);
    }
    expect(await engine.exited()).toBe(143);
    expect(engine.log()).toContain("stopping at once, without cleaning up");
    // what runs still runs, and the next engine adopts it
    await engine.start();
    expect(await engine.ok("ps", "--format", "{{.Names}}")).toBe("deaf");
  });
});

describe.skipIf(needs)("--live-restore=false", () => {
  test("gives each container its own stop timeout, which the engine's doesn't shorten", async () => {
    await using engine = await Engine.start(["--live-restore=false", "--shutdown-timeout", "0"]);
    await engine.importBusybox();
    const slow = ["busybox", "sh", "-c", "trap 'sleep 1; exit 5' TERM; echo up; while :; do sleep 0.1; done"];
    await engine.ok("run", "-d", "--name", "patient", "--stop-timeout", "30", ...slow);
    await engine.ok("run", "-d", "--name", "hasty", ...slow);
    await until("both listen for the signal", async () => (await engine.ok("logs", "patient")) === "up" && (await engine.ok("logs", "hasty")) === "up");
    expect(await engine.stop()).toBe(0);
    await engine.start();
    expect(await engine.ok("inspect", "--format", "{{.State.ExitCode}}", "patient", "hasty")).toBe("5\n137");
  });
});

describe.skipIf(needs)("a host that goes down", () => {
  test("stops all containers through the API, and those with a restart policy come back at the next start", async () => {
    await using engine = await Engine.start();
    await engine.importBusybox();
    const sleeper = ["busybox", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"];
    await engine.ok("run", "-d", "--name", "kept", "--restart", "unless-stopped", ...sleeper);
    await engine.ok("run", "-d", "--name", "plain", ...sleeper);
    await until("both listen for the signal", async () => (await engine.ok("top", "kept")) !== "" && (await engine.ok("top", "plain")) !== "");
    expect(await engine.berth(["system", "stop", "-t", "20"])).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect(await engine.ok("ps", "-a", "--format", "{{.Names}} {{.State}}")).toBe("plain exited\nkept exited");
    // the engine itself goes on
    expect(await engine.ok("run", "--rm", "busybox", "echo", "on")).toBe("on");
    await engine.stop();
    await engine.start();
    expect(await engine.ok("ps", "--format", "{{.Names}}")).toBe("kept");
    expect((await engine.api("POST", "/berth/containers/stop?t=-2")).status).toBe(400);
  });

  test.skipIf(skipped("systemd"))("the units are well-formed", async () => {
    using folder = scratch();
    for (const unit of ["berth.service", "berth.socket", "berth-shutdown.service"]) {
      const text = readFileSync(resolve(import.meta.dir, "../../packaging/systemd", unit), "utf8");
      writeFileSync(
        join(folder.path, unit),
        text.replaceAll("/usr/bin/berthd", resolve(import.meta.dir, "../../bin/berthd")).replaceAll("/usr/bin/berth ", `${berth} `),
      );
    }
    const { code, stdout, stderr } = await run(["sh", "-c", 'cd "$0" && systemd-analyze verify ./*.service ./*.socket', folder.path]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "", stderr: "" });
  });
});
