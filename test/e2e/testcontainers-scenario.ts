/**
 * What programs do with Testcontainers, as a program of its own: it runs in the engine's network, where published ports are. Each thing that worked is a line
 * on stdout; the first that doesn't ends it.
 */
import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GenericContainer, Network, Wait, type StartedTestContainer } from "testcontainers";

const image = "busybox:latest";
const httpd = ["sh", "-c", "mkdir -p /www; echo page > /www/index.html; echo listening; exec httpd -f -p 80 -h /www"];
const get = async (container: StartedTestContainer, path = "/"): Promise<string> =>
  await (await fetch(`http://${container.getHost()}:${container.getMappedPort(80)}${path}`)).text();

const scenarios: Record<string, () => Promise<void>> = {
  "waits for a port": async () => {
    await using container = await new GenericContainer(image).withCommand(httpd).withExposedPorts(80).withWaitStrategy(Wait.forListeningPorts()).start();
    assert.equal(await get(container), "page\n");
  },
  "waits for a line of the log": async () => {
    const late = ["sh", "-c", "sleep 0.3; echo 'I am ready now'; sleep 1000"];
    await using container = await new GenericContainer(image)
      .withCommand(late)
      .withWaitStrategy(Wait.forLogMessage(/ready \w+/))
      .start();
    const logs = await container.logs();
    const line = await new Promise<string>((resolve) => logs.once("data", (chunk: Buffer | string) => resolve(String(chunk))));
    assert.match(line, /I am ready now/);
  },
  "waits for health": async () => {
    await using container = await new GenericContainer(image)
      .withCommand(["sh", "-c", "sleep 0.3; touch /healthy; sleep 1000"])
      .withHealthCheck({ test: ["CMD-SHELL", "test -e /healthy"], interval: 100, timeout: 1000, retries: 50, startPeriod: 0 })
      .withWaitStrategy(Wait.forHealthCheck())
      .start();
    assert.equal((await container.exec(["ls", "/healthy"])).exitCode, 0);
  },
  "waits for a page and for a command": async () => {
    await using container = await new GenericContainer(image)
      .withCommand(httpd)
      .withExposedPorts(80)
      .withWaitStrategy(Wait.forAll([Wait.forHttp("/index.html", 80).forStatusCode(200), Wait.forSuccessfulCommand("test -e /www/index.html")]))
      .start();
    assert.equal(await get(container, "/index.html"), "page\n");
  },
  "waits for the end of one that does a thing and ends": async () => {
    await using container = await new GenericContainer(image).withCommand(["true"]).withWaitStrategy(Wait.forOneShotStartup()).start();
    assert.ok(container.getId());
  },
  "says what kept one from starting": async () => {
    await assert.rejects(new GenericContainer(image).withCommand(["/nowhere"]).start(), /no such file or directory/);
    await assert.rejects(new GenericContainer(image).withCommand(["false"]).withWaitStrategy(Wait.forOneShotStartup()).start(), /exit|start/i);
  },
  "copies files in and out": async () => {
    await using container = await new GenericContainer(image)
      .withCommand(["sleep", "1000"])
      .withCopyContentToContainer([{ content: "from the test", target: "/etc/some/file", mode: 0o640 }])
      .withCopyFilesToContainer([{ source: import.meta.path, target: "/scenario.ts" }])
      .start();
    assert.equal((await container.exec(["cat", "/etc/some/file"])).output, "from the test");
    assert.match((await container.exec(["stat", "-c", "%a", "/etc/some/file"])).output, /^640/);
    await container.copyContentToContainer([{ content: "later", target: "/later" }]);
    assert.equal((await container.exec(["cat", "/later"])).output, "later");
    const archive = await container.copyArchiveFromContainer("/scenario.ts");
    const chunks: Buffer[] = [];
    for await (const chunk of archive) chunks.push(chunk as Buffer);
    assert.match(Buffer.concat(chunks).toString(), /What programs do with Testcontainers/);
  },
  "executes with user, directory, variables and exit code": async () => {
    await using container = await new GenericContainer(image).withCommand(["sleep", "1000"]).withEnvironment({ A: "container" }).start();
    const result = await container.exec(["sh", "-c", "echo $A $B; id -un; pwd; echo err >&2; exit 3"], {
      user: "worker",
      workingDir: "/tmp",
      env: { B: "exec" },
    });
    assert.deepEqual([result.exitCode, result.stdout, result.stderr], [3, "container exec\nworker\n/tmp\n", "err\n"]);
  },
  "joins networks with aliases": async () => {
    await using network = await new Network().start();
    await using _server = await new GenericContainer(image)
      .withCommand(httpd)
      .withNetwork(network)
      .withNetworkAliases("server")
      .withWaitStrategy(Wait.forLogMessage("listening"))
      .start();
    await using client = await new GenericContainer(image).withCommand(["sleep", "1000"]).withNetwork(network).start();
    assert.equal((await client.exec(["wget", "-qO-", "http://server/"])).output, "page\n");
  },
  "limits, labels, tmpfs, host entries": async () => {
    await using container = await new GenericContainer(image)
      .withCommand(["sleep", "1000"])
      .withResourcesQuota({ memory: 0.0625, cpu: 0.5 })
      .withUlimits({ nofile: { hard: 1000, soft: 500 } })
      .withTmpFs({ "/scratch": "rw,size=1m" })
      .withLabels({ own: "label" })
      .withExtraHosts([{ host: "elsewhere", ipAddress: "10.9.8.7" }])
      .withAddedCapabilities("NET_ADMIN")
      .start();
    const { output } = await container.exec(["sh", "-c", "ulimit -n; grep elsewhere /etc/hosts; grep /scratch /proc/mounts"]);
    assert.match(output, /^500\n10\.9\.8\.7\s+elsewhere\ntmpfs \/scratch/);
    assert.equal(container.getLabels()["own"], "label");
  },
  "stops, restarts and commits": async () => {
    await using container = await new GenericContainer(image).withCommand(httpd).withExposedPorts(80).start();
    await container.exec(["sh", "-c", "echo changed > /www/index.html; echo kept > /kept"]);
    const committed = await container.commit({ repo: "committed", tag: "1", deleteOnExit: false });
    await container.restart();
    assert.equal((await container.exec(["cat", "/kept"])).output, "kept\n");
    await using copy = await new GenericContainer("committed:1").withCommand(["cat", "/kept"]).withWaitStrategy(Wait.forLogMessage("kept")).start();
    assert.ok(committed && copy.getId());
  },
  "reuses a container": async () => {
    const reused = (): GenericContainer =>
      new GenericContainer(image).withCommand(["sleep", "1000"]).withExposedPorts(80).withWaitStrategy(Wait.forSuccessfulCommand("true")).withReuse();
    const first = await reused().start();
    const second = await reused().start();
    assert.equal(second.getId(), first.getId());
    await first.stop();
  },
  "builds an image": async () => {
    const context = mkdtempSync(join(tmpdir(), "berth-tc-"));
    try {
      writeFileSync(join(context, "Dockerfile"), "FROM busybox\nARG WHO\nRUN echo hello $WHO > /greeting\nCMD cat /greeting && sleep 1000\n");
      const built = await GenericContainer.fromDockerfile(context).withBuildArgs({ WHO: "you" }).build("built:1", { deleteOnExit: false });
      await using container = await built.withWaitStrategy(Wait.forLogMessage("hello you")).start();
      assert.ok(container.getId());
    } finally {
      rmSync(context, { recursive: true });
    }
  },
};

for (const [name, scenario] of Object.entries(scenarios)) {
  await scenario();
  console.log(name);
}
process.exit(0);
