import { beforeAll, describe, expect, test } from "bun:test";
import { lstatSync, mkdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { endOfArchive, encodeHeader } from "../../src/lib/tar-writer.ts";
import { skipped } from "../skips.ts";
import { run, suiteEngine } from "./harness.ts";

/** Containers with user namespaces: `--userns-remap`, and the label that gives one container ids of its own. */
describe.skipIf(skipped("root", "overlay", "docker", "userns"))("user namespaces", () => {
  /** runc must do as crun does. */
  const runtime = ["--add-runtime", `other=${Bun.which("runc")}`];
  const flags = ["--userns-remap", "default", ...runtime];
  const engine = suiteEngine(flags, undefined, { ownEtc: true });
  const ok = (...args: string[]): Promise<string> => engine.ok(...args);
  const sh = (script: string, ...options: string[]): Promise<string> => ok("run", "--rm", ...options, "busybox", "sh", "-c", script);
  const refused = (...args: string[]): Promise<string> => engine.refused(...args);
  const pidOf = async (name: string): Promise<string> => await ok("inspect", "--format", "{{.State.Pid}}", name);
  const uidMap = (text: string): number[] => text.trim().split(/\s+/).map(Number);
  const volume = (name: string, path = ""): string => join(engine.root, "data/volumes", name, "_data", path);
  const owner = (path: string): string => `${lstatSync(path).uid}:${lstatSync(path).gid}`;
  let first = 0;

  beforeAll(async () => {
    first = uidMap(await sh("cat /proc/self/uid_map"))[1] ?? 0;
  }, 60_000);

  test("default is the account dockremap with a range of its own, and /info says so", async () => {
    const { stdout } = await run([...engine.onHost, "cat", "/etc/subuid"]);
    expect(stdout).toContain(`dockremap:${first}:65536\n`);
    expect(first).toBeGreaterThanOrEqual(100_000);
    expect(readFileSync("/etc/subuid", "utf8")).not.toContain("dockremap");
    expect(await ok("info", "--format", "{{.SecurityOptions}}")).toContain("name=userns");
  });

  test("root and users inside are nobody special outside, with a terminal, with exec, and where they open their own output", async () => {
    await ok("run", "-d", "--name", "plain", "busybox", "sleep", "1000");
    expect(statSync(`/proc/${await pidOf("plain")}`).uid).toBe(first);
    expect(await ok("top", "plain")).toContain(String(first));
    expect(await ok("exec", "plain", "sh", "-c", "id -u; echo seen >/dev/stdout")).toBe("0\nseen");
    expect(await ok("exec", "-u", "worker", "plain", "sh", "-c", "id -u; echo seen >/dev/stdout")).toBe("1000\nseen");
    expect((await engine.inTerminal(`${engine.dockerProgram} exec -t plain sh -c 'id -u; echo seen >$(tty)'`)).stdout).toMatch(/0\r+\nseen/);
    expect(await sh("echo seen >/dev/stdout; id -u", "-u", "worker")).toBe("seen\n1000");
    expect(await sh("stat -c %u:%g / /etc /etc/hosts /dev /dev/shm; echo 1.2.3.4 x >>/etc/hosts")).toBe(Array(5).fill("0:0").join("\n"));
    expect(await sh("touch /t/x; stat -c %u /t/x", "--read-only", "--tmpfs", "/t")).toBe("0");
    expect(await refused("run", "--rm", "-u", "70000", "busybox", "true")).toContain("user 70000 has no id in the container's user namespace");
    await ok("rm", "-f", "plain");
  });

  test("an exec right after the start joins, however slowly the container comes up", async () => {
    for (let round = 0; round < 3; round++) {
      await ok("create", "--name", "slow", "--cpus", "0.01", "busybox", "sleep", "1000");
      expect((await engine.api("POST", "/v1.45/containers/slow/start")).status).toBe(204);
      expect(await ok("exec", "slow", "id", "-u")).toBe("0");
      await ok("rm", "-f", "slow");
    }
  });

  test("another runtime does it all, too", async () => {
    const other = ["--runtime", "other"];
    expect(uidMap(await sh("cat /proc/self/uid_map", ...other))).toEqual([0, first, 65536]);
    expect(await sh("echo seen >/dev/stdout; id -u; touch /v/x; ls /sys/class/net", ...other, "-u", "worker", "--tmpfs", "/v:mode=1777")).toBe(
      "seen\n1000\neth0\nlo",
    );
    await ok("run", "-d", "--name", "lender", ...other, "--ipc", "shareable", "busybox", "sleep", "1000");
    const shared = ["network", "pid", "ipc"].map((kind) => `--${kind}=container:lender`);
    expect(await sh("ps", ...other, ...shared)).toContain("sleep 1000");
    expect(await ok("exec", "-u", "worker", "lender", "sh", "-c", "id -u; echo seen >/dev/stdout")).toBe("1000\nseen");
    await ok("rm", "-f", "lender");
  });

  test("what the host alone may give is refused in Docker's words, and --userns=host opts out", async () => {
    expect(await refused("run", "--rm", "--privileged", "busybox", "true")).toContain("privileged mode is incompatible with user namespaces");
    expect(await refused("run", "--rm", "--network", "host", "busybox", "true")).toContain(
      "cannot share the host's network namespace when user namespaces are",
    );
    expect(await refused("run", "--rm", "--pid", "host", "busybox", "true")).toContain("cannot share the host PID namespace when user namespaces are enabled");
    await sh("ls /dev/shm", "--ipc", "host", "--uts", "host");
    expect(uidMap(await sh("cat /proc/self/uid_map", "--userns", "host", "--privileged", "--pid", "host"))).toEqual([0, 0, 4294967295]);
  });

  test("volumes belong to the remapped ids on disk, whoever made the files, and every container sees its own", async () => {
    await ok(
      "build",
      "-t",
      "seeded",
      await contextOf("FROM busybox\nRUN mkdir /data && echo x >/data/seed && chown 7:8 /data/seed && chmod 4755 /data/seed\n"),
    );
    await ok("run", "--rm", "-v", "vol:/data", "seeded", "touch", "/data/new");
    await ok("run", "--rm", "--userns", "host", "-v", "vol:/data", "busybox", "touch", "/data/byhost");
    const list = "stat -c '%n %u:%g %a' /data/*";
    const seen = "/data/byhost 0:0 644\n/data/new 0:0 644\n/data/seed 7:8 4755";
    expect(await sh(list, "-v", "vol:/data")).toBe(seen);
    expect(await sh(list, "-v", "vol:/data", "--userns", "host")).toBe(seen);
    expect(await sh(list, "-v", "vol:/data", "--label", "berth.userns=private")).toBe(seen);
    const root = `${first}:${first}`;
    expect([volume("vol"), volume("vol", "new"), volume("vol", "byhost"), volume("vol", "seed")].map(owner)).toEqual([
      root,
      root,
      root,
      `${first + 7}:${first + 8}`,
    ]);
    await ok("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", `o=uid=${first + 5},mode=755`, "memory");
    expect(await sh("stat -c %u /m", "-v", "memory:/m")).toBe("5");
    for (const options of [
      ["--userns", "host"],
      ["--label", "berth.userns=private"],
    ]) {
      const seen = options[0] === "--label" ? 65534 : first + 5;
      expect(await sh("stat -c %u /m", "-v", "memory:/m", ...options)).toBe(String(seen));
    }
    const source = join(engine.root, "made/by/bind");
    await sh("touch /b/x", "-v", `${source}:/b`);
    expect([join(source, "x"), source, join(engine.root, "made")].map(owner)).toEqual([root, root, root]);
  });

  test("archives have the container's own ids: cp both ways, running and stopped, export, commit, diff", async () => {
    await ok(
      "run",
      "-d",
      "--name",
      "files",
      "-v",
      "cp:/v",
      "busybox",
      "sh",
      "-c",
      "mkdir /own; echo 1 >/own/f; chown 33:34 /own/f; chmod 4755 /own/f; sleep 1000",
    );
    const list = async (...args: string[]): Promise<string> => {
      const { stdout } = await engine.docker(args);
      return (await run(["tar", "--numeric-owner", "-tvf", "-"], { stdin: Buffer.from(stdout, "latin1") })).stdout;
    };
    const capability = Buffer.from("0100000200040000000000000000000000000000", "hex"); // cap_net_bind_service... of revision 2
    const entry = (name: string, uid: number): Uint8Array =>
      encodeHeader({
        name,
        type: "file",
        mode: 0o755,
        uid,
        gid: uid,
        size: 0,
        mtime: { seconds: 1, nanoseconds: 0 },
        xattrs: new Map([["security.capability", capability]]),
      });
    const archive = Buffer.concat([entry("put", 42), endOfArchive]);
    for (const state of ["running", "stopped"]) {
      for (const directory of ["/", "/v"]) {
        const target = `files:${directory}`;
        expect((await engine.docker(["cp", "-a", "-", target], { stdin: archive })).stderr).toBe("");
        expect(await list("cp", `files:${directory}/put`, "-")).toContain(" 42/42 ");
        const back = await engine.docker(["cp", `files:${directory}/put`, "-"]);
        expect(back.stdout).toContain("security.capability");
        const far = Buffer.concat([entry("far", 70_000), endOfArchive]);
        expect((await engine.docker(["cp", "-a", "-", target], { stdin: far })).stderr).toContain("container ID 70000 cannot be mapped to a host ID");
        expect(await refused("cp", `files:${directory}/far`, "-")).toContain("Could not find the file");
      }
      expect(owner(volume("cp", "put"))).toBe(`${first + 42}:${first + 42}`);
      expect(await list("cp", "files:/own", "-")).toMatch(/drwxr-xr-x 0\/0 .* own\/\n-rwsr-xr-x 33\/34 .* own\/f\n/);
      if (state === "running") {
        expect(await ok("exec", "files", "stat", "-c", "%u", "/put", "/v/put")).toBe("42\n42");
        expect(await ok("diff", "files")).toContain("A /own/f");
        await ok("stop", "-t", "0", "files");
      }
    }
    await ok("export", "-o", join(engine.root, "export.tar"), "files");
    const exported = await run(["tar", "--numeric-owner", "-tvf", join(engine.root, "export.tar")]);
    expect(exported.stdout).toMatch(/-rwsr-xr-x 33\/34 .* own\/f\n/);
    expect(exported.stdout).not.toMatch(/ (?:[1-9]\d{4,})\//);
    await ok("commit", "files", "kept");
    for (const options of [[], ["--userns", "host"], ["--label", "berth.userns=private"]]) {
      expect(await ok("run", "--rm", ...options, "kept", "stat", "-c", "%u:%g %a", "/own/f", "/put")).toBe("33:34 4755\n42:42 755");
    }
    await ok("rm", "-f", "files");
  });

  test("a build's steps run with the remapped ids, and its layers serve everybody", async () => {
    const dockerfile =
      "FROM busybox\nRUN cat /proc/self/uid_map; mkdir /w; chown worker /w; touch /r; chmod 4755 /r\nCOPY --chown=worker f /w/f\nUSER worker\nRUN touch /w/mine && echo opened >/dev/stdout\n";
    const text = await ok("build", "-t", "stepped", await contextOf(dockerfile));
    expect(text.replaceAll(/ +/g, " ")).toContain(`0 ${first} 65536`);
    expect(text).toContain("opened");
    const seen = "1000:0 755\n1000:1000 644\n1000:1000 644\n0:0 4755";
    for (const options of [[], ["--userns", "host"]]) {
      expect(await ok("run", "--rm", ...options, "stepped", "stat", "-c", "%u:%g %a", "/w", "/w/f", "/w/mine", "/r")).toBe(seen);
    }
  });

  test("networks, ports and names work in a namespace that the container owns, and survive the engine's death", async () => {
    await ok("network", "create", "net");
    const serve = "echo hello >/tmp/index.html; httpd -f -p 80 -h /tmp";
    await ok("run", "-d", "--name", "server", "--restart", "always", "--network", "net", "-p", "18080:80", "busybox", "sh", "-c", serve);
    // the server may not listen yet
    const fetched = (url: string): string => `for i in $(seq 50); do wget -qO- ${url} && break; sleep 0.1; done 2>/dev/null`;
    const look = async (): Promise<void> => {
      expect(await sh(fetched("http://server/"), "--network", "net")).toBe("hello");
      expect((await run([...engine.onHost, "busybox", "sh", "-c", fetched("http://127.0.0.1:18080/")])).stdout).toBe("hello\n");
      expect(await ok("exec", "server", "nslookup", "server")).toContain("Name:");
    };
    await look();
    expect(await sh("ls /sys/class/net; ip link set eth0 mtu 1400 && cat /sys/class/net/eth0/mtu", "--cap-add", "NET_ADMIN")).toBe("eth0\nlo\n1400");
    expect(await sh("ls /sys/class/net", "--network", "none")).toBe("lo");
    expect(await refused("build", "--network", "host", await contextOf("FROM busybox\nRUN true\n"))).toContain("cannot share the host's network namespace");
    expect(await sh(fetched("http://127.0.0.1/"), "--network", "container:server")).toBe("hello");
    await engine.kill9();
    await engine.start();
    await look();
    await ok("restart", "-t", "0", "server");
    await look();
    const pid = await pidOf("server");
    await ok("exec", "server", "kill", "1").catch(() => ""); // the shell in a pid namespace takes no signal it has no handler for
    process.kill(Number(pid), "SIGKILL");
    for (let i = 0; i < 200 && ["0", pid].includes(await pidOf("server")); i++) await Bun.sleep(50);
    expect(statSync(`/proc/${await pidOf("server")}`).uid).toBe(first);
    await look();
    await ok("rm", "-f", "server");
    await ok("network", "rm", "net");
  });

  test("who shares a container's namespaces shares the user namespace that owns them", async () => {
    await ok("run", "-d", "--name", "owner", "--ipc", "shareable", "busybox", "sh", "-c", "echo memory >/dev/shm/x; sleep 1000");
    await ok("run", "-d", "--name", "other", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "outside", "--userns", "host", "busybox", "sleep", "1000");
    const namespace = readlinkSync(`/proc/${await pidOf("owner")}/ns/user`);
    expect(readlinkSync(`/proc/${await pidOf("other")}/ns/user`)).not.toBe(namespace);
    for (const kind of ["network", "pid", "ipc"]) expect(await sh("readlink /proc/self/ns/user", `--${kind}`, "container:owner")).toBe(namespace);
    expect(await sh("cat /dev/shm/x", "--ipc", "container:owner")).toBe("memory");
    expect(await sh("ps", "--pid", "container:owner", "--network", "container:owner")).toContain("sleep 1000");
    expect(await refused("run", "--rm", "--pid", "container:owner", "--network", "container:other", "busybox", "true")).toContain(
      "cannot join namespaces of several containers that have user namespaces of their own",
    );
    expect(await refused("run", "--rm", "--network", "container:outside", "busybox", "true")).toContain("start this one with --userns=host");
    await sh("ip link", "--userns", "host", "--network", "container:owner");
    await ok("rm", "-f", "owner", "other", "outside");
  });

  test("a private user namespace has ids that no other has; an image can't choose", async () => {
    const label = ["--label", "berth.userns=private"];
    await ok("run", "-d", "--name", "one", ...label, "-v", "mine:/v", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "two", ...label, "busybox", "sleep", "1000");
    const [one = 0, two = 0] = await Promise.all(["one", "two"].map(async (name) => uidMap(readFileSync(`/proc/${await pidOf(name)}/uid_map`, "utf8"))[1]));
    expect(Math.min(one, two)).toBeGreaterThanOrEqual(524_288);
    expect(Math.abs(one - two)).toBeGreaterThanOrEqual(65_536);
    await ok("exec", "one", "touch", "/v/x");
    expect(owner(volume("mine", "x"))).toBe(`${first}:${first}`);
    await ok("restart", "-t", "0", "one");
    expect(uidMap(await ok("exec", "one", "cat", "/proc/self/uid_map"))[1]).toBe(one);
    expect(uidMap(await sh("cat /proc/self/uid_map", "--network", "container:one"))[1]).toBe(one);
    expect(await refused("run", "--rm", ...label, "--network", "container:one", "busybox", "true")).toContain("conflicting options");
    expect(await refused("run", "--rm", ...label, "--privileged", "busybox", "true")).toContain("privileged mode is incompatible");
    expect(await refused("run", "--rm", "--label", "berth.userns=odd", "busybox", "true")).toContain("invalid user namespace mode: odd");
    const berth = await engine.berth(["run", "--rm", "--userns", "private", "busybox", "cat", "/proc/self/uid_map"]);
    expect([one, two, first]).not.toContain(uidMap(berth.stdout)[1]!);
    await ok("build", "-t", "sly", await contextOf("FROM busybox\nLABEL berth.userns=host\n"));
    expect(uidMap(await ok("run", "--rm", "sly", "cat", "/proc/self/uid_map"))[1]).toBe(first);
    await ok("rm", "-f", "one", "two");
  });

  test("with other settings images, volumes and containers are still there, and containers keep their ids", async () => {
    await ok("run", "-d", "--name", "lasting", "-v", "lasts:/v", "busybox", "sh", "-c", "touch /v/x; sleep 1000");
    await engine.stop();
    flags.splice(0, 2);
    await engine.start();
    expect(await ok("info", "--format", "{{.SecurityOptions}}")).not.toContain("name=userns");
    await ok("exec", "lasting", "touch", "/v/y");
    await ok("restart", "-t", "0", "lasting");
    expect(uidMap(await ok("exec", "lasting", "cat", "/proc/self/uid_map"))[1]).toBe(first);
    expect(await sh("cat /proc/self/uid_map; stat -c %u /v/x /v/y; touch /v/z", "-v", "lasts:/v")).toMatch(/^ *0 +0 +4294967295\n0\n0$/);
    expect(owner(volume("lasts", "z"))).toBe(`${first}:${first}`);
    await engine.stop();
    flags.unshift("--userns-remap", "nobody:nogroup");
    await expect(engine.start()).rejects.toThrow('no subuid ranges found for user "nobody" in /etc/subuid');
    flags.splice(0, 2, "--userns-remap", "default");
    await engine.start();
    await ok("rm", "-f", "lasting");
  });

  async function contextOf(dockerfile: string): Promise<string> {
    const directory = join(engine.root, `context-${crypto.randomUUID()}`);
    mkdirSync(directory);
    writeFileSync(join(directory, "Dockerfile"), dockerfile);
    writeFileSync(join(directory, "f"), "file\n");
    return directory;
  }
});
