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

const networked = `
x-common: &common { image: busybox, pull_policy: never, stop_grace_period: 0s }
services:
  db:
    <<: *common
    command: ["sh", "-c", "echo kept >> /ext/file; touch /tmp/ready; sleep 1000"]
    volumes: ["ext:/ext", { type: tmpfs, target: /scratch, tmpfs: { size: 1048576 } }]
    healthcheck: { test: ["CMD", "test", "-f", "/tmp/ready"], interval: 200ms, retries: 50 }
    networks: { back: { aliases: [database], ipv4_address: 10.91.0.10 } }
    ipc: shareable
  init:
    <<: *common
    command: ["true"]
    networks: [back]
    depends_on: { db: { condition: service_healthy } }
  web:
    <<: *common
    command: ["sleep", "1000"]
    depends_on: { init: { condition: service_completed_successfully } }
    networks: { front: {}, back: { priority: 100 } }
    configs: [{ source: page, target: /etc/page }]
    volumes: ["./page:/page:ro"]
  worker: { <<: *common, command: ["sleep", "1000"], networks: [front], scale: 3 }
  side: { <<: *common, command: ["sleep", "1000"], network_mode: "service:db", ipc: "service:db" }
  debug: { <<: *common, command: ["sleep", "1000"], profiles: [debug], network_mode: none }
networks:
  front: { driver_opts: { com.docker.network.driver.mtu: "1400" }, attachable: true }
  back:
    enable_ipv6: true
    ipam: { config: [{ subnet: 10.91.0.0/24, ip_range: 10.91.0.128/25, gateway: 10.91.0.254, aux_addresses: { host: 10.91.0.200 } }, { subnet: "fd91::/64" }] }
volumes: { ext: { external: true, name: outer } }
configs: { page: { file: ./page } }
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

  test("networks, addresses and volumes of several kinds; a second up starts nothing anew", async () => {
    folder = join(engine.root, "wired");
    mkdirSync(folder);
    writeFileSync(join(folder, "compose.yaml"), networked);
    writeFileSync(join(folder, "page"), "page\n");
    await engine.ok("volume", "create", "outer");
    await compose("up", "-d", "--wait", "db", "web", "worker", "side");
    const inDb = (script: string): Promise<string> => compose("exec", "-T", "db", "sh", "-c", script);
    const inWeb = (script: string): Promise<string> => compose("exec", "-T", "web", "sh", "-c", script);
    expect(await inDb("hostname -i; cat /ext/file; df -k /scratch | tail -1 | awk '{print $2}'")).toBe("10.91.0.10\nkept\n1024");
    expect(await inWeb("cat /etc/page /page; ping -c1 -W5 10.91.0.10 | grep -c from; ip route | awk '/default/ {print $3}'; cat /sys/class/net/eth1/mtu")).toBe(
      "page\npage\n1\n10.91.0.254\n1400",
    );
    expect(await inWeb("nslookup database. | grep -c 10.91.0.10; nslookup -type=a worker. | grep -c 'Address: [0-9.]*$'")).toBe("1\n3");
    expect(await compose("exec", "-T", "side", "ip", "-4", "-o", "addr", "show", "eth0")).toContain("10.91.0.10/24");

    const running = (): Promise<string> => engine.ok("ps", "-q", "--no-trunc", "--filter", "label=com.docker.compose.oneoff=False");
    const before = (await running()).split("\n").sort();
    expect(before).toHaveLength(6);
    await compose("up", "-d");
    expect((await running()).split("\n").sort()).toEqual(before);

    await compose("cp", join(folder, "page"), "db:/tmp/page");
    expect(await inDb("cat /tmp/page")).toBe("page");
    await compose("pause", "worker");
    expect(await compose("ps", "--services", "--status", "paused")).toBe("worker");
    await compose("unpause", "worker");
    await compose("kill", "worker");
    await compose("--profile", "debug", "up", "-d", "--scale", "worker=1");
    expect((await compose("--profile", "debug", "ps", "--services")).split("\n").sort()).toEqual(["db", "debug", "side", "web", "worker"]);
    expect(JSON.parse(await compose("ls", "--format", "json"))).toMatchObject([{ Name: "wired", Status: "running(5)" }]);
    expect(await compose("top", "worker")).toContain("sleep 1000");

    await compose("--profile", "debug", "down", "-v");
    expect(await engine.ok("ps", "-aq")).toBe("");
    expect(await engine.ok("volume", "ls", "-q")).toBe("outer");
    expect(await engine.ok("network", "ls", "-qf", "type=custom")).toBe("");
  }, 120_000);
});
