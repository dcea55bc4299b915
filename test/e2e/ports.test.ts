import { afterEach, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { blocksOf, examplesOf } from "../documented.ts";
import { skips } from "../skips.ts";
import { run, suiteEngine, until } from "./harness.ts";

if (!skips.root.missing()) {
  const engine = suiteEngine();
  const ok = engine.ok.bind(engine);
  afterEach(() => engine.removeAll());

  /** Runs a command line of the documentation, and gives its lines with commas between. */
  async function berth(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await engine.berth(args);
    if (code !== 0) throw new Error(`berth ${args.join(" ")}: ${stderr}`);
    return stdout.trim().split("\n").join(", ");
  }
  const inspect = async (name: string): Promise<{ HostConfig: { PortBindings: unknown; PublishAllPorts: boolean }; NetworkSettings: { Ports: unknown } }> =>
    (await (await engine.api("GET", `/containers/${name}/json`)).json()) as never;
  const update = async (name: string, body: object): Promise<string> => {
    const answer = await engine.api("POST", `/containers/${name}/update`, body);
    return `${answer.status} ${await answer.text()}`;
  };
  /** What is said by who serves a port; between two clients a server of busybox isn't there for a moment. */
  const answerOf = (host: string, port: number): Promise<string> =>
    until(`an answer of ${host}:${port}`, async () => (await run([...engine.onHost, "busybox", "nc", "-w2", host, String(port)], { stdin: "" })).stdout.trim());
  const server = (...ports: number[]): string[] => ["sh", "-c", `${ports.map((port) => `while :; do echo ${port} | nc -lp ${port}; done & `).join("")}wait`];

  test("what the documentation shows", async () => {
    for (const line of examplesOf("ports.md")) {
      const [command = "", expected] = line.split("#").map((part) => part.trim());
      const said = await berth(...command.split(/ +/).slice(1));
      if (expected !== undefined) expect([line, said]).toEqual([line, expected]);
    }
    expect(await update("web", JSON.parse(blocksOf("ports.md", "json")[0]!) as object)).toBe('200 {"Warnings":null}\n');
    expect(await berth("port", "web")).toBe("90/tcp -> 127.0.0.1:9090");
  });

  test("a running container's ports change at once, and stay changed", async () => {
    await ok("run", "-d", "--name", "other", "-p", "9000:80", "busybox", "sleep", "1000");
    await ok("run", "-d", "--name", "page", "-P", "--expose", "80", "--expose", "81", "-p", "8080:80", "busybox", ...server(80, 81));
    await berth("update", "--publish-add", "8081:81", "page");
    for (const host of ["127.0.0.1", "::1"]) expect([await answerOf(host, 8080), await answerOf(host, 8081)]).toEqual(["80", "81"]);
    const before = await inspect("page");
    // one of several is impossible: nothing has changed
    const taken = await engine.berth(["update", "--publish-rm", "8080", "--publish-add", "8082:81", "--publish-add", "9000:81", "page"]);
    expect([taken.code, taken.stderr]).toEqual([
      1,
      expect.stringMatching(/^Error.* Cannot update container [0-9a-f]{64}: .*Bind for 0\.0\.0\.0:9000 failed: port is already allocated/s),
    ]);
    expect(await inspect("page")).toEqual(before);
    expect(await update("page", { PublishRemove: [{ HostPort: "8080" }, { HostPort: "1" }] })).toContain("400 ");
    expect(await update("page", { PublishRemove: [{ HostPort: "8080" }], Memory: 1 })).toContain("400 ");
    expect(await inspect("page")).toEqual(before);
    expect(await answerOf("127.0.0.1", 8080)).toBe("80");

    const free = (await berth("port", "page", "81")).split(", ").map((line) => Number(line.split(":").at(-1)));
    expect(new Set(free).size).toBe(2);
    await berth("update", "--publish-rm", "8080", "--publish-rm", String(Math.max(...free)), "--publish-add", "8080:81", "page");
    expect(await answerOf("127.0.0.1", 8080)).toBe("81");
    expect(await ok("ps", "--filter", "name=page", "--format", "{{.Ports}}")).toBe(
      "80/tcp, 0.0.0.0:8080->81/tcp, 0.0.0.0:8081->81/tcp, [::]:8080->81/tcp, [::]:8081->81/tcp",
    );
    expect((await inspect("page")).HostConfig).toMatchObject({
      PortBindings: {
        "81/tcp": [
          { HostIp: "", HostPort: "8081" },
          { HostIp: "", HostPort: "8080" },
        ],
      },
      PublishAllPorts: false,
    });
    await engine.kill9();
    await engine.start();
    for (const host of ["127.0.0.1", "::1"]) expect([await answerOf(host, 8080), await answerOf(host, 8081)]).toEqual(["81", "81"]);
    await ok("restart", "-t", "0", "page");
    expect(await berth("port", "page")).toBe("81/tcp -> 0.0.0.0:8080, 81/tcp -> 0.0.0.0:8081, 81/tcp -> [::]:8080, 81/tcp -> [::]:8081");
    expect((await engine.actionsOf("page")).filter((action) => action === "update")).toHaveLength(2);
  });

  test("of a container at rest the next start's ports change; of the host's network none can", async () => {
    await ok("create", "--name", "rest", "-p", "8080:80", "busybox", "sleep", "1000");
    await berth("update", "--publish-rm", "8080", "--publish-add", "8081:80/udp", "rest");
    expect(await berth("port", "rest")).toBe("");
    expect((await engine.berth(["update", "--publish-add", "8081:90/udp", "rest"])).stderr).toContain(
      "Bind for 0.0.0.0:8081 failed: port is already allocated",
    );
    await ok("start", "rest");
    expect(await berth("port", "rest")).toBe("80/udp -> 0.0.0.0:8081, 80/udp -> [::]:8081");
    await ok("run", "-d", "--name", "joined", "--network", "container:rest", "busybox", "sleep", "1000");
    expect((await engine.berth(["update", "--publish-add", "8082:80", "joined"])).stderr).toContain("port publishing and the container type network mode");
    await ok("run", "-d", "--name", "hosts", "--network", "host", "busybox", "sleep", "1000");
    expect((await engine.berth(["update", "--publish-add", "8082:80", "hosts"])).stderr).toContain(
      "Published ports are discarded when using host network mode",
    );
    for (const bad of ["x", "1-", "70000", "localhost:80", "80/icmp", ""])
      expect([bad, (await engine.berth(["update", "--publish-rm", bad, "rest"])).code]).toEqual([bad, 1]);
  });

  test("a thousand ports are no processes, and gone with their container", async () => {
    const processes = (): number =>
      readdirSync("/proc")
        .filter((name) => /^\d+$/.test(name))
        .filter((pid) => parentOf(pid) === engine.pid).length;
    await ok("run", "-d", "--name", "none", "busybox", "sleep", "1000");
    const before = processes();
    await ok("run", "-d", "--name", "thousand", "-p", "20000-20999:20000-20999", "busybox", ...server(20000, 20999));
    expect(processes()).toBe(before + 1); // its monitor
    for (const port of [20000, 20999]) for (const host of ["127.0.0.1", "::1"]) expect(await answerOf(host, port)).toBe(String(port));
    await ok("rm", "-f", "thousand");
    await ok("run", "-d", "--name", "again", "-p", "20000-20999:20000-20999", "busybox", "sleep", "1000");
    expect((await engine.docker(["port", "again"])).stdout.trim().split("\n")).toHaveLength(2000);
  });
}

function parentOf(pid: string): number {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return -1; // it has ended
  }
}
