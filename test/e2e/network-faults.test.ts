import { afterEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { NetworkReport } from "../../src/client/types.ts";
import { skipped } from "../skips.ts";
import { run, said, suiteEngine, until, type Output } from "./harness.ts";

const peer = join(import.meta.dir, "../kernel/net-peer.ts");

describe.skipIf(skipped("root", "overlay", "docker"))("networks whose engine or parts go away", () => {
  const engine = suiteEngine(["--dns", "127.0.0.1"]);
  afterEach(async () => await engine.removeAll());

  const onHost = (...command: string[]): Promise<string> => said(...engine.onHost, ...command);
  /** What is wrong but for the name server, which a network without a way out hasn't. */
  const check = async (...flags: string[]): Promise<Output & { problems: NetworkReport["problems"] }> => {
    const output = await engine.berth(["network", "check", "--format", "json", ...flags]);
    return { ...output, problems: (JSON.parse(output.stdout) as NetworkReport).problems.filter(({ kind }) => kind !== "dns") };
  };

  test("a connection through a published port lives through a restart of the engine, its death, a flush of all rules and a change of others' ports", async () => {
    await engine.ok("run", "-d", "--name", "echo", "-p", "8080:80", "busybox", "nc", "-ll", "-p", "80", "-e", "cat");
    await until("nc to listen", async () => (await engine.ok("exec", "echo", "netstat", "-ltn")).includes(":80 "));
    const client = Bun.spawn([...engine.onHost, process.execPath, peer, "stream", "127.0.0.1", "8080"], { stdin: "pipe", stdout: "pipe" });
    const reader = client.stdout.getReader();
    let count = 0;
    const alive = async (): Promise<void> => {
      const text = `line ${++count}\n`;
      client.stdin.write(text);
      client.stdin.flush();
      let got = "";
      while (!got.endsWith("\n")) {
        const { value, done } = await reader.read();
        if (done) break;
        got += Buffer.from(value).toString();
      }
      expect(got).toBe(text);
    };
    await alive();
    expect(await engine.stop()).toBe(0);
    await alive();
    await engine.start();
    await alive();
    await engine.kill9();
    await alive();
    await engine.start();
    await alive();
    await onHost("nft", "flush", "ruleset");
    await alive();
    await until("the rules are back", async () => (await onHost("nft", "list", "tables")).includes("berth_"));
    await engine.ok("run", "-d", "-p", "8081:80", "busybox", "sleep", "1000");
    await alive();
    client.kill();
  });

  test("a link that somebody deleted is back by itself; one that a container may have deleted, or that got another name, stays as it is", async () => {
    const linkOf = async (name: string): Promise<string> => {
      const index = (await engine.ok("exec", name, "cat", "/sys/class/net/eth0/iflink")).trim();
      return new RegExp(`^${index}: (veth[0-9a-f]+)`, "m").exec(await onHost("ip", "-o", "link"))?.[1] ?? "";
    };
    await engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "httpd", "-f", "-h", "/etc");
    await engine.ok("run", "-d", "--name", "router", "--cap-add", "NET_ADMIN", "busybox", "sleep", "1000");
    await engine.ok("run", "-d", "--name", "moved", "busybox", "sleep", "1000");
    await onHost("ip", "link", "set", await linkOf("moved"), "name", "elsewhere");
    await engine.ok("exec", "router", "ip", "link", "delete", "eth0");
    await onHost("ip", "link", "delete", await linkOf("web"));
    const answers = async (): Promise<boolean> => (await run([...engine.onHost, "curl", "-sf", "-m", "1", "http://127.0.0.1:8080/hostname"])).code === 0;
    expect(await answers()).toBe(false);
    await until("the link is back", answers);
    expect((await engine.docker(["exec", "router", "ip", "link", "show", "eth0"])).code).not.toBe(0);
    expect(await onHost("ip", "-o", "link")).toContain(" elsewhere@");
    expect((await check()).problems.map(({ problem }) => problem).sort()).toEqual([
      expect.stringContaining("container moved has lost its link"),
      expect.stringContaining("container router has lost its link"),
    ]);
  });

  test("berth network check: well, in words, as JSON, repaired, with its exit codes", async () => {
    const id = await engine.ok("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sleep", "1000");
    const bridge = `br${engine.key}`;
    expect((await check()).problems).toEqual([]);
    await onHost("busybox", "ip", "link", "delete", bridge);
    const told = await engine.berth(["network", "check"]);
    expect(told.code).toBe(1);
    expect(told.stdout).toContain(`bridge ${bridge} of network bridge is gone: its containers reach nobody\n  next: berth network check --repair\n`);
    const mended = await check("--repair");
    expect(mended.problems).toEqual([
      {
        kind: "network",
        network: "bridge",
        level: "problem",
        problem: `bridge ${bridge} of network bridge is gone: its containers reach nobody`,
        repaired: "made again, with the containers' links on it",
      },
    ]);
    expect((await check()).problems).toEqual([]);
    const link = /(veth\w{8})/.exec(await onHost("busybox", "ip", "link"))![1]!;
    await onHost("busybox", "ip", "link", "delete", link);
    expect((await check()).problems).toMatchObject([{ kind: "container", network: "bridge", container: id }]);
    // a restart of the container needs no check
    await engine.ok("restart", "-t", "0", "web");
    expect((await check()).problems).toEqual([]);
    expect((await engine.berth(["network", "check", "--format", "yaml"])).stderr).toContain('unknown format "yaml": want json');
  });

  test("a bridge deleted while the engine is down is there again with its containers after the start; so is forwarding", async () => {
    await engine.ok("network", "create", "own");
    await engine.ok("run", "-d", "--name", "one", "--network", "own", "busybox", "nc", "-ll", "-p", "80", "-e", "echo", "one");
    await engine.ok("run", "-d", "--name", "two", "--network", "own", "busybox", "sleep", "1000");
    await engine.kill9();
    for (const name of new Set((await onHost("busybox", "ip", "link")).match(/br-[0-9a-f]{12}/g))) await onHost("busybox", "ip", "link", "delete", name);
    await onHost("busybox", "sysctl", "-qw", "net.ipv4.ip_forward=0");
    await engine.start();
    expect((await check()).problems).toEqual([]);
    expect(await engine.ok("exec", "two", "nc", "one", "80")).toBe("one");
    await engine.removeAll();
    await engine.ok("network", "rm", "own");
  });
});
