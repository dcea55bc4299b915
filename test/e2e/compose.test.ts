import { beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { skipped } from "../skips.ts";
import { composeProgram } from "./debian.ts";
import { run, suiteEngine } from "./harness.ts";

const project = `
services:
  db:
    image: busybox
    command: ["sh", "-c", "touch /tmp/ready; while :; do echo tick >> /data/file; sleep 1; done"]
    volumes: ["data:/data"]
    healthcheck: { test: ["CMD", "test", "-f", "/tmp/ready"], interval: 200ms, retries: 50 }
    networks: { back: { aliases: [database] } }
    stop_grace_period: 0s
  web:
    build: { context: ., args: { PAGE: served } }
    depends_on: { db: { condition: service_healthy } }
    ports: ["80"]
    volumes: ["data:/data:ro"]
    networks: [back]
    stop_grace_period: 0s
networks: { back: {} }
volumes: { data: {} }
`;

const dockerfile = `FROM busybox
ARG PAGE
RUN mkdir /www && echo $PAGE > /www/index.html
CMD ["sh", "-c", "echo up; exec httpd -f -p 80 -h /www"]
`;

describe.skipIf(skipped("root", "overlay", "docker", "compose"))("docker-compose", () => {
  const engine = suiteEngine();
  let folder: string;
  const compose = async (...args: string[]): Promise<string> => {
    const env = { DOCKER_HOST: `unix://${engine.socket}`, DOCKER_CONFIG: join(engine.root, "config"), DOCKER_BUILDKIT: "0" };
    const { code, stdout, stderr } = await run([...engine.onHost, composeProgram()!, ...args], { cwd: folder, env });
    if (code !== 0) throw new Error(`docker-compose ${args.join(" ")}: exit code ${code}\n${stdout}${stderr}`);
    return stdout.trim();
  };

  beforeAll(async () => {
    folder = join(engine.root, "shop");
    mkdirSync(folder);
    writeFileSync(join(folder, "compose.yaml"), project);
    writeFileSync(join(folder, "Dockerfile"), dockerfile);
  });

  test("a project is built, comes up in order, is scaled, started anew, and goes without a trace", async () => {
    await compose("up", "-d", "--build");
    const address = await compose("port", "web", "80");
    const page = await run([...engine.onHost, "busybox", "wget", "-qO-", `http://127.0.0.1:${address.split(":").at(-1)}/`]);
    expect(page.stdout).toBe("served\n");
    expect(await compose("exec", "-T", "web", "nslookup", "database")).toContain("Address");
    expect(await compose("exec", "-T", "web", "head", "-n1", "/data/file")).toBe("tick");
    expect(await compose("logs", "--no-log-prefix", "web")).toEndWith("up");
    expect((await compose("ps", "--format", "{{.Service}} {{.Health}}")).split("\n").sort()).toEqual(["db healthy", "web"]);

    await compose("up", "-d", "--scale", "web=2");
    expect((await compose("ps", "-q", "web")).split("\n")).toHaveLength(2);
    await compose("restart");
    expect((await compose("ps", "--services", "--status", "running")).split("\n").sort()).toEqual(["db", "web"]);
    expect(await compose("run", "--rm", "-T", "db", "echo", "once")).toBe("once");

    await compose("down", "-v");
    expect(await engine.ok("ps", "-aq")).toBe("");
    expect(await engine.ok("volume", "ls", "-q")).toBe("");
    expect(await engine.ok("network", "ls", "-qf", "type=custom")).toBe("");
  }, 120_000);
});
