import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { dockerClients } from "./debian.ts";
import { run, suiteEngine, until } from "./harness.ts";

/** The stock docker command against the compiled engine, as a person types it. */
describe.skipIf(skipped("root", "overlay", "docker")).each(dockerClients())("docker $version", ({ program }) => {
  const engine = suiteEngine([], program);
  const ok = (...args: string[]): Promise<string> => engine.ok(...args);

  test("version and info name the engine", async () => {
    expect(await ok("version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}")).toMatch(/^1\.\d\d linux$/);
    const info = JSON.parse(await ok("info", "--format", "{{json .}}"));
    expect(info).toMatchObject({ OSType: "linux", Driver: "overlay2", CgroupDriver: "cgroupfs" });
    expect(info.DockerRootDir).toBe(join(engine.root, "data"));
  });

  describe("run", () => {
    test("shows output on both streams and hands on the exit code", async () => {
      const { code, stdout, stderr } = await engine.docker(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
      expect({ code, stdout, stderr }).toEqual({ code: 7, stdout: "out\n", stderr: "err\n" });
      expect(await ok("ps", "-aq")).toBe("");
    });

    test("passes stdin and its end", async () => {
      const text = "one\ntwo\n".repeat(5000);
      const { code, stdout } = await engine.docker(["run", "--rm", "-i", "busybox", "cat"], { stdin: text });
      expect(code).toBe(0);
      expect(stdout === text).toBe(true);
    });

    test("says 127 for a program that isn't there and 126 for one that can't run", async () => {
      const missing = await engine.docker(["run", "--rm", "busybox", "no-such-program"]);
      expect(missing.code).toBe(127);
      expect(missing.stderr).toContain("executable file not found in $PATH");
      const forbidden = await engine.docker(["run", "--rm", "busybox", "/etc/passwd"]);
      expect(forbidden.code).toBe(126);
      expect(forbidden.stderr.toLowerCase()).toContain("permission denied");
      const image = await engine.docker(["run", "--rm", "--pull", "never", "nothing-here", "true"]);
      expect(image.code).toBe(125);
      expect(image.stderr).toContain("No such image: nothing-here:latest");
    });

    test("gives a terminal with -it", async () => {
      const { stdout, code } = await engine.inTerminal(`${program} run --rm -it busybox sh -c 'tty && stty size && read x && echo got:$x; exit 3'`, {
        stdin: "hello\n",
      });
      expect(stdout).toContain("/dev/pts/0");
      expect(stdout).toContain("got:hello");
      expect(code).toBe(3);
    });

    test("isolates as Docker does", async () => {
      const status = await ok("run", "--rm", "busybox", "cat", "/proc/self/status");
      expect(status).toMatch(/CapEff:\s+00000000a80425fb/);
      expect(status).toMatch(/Seccomp:\s+2/);
      expect(status).toMatch(/NoNewPrivs:\s+0/);
      expect(await ok("run", "--rm", "busybox", "sh", "-c", "echo $$; ls /proc | grep -c '^[0-9]'; hostname | wc -c")).toMatch(/^1\n[12345]\n13$/);
      expect((await engine.docker(["run", "--rm", "busybox", "sh", "-c", "echo 1 > /proc/sys/kernel/hostname"])).code).not.toBe(0);
      expect(await ok("run", "--rm", "busybox", "sh", "-c", "cat /proc/keys | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | grep -v : | wc -w")).toMatch(
        /^0\n0$/,
      );
      // A call that the profile refuses answers EPERM, not ENOSYS.
      expect((await engine.docker(["run", "--rm", "busybox", "unshare", "-n", "true"])).stderr).toContain("Operation not permitted");
    });

    test("takes user, directory, environment, hostname and labels", async () => {
      const shown = await ok(
        "run",
        "--rm",
        "-u",
        "worker",
        "-w",
        "/srv/new",
        "-e",
        "A=b c",
        "-h",
        "box",
        "busybox",
        "sh",
        "-c",
        "id; pwd; echo $A; hostname; cat /etc/hostname",
      );
      expect(shown).toBe("uid=1000(worker) gid=1000(worker) groups=10(wheel),1000(worker)\n/srv/new\nb c\nbox\nbox");
    });

    test("limits memory, processors and processes", async () => {
      const id = await ok("run", "-d", "-m", "64m", "--cpus", "0.5", "--pids-limit", "10", "busybox", "sleep", "1000");
      const inspect = JSON.parse(await ok("inspect", id))[0];
      expect(inspect.HostConfig).toMatchObject({ Memory: 64 << 20, NanoCpus: 5e8, PidsLimit: 10 });
      const groups = readFileSync(`/proc/${inspect.State.Pid}/cgroup`, "utf8");
      const memory = /^\d+:memory:(.*)$/m.exec(groups)?.[1];
      const path = memory === undefined ? `/sys/fs/cgroup${/^0::(.*)$/m.exec(groups)?.[1]}/memory.max` : `/sys/fs/cgroup/memory${memory}/memory.limit_in_bytes`;
      expect(Number(readFileSync(path, "utf8"))).toBe(64 << 20);
      expect((await engine.docker(["exec", id, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait"])).stderr).toContain("can't fork");
      await ok("rm", "-f", id);
    });

    test("tells of a container that was out of memory", async () => {
      const id = await ok("run", "-d", "-m", "16m", "busybox", "sh", "-c", "head -c 200m /dev/zero | tail -c 150m > /dev/null");
      await ok("wait", id);
      expect(await ok("inspect", "--format", "{{.State.OOMKilled}}", id)).toBe("true");
      await ok("rm", id);
    });
  });

  describe("life", () => {
    test("of a container in the background", async () => {
      const id = await ok("run", "-d", "--name", "life", "busybox", "sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done");
      expect(id).toMatch(/^[0-9a-f]{64}$/);
      expect(await ok("ps", "--format", "{{.Names}} {{.Image}} {{.State}}")).toBe("life busybox running");
      await until("the first line", async () => (await ok("logs", "life")) === "up");
      expect(await ok("exec", "life", "sh", "-c", "echo $$-$HOSTNAME")).toMatch(new RegExp(`^\\d+-${id.slice(0, 12)}$`));
      expect(await ok("top", "life")).toContain("while :");
      await ok("pause", "life");
      expect(await ok("inspect", "-f", "{{.State.Status}}", "life")).toBe("paused");
      await ok("unpause", "life");
      await ok("rename", "life", "afterlife");
      await ok("stop", "afterlife");
      expect(await ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}", "afterlife")).toBe("exited 5 false");
      expect(await ok("logs", "afterlife")).toBe("up\nbye");
      await ok("start", "afterlife");
      await ok("restart", "-t", "1", "afterlife");
      await ok("kill", "afterlife");
      expect(await ok("wait", "afterlife")).toBe("137");
      await ok("rm", "afterlife");
      expect((await engine.docker(["inspect", "afterlife"])).stderr).toMatch(/no such object: afterlife/i);
    });

    test("exec has stdin, a terminal, users and exit codes", async () => {
      const id = await ok("run", "-d", "busybox", "sleep", "1000");
      expect((await engine.docker(["exec", id, "sh", "-c", "exit 9"])).code).toBe(9);
      expect((await engine.docker(["exec", id, "nope"])).code).toBe(127);
      expect((await engine.docker(["exec", "-i", id, "wc", "-c"], { stdin: "x".repeat(100_000) })).stdout).toBe("100000\n");
      expect(await ok("exec", "-u", "worker", "-w", "/tmp", "-e", "B=1", id, "sh", "-c", "id -u; pwd; echo $B")).toBe("1000\n/tmp\n1");
      const terminal = await engine.inTerminal(`${program} exec -it ${id} sh -c 'tty; read x; echo got:$x; exit 4'`, { stdin: "word\n" });
      expect(terminal.stdout).toContain("got:word");
      expect(terminal.code).toBe(4);
      await ok("rm", "-f", id);
    });

    test("logs follow, count from the end and show times", async () => {
      const id = await ok("run", "-d", "busybox", "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; echo last >&2");
      const followed = await engine.docker(["logs", "-f", id]);
      expect(followed.stdout).toBe("line 1\nline 2\nline 3\nline 4\nline 5\n");
      expect(followed.stderr).toBe("last\n");
      expect((await engine.docker(["logs", "--tail", "2", id])).stdout).toBe("line 5\n");
      expect((await ok("logs", "-t", "--tail", "2", id)).split(" ")[0]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
      expect(await ok("logs", "--since", "2030-01-01T00:00:00Z", id)).toBe("");
      await ok("rm", id);
    });

    test("events tell what happened, in order", async () => {
      const since = String(Date.now() / 1000);
      await ok("run", "--rm", "--name", "eventful", "busybox", "true");
      const lines = await ok("events", "--since", since, "--until", String(Date.now() / 1000), "--filter", "container=eventful", "--format", "{{.Action}}");
      const actions = lines.split("\n");
      for (const action of ["create", "attach", "start", "die", "destroy"]) expect(actions).toContain(action);
      expect(actions.indexOf("create")).toBeLessThan(actions.indexOf("start"));
      expect(actions.indexOf("start")).toBeLessThan(actions.indexOf("die"));
    });

    test("a user's mistakes get a plain sentence", async () => {
      const named = await ok("create", "--name", "taken", "busybox");
      const twice = await engine.docker(["create", "--name", "taken", "busybox"]);
      expect(twice.stderr).toContain(`The container name "/taken" is already in use by container "${named}"`);
      expect((await engine.docker(["start", "nobody"])).stderr).toContain("No such container: nobody");
      expect((await engine.docker(["run", "--name", "bad/name", "busybox"])).stderr).toContain("Invalid container name");
      expect((await engine.docker(["run", "UpperCase"])).stderr).toContain("invalid reference format");
      await ok("rm", "taken");
    });
  });

  describe("volumes", () => {
    test("bind, named and tmpfs", async () => {
      const folder = join(engine.root, "bound");
      mkdirSync(folder);
      writeFileSync(join(folder, "f"), "from the host\n");
      expect(await ok("run", "--rm", "-v", `${folder}:/data:ro`, "busybox", "cat", "/data/f")).toBe("from the host");
      expect((await engine.docker(["run", "--rm", "-v", `${folder}:/data:ro`, "busybox", "touch", "/data/g"])).stderr).toContain("Read-only");
      await ok("run", "--rm", "-v", "kept:/data", "busybox", "sh", "-c", "echo kept > /data/f");
      expect(await ok("run", "--rm", "-v", "kept:/data", "busybox", "cat", "/data/f")).toBe("kept");
      expect(await ok("volume", "ls", "-q")).toBe("kept");
      await ok("volume", "rm", "kept");
      expect(await ok("run", "--rm", "--tmpfs", "/scratch:size=1m", "busybox", "sh", "-c", "grep ' /scratch ' /proc/mounts")).toMatch(/tmpfs .*size=1024k/);
    });

    test("a new named volume is filled from the image", async () => {
      expect(await ok("run", "--rm", "-v", "filled:/etc", "busybox", "cat", "/etc/group")).toContain("wheel");
      await ok("volume", "rm", "filled");
    });
  });

  describe("network", () => {
    test("none has only loopback, host has the host's", async () => {
      expect(await ok("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net")).toBe("lo");
      const hostLinks = (await run([...engine.onHost, "busybox", "ip", "-o", "link"])).stdout.split("\n").length;
      expect((await ok("run", "--rm", "--network", "host", "busybox", "ip", "-o", "link")).split("\n").length).toBe(hostLinks - 1);
    });

    test("containers on the bridge reach each other, and the host reaches published ports", async () => {
      const web = await ok(
        "run",
        "-d",
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1:5353:53/udp",
        "busybox",
        "sh",
        "-c",
        "mkdir /www && echo served > /www/index.html && httpd -f -p 80 -h /www",
      );
      const address = await ok("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", web);
      await until("the web server", async () => (await engine.docker(["run", "--rm", "busybox", "wget", "-qO-", `http://${address}/`])).stdout === "served\n");
      const fetched = await run([...engine.onHost, "busybox", "wget", "-qO-", "http://127.0.0.1:8080/"]);
      expect(fetched.stdout).toBe("served\n");
      expect(await ok("port", web)).toContain("80/tcp -> 0.0.0.0:8080");
      expect(await ok("ps", "--format", "{{.Ports}}")).toContain("0.0.0.0:8080->80/tcp");
      const taken = await engine.docker(["run", "--rm", "-p", "8080:80", "busybox", "true"]);
      expect(taken.code).toBe(125);
      expect(taken.stderr).toContain("port is already allocated");
      await ok("rm", "-f", web);
      await ok("run", "--rm", "-p", "8080:80", "busybox", "true");
    });

    test("resolv.conf and hosts are there", async () => {
      const id = await ok("run", "-d", "--add-host", "other:10.1.2.3", "--dns", "9.9.9.9", "busybox", "sleep", "100");
      expect(await ok("exec", id, "cat", "/etc/resolv.conf")).toContain("nameserver 9.9.9.9");
      const hosts = await ok("exec", id, "cat", "/etc/hosts");
      expect(hosts).toContain("10.1.2.3\tother");
      expect(hosts).toContain(id.slice(0, 12));
      await ok("rm", "-f", id);
    });
  });

  describe("images", () => {
    test("build, tag, history, save, load and remove", async () => {
      const context = join(engine.root, "context");
      mkdirSync(context);
      writeFileSync(
        join(context, "Dockerfile"),
        'FROM busybox\nARG WHO=world\nENV G=hello\nWORKDIR /app\nCOPY . .\nRUN echo "$G $WHO" > greeting && test ! -e secret\nCMD cat greeting\n',
      );
      writeFileSync(join(context, ".dockerignore"), "secret\n");
      writeFileSync(join(context, "secret"), "hidden");
      const built = await engine.docker(["build", "-t", "greet", "--build-arg", "WHO=there", context]);
      expect(built.stderr.replace(/DEPRECATED[\s\S]*?\n\n/, "")).not.toContain("rror");
      expect(built.stdout).toContain("Step 7/7 : CMD cat greeting");
      expect(built.stdout).toMatch(/Successfully built [0-9a-f]{12}\nSuccessfully tagged greet:latest\n$/);
      expect(await ok("run", "--rm", "greet")).toBe("hello there");
      expect((await engine.docker(["build", "-t", "greet", "--build-arg", "WHO=there", context])).stdout.match(/Using cache/g)?.length).toBe(6);
      await ok("tag", "greet", "greet:two");
      expect(await ok("history", "--format", "{{.CreatedBy}}", "greet")).toContain("CMD");
      await ok("save", "-o", join(engine.root, "greet.tar"), "greet:two");
      await ok("rmi", "greet:two", "greet");
      expect(await ok("images", "-q", "greet")).toBe("");
      expect(await ok("load", "-i", join(engine.root, "greet.tar"))).toBe("Loaded image: greet:two");
      expect(await ok("run", "--rm", "greet:two")).toBe("hello there");
      const failing = await engine.docker(["build", "-"], { stdin: "FROM busybox\nRUN exit 3\n" });
      expect(failing.code).toBe(3);
      expect(failing.stderr).toContain("The command '/bin/sh -c exit 3' returned a non-zero code: 3");
    });

    test("push to and pull from Berth's registry", async () => {
      await using _registry = await engine.registry();
      const name = "127.0.0.1:5000/team/busybox:1";
      await ok("tag", "busybox", name);
      expect(await ok("push", name)).toMatch(/1: digest: sha256:[0-9a-f]{64} size: \d+/);
      await ok("rmi", name);
      expect(await ok("pull", name)).toContain(`Status: Downloaded newer image for ${name}`);
      expect(await ok("pull", name)).toContain(`Status: Image is up to date for ${name}`);
      expect(await ok("run", "--rm", name, "echo", "pulled")).toBe("pulled");
      expect((await engine.docker(["pull", "127.0.0.1:5000/team/none:1"])).stderr).toContain("not found");
      await ok("rmi", name);
    });
  });
});
