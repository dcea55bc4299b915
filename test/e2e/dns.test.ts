import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { examplesOf } from "../documented.ts";
import { run, suiteEngine, until } from "./harness.ts";

const peer = resolve(import.meta.dir, "../kernel/net-peer.ts");

describe("names", () => {
  const engine = suiteEngine([], undefined, { ownEtc: true });
  const { ok } = { ok: engine.ok.bind(engine) };
  const servers: Bun.Subprocess[] = [];

  /** What busybox's nslookup finds inside: addresses, or names; empty where there is none. */
  const find = async (container: string, name: string, ...more: string[]): Promise<string[]> => {
    const { stdout } = await engine.docker(["exec", container, "nslookup", ...more, name]);
    const found = stdout.split("\n").slice(3);
    return found.flatMap((line) => /^Address(?: \d+)?: (\S+)|name = (\S+)/.exec(line)?.slice(1).filter(Boolean) ?? []).sort();
  };
  const addressOf = (container: string, network: string): Promise<string> =>
    ok("inspect", "-f", `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`, container);
  const hostSays = async (text: string): Promise<void> => {
    const { code, stderr } = await run([...engine.onHost, "sh", "-c", `rm -f /etc/resolv.conf; printf '${text}' >/etc/resolv.conf`]);
    if (code !== 0) throw new Error(stderr);
  };
  /** A name server on the host: `*.test` is 203.0.113.7. */
  const serveNames = async (address: string, where = engine.onHost): Promise<Bun.Subprocess> => {
    const child = Bun.spawn([...where, process.execPath, peer, "nameserver", address], { stdout: "pipe", stderr: "inherit" });
    await child.stdout.getReader().read();
    servers.push(child);
    return child;
  };

  beforeAll(async () => {
    await hostSays("nameserver 127.0.0.1\\n");
    await serveNames("127.0.0.1");
  });
  afterAll(() => {
    for (const child of servers) child.kill(9);
  });

  test("what the documentation shows", async () => {
    const connected = async (): Promise<string[]> => {
      const names = (await ok("network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "app")).trim().split(" ");
      return names.toSorted();
    };
    for (const line of examplesOf("dns.md")) {
      const [command = "", told = ""] = line.split(/\s+# /);
      const words = command.trim().split(" ").slice(1);
      if (!told.includes("address")) {
        await ok(...words);
        continue;
      }
      const there = await connected();
      const meant = told.replace(/:.*/, "").match(/\b(db|web\d)\b/g)!;
      const wanted = await Promise.all(meant.filter((name) => there.includes(name)).map((name) => addressOf(name, "app")));
      const { stdout } = await engine.docker(words);
      const found = [...stdout.matchAll(/^Address: (\d+\.\d+\.\d+\.\d+)$/gm)].map((match) => match[1]);
      expect([line, found.sort()]).toEqual([line, wanted.sort()]);
    }
    await engine.removeAll();
    await ok("network", "rm", "app");
  });

  test("addresses have names, in both families; a short id is a name; what isn't there fails at once", async () => {
    await ok("network", "create", "--ipv6", "--subnet", "fd00:77::/64", "--subnet", "10.77.0.0/24", "dual");
    const id = await ok("run", "-d", "--name", "one", "--network", "dual", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "two", "--network", "dual", "busybox", "sleep", "1000");
    expect(await find("two", id.slice(0, 12))).toEqual(["10.77.0.2", "fd00:77::2"]);
    expect(await find("two", "10.77.0.2")).toEqual(["one.dual"]);
    expect(await find("two", "fd00:77::2")).toEqual(["one.dual"]);
    expect(await find("two", "www.example.test", "-type=a")).toEqual(["203.0.113.7"]);
    expect((await engine.docker(["exec", "two", "nslookup", "-type=a", "nobody.example"])).stdout).toContain("NXDOMAIN");
    expect((await engine.docker(["exec", "two", "nslookup", "-type=mx", "one"])).stdout).not.toContain("NXDOMAIN");
    await engine.removeAll();
    await ok("network", "rm", "dual");
  });

  /** A name server inside a container: `*.test` is 203.0.113.7. */
  const serveInside = async (container: string, address: string): Promise<void> => {
    const pid = await ok("inspect", "-f", "{{.State.Pid}}", container);
    await serveNames(address, ["nsenter", `--net=/proc/${pid}/ns/net`]);
  };

  test("an internal network asks nobody outside, but its own server there; a network of IPv6 alone has names", async () => {
    await ok("network", "create", "--internal", "--subnet", "10.78.0.0/24", "inner");
    for (const [name, ...more] of [["server", "--ip", "10.78.0.53"], ["plain"], ["own", "--dns", "10.78.0.53"]] as const)
      await ok("run", "-d", "--name", name, "--network", "inner", ...more, "busybox", "sleep", "1000");
    await serveInside("server", "10.78.0.53");
    expect((await engine.docker(["exec", "plain", "nslookup", "-type=a", "www.example.test"])).stdout).toContain("SERVFAIL");
    expect(await find("own", "www.example.test", "-type=a")).toEqual(["203.0.113.7"]);
    expect(await find("own", "plain", "-type=a")).toEqual([await addressOf("plain", "inner")]);
    await ok("network", "create", "--ipv6", "--ipv4=false", "--subnet", "fd00:78::/64", "six");
    await ok("run", "-d", "--name", "v6", "--network", "six", "busybox", "sleep", "1000");
    expect(await find("v6", "v6", "-type=aaaa")).toEqual(["fd00:78::2"]);
    expect(await find("v6", "v6", "-type=a")).toEqual([]);
    expect(await find("v6", "www.example.test", "-type=a")).toEqual(["203.0.113.7"]);
    await engine.removeAll();
    await ok("network", "rm", "inner", "six");
  });

  test("a container may serve port 53 itself, on every address or as its own server", async () => {
    await ok("network", "create", "net");
    await ok("run", "-d", "--name", "self", "--network", "net", "--dns", "127.0.0.1", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "other", "--network", "net", "--dns", "192.0.2.1", "--dns-opt", "timeout:1", "busybox", "sleep", "1000");
    await serveInside("self", "0.0.0.0");
    expect(await find("self", "www.example.test", "-type=a")).toEqual(["203.0.113.7"]);
    expect(await find("self", "other", "-type=a")).toEqual([await addressOf("other", "net")]);
    const { stdout } = await engine.docker(["exec", "other", "nslookup", "-type=a", "www.example.test", await addressOf("self", "net")]);
    expect(stdout).toContain("203.0.113.7");
    await engine.removeAll();
  });

  test("the files of a running container follow its networks, unless somebody changed them", async () => {
    const hosts = async (name: string): Promise<string[]> => (await ok("exec", name, "cat", "/etc/hosts")).split("\n").slice(6);
    await ok("run", "-d", "--name", "far", "--network", "net", "busybox", "sleep", "1000");
    const id = await ok("run", "-d", "--name", "late", "busybox", "sleep", "1000");
    const short = id.slice(0, 12);
    const bridge = `${await addressOf("late", "bridge")}\t${short}`;
    expect(await ok("exec", "late", "cat", "/etc/resolv.conf")).toContain("\nnameserver 8.8.8.8\n");
    await ok("network", "connect", "net", "late");
    expect(await hosts("late")).toEqual([bridge, `${await addressOf("late", "net")}\t${short}`]);
    expect(await ok("exec", "late", "cat", "/etc/resolv.conf")).toContain("\nnameserver 127.0.0.11\noptions ndots:0");
    expect(await find("late", "far", "-type=a")).toEqual([await addressOf("far", "net")]);
    await ok("network", "disconnect", "net", "late");
    expect(await hosts("late")).toEqual([bridge]);
    expect(await find("late", "far", "-type=a")).toEqual([]);
    expect(await find("late", "www.example.test", "-type=a")).toEqual(["203.0.113.7"]);
    // joined before its start
    await ok("create", "--name", "both", "busybox", "nslookup", "-type=a", "far");
    await ok("network", "connect", "net", "both");
    expect(await ok("start", "-a", "both")).toContain(await addressOf("far", "net"));

    await ok(
      "run",
      "-d",
      "--name",
      "mine",
      "busybox",
      "sh",
      "-c",
      "echo nameserver 192.0.2.1 >/etc/resolv.conf; printf '10.9.9.9 box' >>/etc/hosts; sleep 1000",
    );
    await until("the change", async () => (await ok("exec", "mine", "cat", "/etc/resolv.conf")) === "nameserver 192.0.2.1");
    await until("the other", async () => (await hosts("mine")).length === 2);
    await ok("network", "connect", "net", "mine");
    expect(await ok("exec", "mine", "cat", "/etc/resolv.conf")).toBe("nameserver 192.0.2.1");
    expect((await hosts("mine")).slice(1)).toEqual(["10.9.9.9 box", expect.stringContaining(await addressOf("mine", "net"))]);
    await engine.removeAll();
  });

  test("files of /etc are as Docker writes them: extra hosts on the host's network, and without IPv6", async () => {
    const once = (...args: string[]): Promise<string> => ok("run", "--rm", ...args, "busybox", "cat", "/etc/hosts");
    expect(await once("--network", "host", "--add-host", "box:10.1.2.3")).toMatch(/^127.0.0.1\tlocalhost\n::1\t(.*\n)*10.1.2.3\tbox$/);
    expect(await once("--network", "host")).toBe((await run([...engine.onHost, "cat", "/etc/hosts"])).stdout.replace(/\n$/, ""));
    expect(await once("--network", "none", "--sysctl", "net.ipv6.conf.all.disable_ipv6=1", "--add-host", "a:fd00::1", "--add-host", "b:10.1.2.3")).toBe(
      "127.0.0.1\tlocalhost\n10.1.2.3\tb",
    );
  });

  test("the host's servers may change, fail and come back; each is seen at once", async () => {
    await ok("run", "-d", "--name", "asker", "--network", "net", "busybox", "sleep", "1000");
    const ask = (name: string): Promise<string[]> => find("asker", name, "-type=a");
    expect(await ask("a.example.test")).toEqual(["203.0.113.7"]);
    for (const server of servers.splice(0)) server.kill(9);
    expect(await ask("a.example.test")).toEqual(["203.0.113.7"]); // it is known still
    expect((await engine.docker(["exec", "asker", "nslookup", "-type=a", "b.example.test"])).stdout).toContain("SERVFAIL");
    await serveNames("127.0.0.5");
    await hostSays("nameserver 127.0.0.4\\nnameserver 127.0.0.5\\n");
    await until("the other server", async () => (await ask("c.example.test"))[0]);
    await engine.removeAll();
  });

  test("names are back after the engine was killed, on the same ports", async () => {
    await ok("run", "-d", "--name", "left", "--network", "net", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "right", "--network", "net", "busybox", "sleep", "1000");
    const rules = async (): Promise<string> => {
      const pid = await ok("inspect", "-f", "{{.State.Pid}}", "left");
      return (await run(["nsenter", `--net=/proc/${pid}/ns/net`, "nft", "list", "ruleset"])).stdout;
    };
    const before = await rules();
    await engine.kill9();
    await engine.start();
    expect(await rules()).toBe(before);
    expect(await find("left", "right", "-type=a")).toEqual([await addressOf("right", "net")]);
    expect(await find("left", "d.example.test", "-type=a")).toEqual(["203.0.113.7"]);
    await engine.removeAll();
  });

  test("a container that is renamed answers to its new name, and keeps its aliases", async () => {
    await ok("run", "-d", "--name", "before", "--network", "net", "--network-alias", "alias", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "asker", "--network", "net", "busybox", "sleep", "1000");
    const address = await addressOf("before", "net");
    await ok("rename", "before", "after");
    expect(await Promise.all(["after", "alias", "before"].map((name) => find("asker", name, "-type=a")))).toEqual([[address], [address], []]);
    expect(await find("asker", address)).toEqual(["after.net"]);
    expect(await ok("network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", "net")).toContain("after");
    await engine.removeAll();
  });

  test("who shares a network shares its resolver", async () => {
    await ok("run", "-d", "--name", "owner", "--network", "net", "busybox", "sleep", "1000");
    expect(await ok("run", "--rm", "--network", "container:owner", "busybox", "nslookup", "-type=a", "owner")).toContain(await addressOf("owner", "net"));
    await engine.removeAll();
  });

  test("a flood in one container stops neither the engine nor another's names", async () => {
    await ok("run", "-d", "--name", "quiet", "--network", "net", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "loud", "--network", "net", "busybox", "sleep", "1000");
    const pid = await ok("inspect", "-f", "{{.State.Pid}}", "loud");
    const floods = ["loud", "x.example.test"].map((name) =>
      Bun.spawn(["nsenter", `--net=/proc/${pid}/ns/net`, process.execPath, peer, "flood", "127.0.0.11", name], { stdout: "ignore", stderr: "inherit" }),
    );
    for (let i = 0; i < 5; i++) {
      expect(await find("quiet", "loud", "-type=a")).toHaveLength(1);
      expect((await engine.api("GET", "/_ping")).status).toBe(200);
    }
    for (const flood of floods) {
      expect(flood.exitCode).toBe(null);
      flood.kill(9);
      await flood.exited;
    }
    expect(await find("loud", "quiet", "-type=a")).toHaveLength(1);
    const log = readFileSync(join(engine.root, "engine.log"), "utf8");
    expect(log).not.toContain("a container's resolver failed");
    await engine.removeAll();
  });
});
